"""The least that a lease can cost: DISCOVER, OFFER, REQUEST, ACK and one write to the disk.

It says how fast the server and the disk are, and so what a driver adds to them.
"""

import os
import time
from pathlib import Path

from benchmarks import dhcp_frames
from benchmarks.plugin_load import new_mac
from lab.network import Namespace
from lab.processes import LabError

RECORD = b"x" * 400
"""As long as a lease in a store."""
_PATIENCE = 5.0  # seconds for an answer


class BareExchange:
    """A socket on a machine's eth0, and a file beside the driver's store."""

    def __init__(self, namespace: Namespace, file: Path) -> None:
        self._mac = bytes.fromhex(namespace.mac().replace(":", ""))
        self._socket = namespace.within(dhcp_frames.packet_socket)
        self._socket.settimeout(_PATIENCE)
        self._file = os.open(file, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)

    def run(self) -> float:
        """Have one lease, for a MAC of its own; answers the seconds that it took."""
        mac = new_mac()
        began = time.perf_counter()
        offer = self._ask(mac, dhcp_frames.discover(mac, self._mac), dhcp_frames.OFFER)
        self._ask(mac, dhcp_frames.request(mac, self._mac, offer), dhcp_frames.ACK)
        os.write(self._file, RECORD)
        os.fdatasync(self._file)
        return time.perf_counter() - began

    def close(self) -> None:
        """Let go of socket and file."""
        self._socket.close()
        os.close(self._file)

    def _ask(self, mac: bytes, frame: bytes, wanted: int) -> bytes:
        self._socket.send(frame)
        while dhcp_frames.xid(answer := self._socket.recv(2048)) != dhcp_frames.xid_of(mac):
            pass
        if dhcp_frames.kind(answer) != wanted:
            raise LabError(f"the server answered {dhcp_frames.kind(answer)}, not {wanted}")
        return answer
