"""What carries DHCP messages: one link for each way to the servers, shared by all its leases."""

from collections.abc import Callable
from ipaddress import IPv4Address
from typing import Protocol

from d4d.domain.addressing import MacAddress
from d4d.domain.dhcp.messages import Message, Unreadable

Wants = Callable[[int], bool]
"""Whether a client waits for this xid; asked before anything else of a packet is read."""

Deliver = Callable[[Message | Unreadable], bool]
"""Takes what was wanted; returns whether a client accepted it.

A link learns from nothing else: anybody on the wire can read an xid, and answer to it.
"""


class Link(Protocol):
    """A way to the servers: L2 on a parent interface, or UDP as a relay."""

    name: str
    """For errors: ``eth0``, or ``10.77.0.2 -> 10.88.0.1``."""

    def broadcast(self, message: Message) -> None:
        """Send to all servers; as a relay, to each that is configured. Raises LinkDown."""

    def unicast(self, message: Message, server: IPv4Address) -> None:
        """Send to one server. Raises LinkDown."""

    def mac_of(self, server: IPv4Address) -> MacAddress | None:
        """Whence its last answer came that was accepted; None where that is unknown."""

    @property
    def silence(self) -> str:
        """What is known where requests go out and nothing comes in; empty where that is not so."""

    def close(self) -> None:
        """Let go of the socket."""
