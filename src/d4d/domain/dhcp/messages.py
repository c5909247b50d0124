"""DHCP messages as values, named as in RFC 2131 and 2132, and one builder for each occasion.

Every request sets the broadcast flag: a server that unicasts sends to the container's MAC, which
the host need not hear, and nobody at all owns before the container runs. A client id is sent in
every message of a client or in none: servers keep a second lease otherwise.
"""

from dataclasses import dataclass
from datetime import timedelta
from enum import IntEnum
from ipaddress import IPv4Address, IPv4Network
from typing import NamedTuple

from d4d.domain.addressing import MacAddress

NO_ADDRESS = IPv4Address(0)
INFINITE = timedelta.max
"""A time of 0xffffffff seconds (RFC 2131 section 3.3)."""


class MessageType(IntEnum):
    """Option 53 (RFC 2132 section 9.6)."""

    DISCOVER = 1
    OFFER = 2
    REQUEST = 3
    DECLINE = 4
    ACK = 5
    NAK = 6
    RELEASE = 7
    INFORM = 8


AWAITED = frozenset({MessageType.DISCOVER, MessageType.REQUEST, MessageType.INFORM})
"""What a server should answer; RELEASE and DECLINE are said into the blue."""

PARAMETERS = (1, 121, 3, 6, 12, 15, 26, 28, 33, 42, 51, 54, 58, 59)
"""Option 55: what we ask the server to say. RFC 3442 wants 121 before 3 and 33."""


class Message(NamedTuple):
    """One DHCP message, in either direction. What is absent is None, empty, or NO_ADDRESS.

    A named tuple is made five times as fast as a frozen dataclass, and a lease has four messages.
    """

    type: MessageType
    xid: int
    chaddr: MacAddress
    secs: int = 0
    broadcast: bool = True
    ciaddr: IPv4Address = NO_ADDRESS
    yiaddr: IPv4Address = NO_ADDRESS
    siaddr: IPv4Address = NO_ADDRESS
    giaddr: IPv4Address = NO_ADDRESS
    requested: IPv4Address | None = None
    """Option 50."""
    server_id: IPv4Address | None = None
    """Option 54."""
    client_id: bytes | None = None
    """Option 61, with its type byte."""
    hostname: str | None = None
    """Option 12."""
    parameters: tuple[int, ...] = ()
    """Option 55."""
    link_selection: IPv4Address | None = None
    """Option 82, sub-option 5 (RFC 3527): the subnet to lease from, where giaddr is not in it."""
    lease_time: timedelta | None = None
    """Option 51."""
    renewal_time: timedelta | None = None
    """Option 58, T1."""
    rebinding_time: timedelta | None = None
    """Option 59, T2."""
    subnet_mask: IPv4Address | None = None
    routers: tuple[IPv4Address, ...] = ()
    dns_servers: tuple[IPv4Address, ...] = ()
    ntp_servers: tuple[IPv4Address, ...] = ()
    domain: str | None = None
    mtu: int | None = None
    static_routes: tuple[tuple[IPv4Network, IPv4Address], ...] = ()
    """Option 121 (RFC 3442)."""
    text: str | None = None
    """Option 56: why the server refuses."""
    source: IPv4Address | None = None
    """Whence the packet came, by its IP header: the server, or a relay before it."""


class Unreadable(NamedTuple):
    """A reply to what we sent that is no DHCP message."""

    xid: int
    chaddr: MacAddress
    reason: str
    source: IPv4Address | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """What a client is to the server: the same in each of its messages."""

    chaddr: MacAddress
    client_id: bytes | None = None
    hostname: str | None = None


def discover(
    identity: Identity, xid: int, *, secs: int = 0, requested: IPv4Address | None = None
) -> Message:
    """Who has an address for us? (RFC 2131 section 4.4.1)."""
    return _message(MessageType.DISCOVER, identity, xid, secs, requested=requested)


def request_selecting(
    identity: Identity,
    xid: int,
    *,
    secs: int = 0,
    requested: IPv4Address,
    server_id: IPv4Address,
) -> Message:
    """We take this offer (section 4.3.2, SELECTING). Servers renew by it, too."""
    return _message(
        MessageType.REQUEST, identity, xid, secs, requested=requested, server_id=server_id
    )


def request_rebooting(
    identity: Identity, xid: int, *, secs: int = 0, requested: IPv4Address
) -> Message:
    """Is this address still ours? (section 4.3.2, INIT-REBOOT). Servers rebind by it, too."""
    return _message(MessageType.REQUEST, identity, xid, secs, requested=requested)


def request_renewing(
    identity: Identity, xid: int, *, secs: int = 0, ciaddr: IPv4Address
) -> Message:
    """Let us keep our address (section 4.3.2, RENEWING and REBINDING, but for the flag)."""
    return _message(MessageType.REQUEST, identity, xid, secs, ciaddr=ciaddr)


def decline(
    identity: Identity, xid: int, *, requested: IPv4Address, server_id: IPv4Address
) -> Message:
    """Somebody else uses what we were given (table 5). Nobody answers, so no broadcast flag."""
    return Message(
        type=MessageType.DECLINE,
        xid=xid,
        chaddr=identity.chaddr,
        client_id=identity.client_id,
        requested=requested,
        server_id=server_id,
        broadcast=False,
    )


def release(
    identity: Identity, xid: int, *, ciaddr: IPv4Address, server_id: IPv4Address
) -> Message:
    """We are done with it (section 4.4.6). Unicast; nobody answers, so no broadcast flag."""
    return Message(
        type=MessageType.RELEASE,
        xid=xid,
        chaddr=identity.chaddr,
        client_id=identity.client_id,
        ciaddr=ciaddr,
        server_id=server_id,
        broadcast=False,
    )


def _message(
    type_: MessageType,
    identity: Identity,
    xid: int,
    secs: int,
    *,
    ciaddr: IPv4Address = NO_ADDRESS,
    requested: IPv4Address | None = None,
    server_id: IPv4Address | None = None,
) -> Message:
    return Message(
        type=type_,
        xid=xid,
        chaddr=identity.chaddr,
        secs=secs,
        client_id=identity.client_id,
        hostname=identity.hostname,
        parameters=PARAMETERS,
        ciaddr=ciaddr,
        requested=requested,
        server_id=server_id,
    )
