"""The least that a lease can cost: DISCOVER, OFFER, REQUEST, ACK and one write to the disk.

The bytes are made once; nothing of what comes back is looked at but what the next step needs. It
says how fast the server and the disk are, and so what a driver adds to them.
"""

import os
import socket
import struct
import time
from pathlib import Path

from tests.bench.plugin import new_mac
from tests.lab.network import Namespace
from tests.lab.processes import LabError

_ETH_P_IP = 0x0800
_PATIENCE = 5.0  # seconds for an answer
_BROADCAST = b"\xff" * 6
_COOKIE = b"\x63\x82\x53\x63"
_IP, _UDP, _BOOTP = 14, 34, 42
"""Where the headers begin in a frame."""
_XID, _YIADDR, _OPTIONS = _BOOTP + 4, _BOOTP + 16, _BOOTP + 240
_TYPE, _REQUESTED, _SERVER = 53, 50, 54
_DISCOVER, _OFFER, _REQUEST, _ACK = 1, 2, 3, 5
_RECORD = b"x" * 400  # as long as a lease in a store


class BareExchange:
    """A socket on a machine's eth0, and a file beside the driver's store."""

    def __init__(self, namespace: Namespace, file: Path) -> None:
        self._mac = bytes.fromhex(namespace.mac().replace(":", ""))
        self._socket = namespace.within(_packet_socket)
        self._file = os.open(file, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)

    def run(self) -> float:
        """Have one lease, for a MAC of its own; answers the seconds that it took."""
        mac = new_mac()
        began = time.perf_counter()
        offer = self._ask(_message(mac, self._mac, _DISCOVER, b""), _OFFER)
        wish = b"\x32\x04" + offer[_YIADDR : _YIADDR + 4] + b"\x36\x04" + _option(offer, _SERVER)
        self._ask(_message(mac, self._mac, _REQUEST, wish), _ACK)
        os.write(self._file, _RECORD)
        os.fdatasync(self._file)
        return time.perf_counter() - began

    def close(self) -> None:
        """Let go of socket and file."""
        self._socket.close()
        os.close(self._file)

    def _ask(self, frame: bytes, wanted: int) -> bytes:
        self._socket.send(frame)
        xid = frame[_XID : _XID + 4]
        while True:
            answer = self._socket.recv(2048)
            if answer[_XID : _XID + 4] == xid and answer[_BOOTP] == 2:
                break
        if _option(answer, _TYPE)[0] != wanted:
            raise LabError(f"the server answered {_option(answer, _TYPE)!r}, not {wanted}")
        return answer


def _packet_socket() -> socket.socket:
    made = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_P_IP))
    made.bind(("eth0", _ETH_P_IP))
    made.settimeout(_PATIENCE)
    return made


def _message(mac: bytes, source: bytes, kind: int, more: bytes) -> bytes:
    """A frame from ``source`` to everybody, for the client ``mac``; answers are broadcast."""
    head = struct.pack(
        "!4B4sHH16s6s202s4s", 1, 1, 6, 0, mac[2:6], 0, 0x8000, b"", mac, b"", _COOKIE
    )
    payload = (head + bytes([_TYPE, 1, kind]) + more + b"\xff").ljust(300, b"\0")
    udp = struct.pack("!4H", 68, 67, 8 + len(payload), 0) + payload
    ip = struct.pack(
        "!BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), 0, 0, 64, 17, 0, bytes(4), b"\xff" * 4
    )
    total = sum(struct.unpack("!10H", ip))
    total = (total & 0xFFFF) + (total >> 16)
    ip = ip[:10] + struct.pack("!H", ~total & 0xFFFF) + ip[12:]
    return _BROADCAST + source + b"\x08\x00" + ip + udp


def _option(frame: bytes, code: int) -> bytes:
    at = _OPTIONS
    while frame[at] != code:
        at += 1 if frame[at] == 0 else 2 + frame[at + 1]
    return frame[at + 2 : at + 2 + frame[at + 1]]
