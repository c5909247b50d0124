"""Leases: whose address, from whom, until when."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum, StrEnum
from ipaddress import IPv4Address, IPv4Network

from d4d.domain.addressing import Address, MacAddress
from d4d.domain.pools import PoolId


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """A container's end on a network, as Docker names it: the name only from engine 29 on."""

    mac: MacAddress
    name: str | None = None

    def __str__(self) -> str:
        return f"{self.name} ({self.mac})" if self.name else str(self.mac)


class LeaseState(StrEnum):
    """RFC 2131 figure 5 where it has a name; LOST and RELEASED are ours."""

    BOUND = "bound"
    RENEWING = "renewing"
    REBINDING = "rebinding"
    LOST = "lost"
    """The server took it back or let it expire, and Docker still uses the address."""
    RELEASED = "released"
    """Docker gave it back; the server has still to be told."""
    FREED = "freed"
    """The server was told. Kept so that the same container can ask for its address again."""


_LIVE = frozenset(LeaseState) - {LeaseState.RELEASED, LeaseState.FREED}


class RenewalForm(Enum):
    """Which form of the renewing REQUEST the server took last."""

    SELECTING = "selecting"
    """RFC 2131's SELECTING form, used later: options 50 and 54, ciaddr 0."""
    RENEWING = "renewing"
    """RFC 2131's own form: ciaddr; sent by broadcast, as the answer must reach us."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What the DHCP server said with the address. Many leases share one such value."""

    server: IPv4Address
    lease_time: timedelta
    """``timedelta.max`` is for ever."""
    renewal_time: timedelta | None = None
    rebinding_time: timedelta | None = None
    subnet_mask: IPv4Address | None = None
    routers: tuple[IPv4Address, ...] = ()
    dns_servers: tuple[IPv4Address, ...] = ()
    ntp_servers: tuple[IPv4Address, ...] = ()
    domain: str | None = None
    mtu: int | None = None
    static_routes: tuple[tuple[IPv4Network, IPv4Address], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """An address that D4D holds for a container. Instants are aware, in UTC."""

    pool: PoolId
    address: Address
    endpoint: Endpoint
    acquired_at: datetime
    state: LeaseState = LeaseState.BOUND
    owner: str = ""
    """The host whose driver holds it."""
    generation: int = 0
    """Which acquisition this is, given by the store: a later one has a higher number."""
    client_id: bytes | None = None
    """Option 61, with its type byte."""
    hostname: str | None = None
    """Option 12."""
    bound_at: datetime | None = None
    """When the server last confirmed it."""
    renew_at: datetime | None = None
    rebind_at: datetime | None = None
    expires_at: datetime | None = None
    """None is never, for these three."""
    released_at: datetime | None = None
    terms: Terms | None = None
    """None where no server gave it."""
    form: RenewalForm = RenewalForm.SELECTING

    @property
    def is_live(self) -> bool:
        """Whether Docker still uses it."""
        return self.state in _LIVE

    @property
    def is_held(self) -> bool:
        """Whether the server may still count it as ours."""
        return self.state is not LeaseState.FREED
