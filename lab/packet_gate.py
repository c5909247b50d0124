"""A cable on which a DHCP message can be held up, let through later, or lost."""

import select
import socket
import struct
from functools import partial
from threading import Lock, Thread

from scapy.layers.dhcp import DHCP, DHCPTypes
from scapy.layers.l2 import Ether

from lab.network import Namespace

_ETH_P_ALL = 0x0003
_OUTGOING = 4  # PACKET_OUTGOING: what the gate itself has sent
_SOL_PACKET, _ADD_MEMBERSHIP, _PROMISCUOUS = 263, 1, 1
_LONGEST = 0xFFFF
_LOOK_EVERY = 0.1  # seconds, for the end


class Gate:
    """A machine that passes on each frame between its eth0 and eth1, as a cable would."""

    def __init__(self, machine: Namespace) -> None:
        near, far = (machine.within(partial(_tap, name)) for name in ("eth0", "eth1"))
        self._other = {near: far, far: near}
        self._kind = ""
        self._held: list[tuple[socket.socket, bytes]] = []
        self._lock = Lock()
        self._is_closed = False
        self._thread = Thread(target=self._pass_on, name=f"gate {machine.name}")
        self._thread.start()

    @property
    def held(self) -> int:
        """How many messages wait."""
        return len(self._held)

    def hold(self, kind: str) -> None:
        """Hold up DHCP messages of this kind, by scapy's name, such as ``request``."""
        with self._lock:
            self._kind = kind

    def open(self, *, lose: bool = False) -> None:
        """Let through what was held up, or lose it; and hold up no more."""
        with self._lock:
            self._kind = ""
            while self._held:
                to, frame = self._held.pop(0)
                if not lose:
                    to.send(frame)

    def close(self) -> None:
        """Cut the cable."""
        self._is_closed = True
        self._thread.join()
        for tap in self._other:
            tap.close()

    def _pass_on(self) -> None:
        while not self._is_closed:
            readable, _, _ = select.select([*self._other], [], [], _LOOK_EVERY)
            for tap in readable:
                frame, sender = tap.recvfrom(_LONGEST)
                if sender[2] != _OUTGOING:
                    self._take(frame, self._other[tap])

    def _take(self, frame: bytes, to: socket.socket) -> None:
        with self._lock:
            if self._kind and _kind_of(frame) == self._kind:
                self._held.append((to, frame))
            else:
                to.send(frame)


def _kind_of(frame: bytes) -> str | None:
    """The kind of DHCP message that ``frame`` is; None where it is none."""
    message = Ether(frame).getlayer(DHCP)
    options = (
        [option for option in message.options if option[0] == "message-type"] if message else []
    )
    return DHCPTypes[options[0][1]] if options else None


def _tap(interface: str) -> socket.socket:
    """All that passes the interface, whoever it is for."""
    tap = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_P_ALL))
    tap.bind((interface, _ETH_P_ALL))
    index = socket.if_nametoindex(interface)
    tap.setsockopt(_SOL_PACKET, _ADD_MEMBERSHIP, struct.pack("iHH8s", index, _PROMISCUOUS, 0, b""))
    return tap
