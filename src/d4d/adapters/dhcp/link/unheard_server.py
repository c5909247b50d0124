"""Where a server is that was not heard yet: asked by ARP on the parent, before a RELEASE is sent.

The kernel's own UDP would send by the host's routes, which may lead out of another interface: the
server would never hear it.
"""

import asyncio
import socket
from collections.abc import Callable
from ipaddress import IPv4Address

from d4d.adapters.network.arp_frame import read_claim
from d4d.adapters.network.bpf import arp_filter
from d4d.adapters.network.packet_socket import open_tap
from d4d.adapters.network.socket_reading import SocketReader
from d4d.domain.addressing import MacAddress
from d4d.domain.dhcp.messages import Message

_WAIT = 0.25  # seconds; neighbours answer within a few milliseconds

Send = Callable[[Message, IPv4Address, bytes | None], None]
"""Sends to a server of this MAC, or to all where none answered. Raises nothing."""


class UnheardServers:
    """Messages to servers of one parent that wait until it is known where these are."""

    def __init__(self, parent: str, *, send: Send) -> None:
        self._parent = parent
        self._send = send
        self._waiting: dict[IPv4Address, list[Message]] = {}
        self._timers: dict[IPv4Address, asyncio.TimerHandle] = {}
        self._tap: socket.socket | None = None
        self._reader: SocketReader | None = None

    def listen(self) -> None:
        """Hear answers to ARP from now on. Raises OSError."""
        if self._tap is None:
            self._tap = open_tap(self._parent, arp_filter())
            # Of an error the answer to nothing changes: after a moment all hear the message.
            self._reader = SocketReader(self._tap, read=self._read, failed=lambda _: None)
            self._reader.open()

    def add(self, message: Message, server: IPv4Address) -> None:
        """Send ``message`` as soon as ``server``, which was asked, answers, or to all if not."""
        self._waiting.setdefault(server, []).append(message)
        if server not in self._timers:
            loop = asyncio.get_running_loop()
            self._timers[server] = loop.call_later(_WAIT, self._found, server, None)

    def hurry(self, chaddr: MacAddress) -> None:
        """Send what waits of this client, as it is about to say more: in that order it is meant."""
        servers = [
            server
            for server, messages in self._waiting.items()
            if any(message.chaddr == chaddr for message in messages)
        ]
        for server in servers:
            self._found(server, None)

    def close(self) -> None:
        """Send what waits to all, and ask no more."""
        for server in tuple(self._waiting):
            self._found(server, None)
        self._stop()

    def _read(self, frames: list[bytes]) -> None:
        for frame in frames:
            claim = read_claim(frame)
            if claim is not None and not claim.probing:
                self._found(IPv4Address(claim.address), claim.mac)

    def _found(self, server: IPv4Address, mac: bytes | None) -> None:
        messages = self._waiting.pop(server, ())
        if (timer := self._timers.pop(server, None)) is not None:
            timer.cancel()
        for message in messages:
            self._send(message, server, mac)
        if not self._waiting:
            self._stop()

    def _stop(self) -> None:
        if self._reader is not None:
            self._reader.close()
            self._reader = None
        if self._tap is not None:
            self._tap.close()
            self._tap = None
