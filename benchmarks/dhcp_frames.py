"""DHCP frames, with the least work: bytes made once, and of answers what the next step needs."""

import socket
import struct

_ETH_P_IP = 0x0800
_BROADCAST = b"\xff" * 6
_COOKIE = b"\x63\x82\x53\x63"
_BOOTP = 42
"""Where it begins in a frame."""
_XID, _YIADDR, _OPTIONS = _BOOTP + 4, _BOOTP + 16, _BOOTP + 240
_TYPE, _REQUESTED, _SERVER = 53, 50, 54
_DISCOVER, _REQUEST = 1, 3
_REPLY = 2
OFFER, ACK = 2, 5


def packet_socket() -> socket.socket:
    """On eth0, for IPv4."""
    made = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_P_IP))
    made.bind(("eth0", _ETH_P_IP))
    return made


def discover(mac: bytes, source: bytes) -> bytes:
    """From ``source`` to everybody, for the client ``mac``; answers are broadcast."""
    return _message(mac, source, _DISCOVER, b"")


def request(mac: bytes, source: bytes, offer: bytes) -> bytes:
    """As ``discover``, to take what was offered."""
    server = _option(offer, _SERVER)
    wish = bytes([_REQUESTED, 4]) + offered(offer) + bytes([_SERVER, 4]) + server
    return _message(mac, source, _REQUEST, wish)


def xid(frame: bytes) -> bytes | None:
    """Which exchange an answer belongs to; None where it is no answer."""
    is_answer = len(frame) > _OPTIONS and frame[_BOOTP] == _REPLY
    return frame[_XID : _XID + 4] if is_answer else None


def xid_of(mac: bytes) -> bytes:
    """The exchange that a client's messages belong to."""
    return mac[2:6]


def kind(frame: bytes) -> int:
    """Whether an answer is an ``OFFER``, an ``ACK``, or a refusal."""
    return _option(frame, _TYPE)[0]


def offered(frame: bytes) -> bytes:
    """The address of an answer, in four bytes."""
    return frame[_YIADDR : _YIADDR + 4]


def _message(mac: bytes, source: bytes, kind: int, more: bytes) -> bytes:
    head = struct.pack(
        "!4B4sHH16s6s202s4s", 1, 1, 6, 0, xid_of(mac), 0, 0x8000, b"", mac, b"", _COOKIE
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
