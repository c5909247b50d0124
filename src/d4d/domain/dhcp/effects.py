"""What a client holds, and what it tells its caller to do or to know."""

from dataclasses import dataclass
from datetime import datetime
from ipaddress import IPv4Address
from typing import NamedTuple

from d4d.domain.dhcp.messages import Message
from d4d.domain.leases import RenewalForm, Terms


class Grant(NamedTuple):
    """An address as the server gave it, with its instants (None is never)."""

    address: IPv4Address
    terms: Terms
    bound_at: datetime
    renew_at: datetime | None
    rebind_at: datetime | None
    expires_at: datetime | None
    form: RenewalForm = RenewalForm.SELECTING


@dataclass(frozen=True, slots=True, kw_only=True)
class Send:
    """Send this message: to ``to`` alone, or to every server."""

    message: Message
    to: IPv4Address | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Offered:
    """A server offered an address, and we asked for it."""

    address: IPv4Address
    server: IPv4Address


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """A server offered an address that is of no use; we go on waiting for a better offer."""

    address: IPv4Address
    terms: Terms


@dataclass(frozen=True, slots=True, kw_only=True)
class Ignored:
    """A server answered what we asked, with what is of no use: that is no silence."""

    reason: str
    """``a DHCPACK that D4D can't use: a lease time of 0 s (option 51)``."""
    server: IPv4Address | None
    """Who it was, where that is known."""
    is_foreign: bool = False
    """It is no fault of that server's: another one is asked. Told only where nothing else came."""

    def __str__(self) -> str:
        return f"{self.server or 'a server'} answered with {self.reason}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """The address is ours until the grant ends."""

    grant: Grant
    rebound: bool = False
    """By another server than the one that we asked first."""
    recovered: bool = False
    """It had been lost."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Late:
    """A renewal stayed without answer; the lease still runs."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Lost:
    """The address is no longer ours; the client goes on asking for it."""

    reason: str


Effect = Send | Offered | Refused | Ignored | Bound | Late | Lost
Effects = list[Effect]
