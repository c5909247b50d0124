"""Leases: whose address, from whom, until when."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import Enum, StrEnum
from ipaddress import IPv4Address, IPv4Network

from d4d.domain.addressing import Address, MacAddress
from d4d.domain.lease_states import (
    Standing,
    StandingChange,
    Use,
    UseChange,
    next_standing,
    next_use,
)
from d4d.domain.pools import PoolId


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """A container's end on a network, as Docker names it: the name only from engine 29 on."""

    mac: MacAddress
    name: str | None = None

    def __str__(self) -> str:
        return f"{self.name} ({self.mac})" if self.name else str(self.mac)


class LeaseState(StrEnum):
    """The word that people are shown for a lease's use and standing together."""

    BOUND = "bound"
    """RFC 2131 figure 5: in use, and granted."""
    DOUBTFUL = "doubtful"
    """In use, and its server is being asked whether it still is ours."""
    LOST = "lost"
    """The server took it back or let it expire, and Docker still uses the address."""
    RELEASED = "released"
    """Docker gave it back; the server has still to be told."""
    FREED = "freed"
    """The server was told. Kept so that the same container can ask for its address again."""


_OF_USED = {
    Standing.GRANTED: LeaseState.BOUND,
    Standing.DOUBTFUL: LeaseState.DOUBTFUL,
    Standing.LOST: LeaseState.LOST,
}


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

    @property
    def default_routers(self) -> tuple[IPv4Address, ...]:
        """The way out: option 121's default routes, before which option 3 counts not (RFC 3442)."""
        classless = tuple(via for to, via in self.static_routes if not to.prefixlen and int(via))
        return classless or self.routers


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """An address that D4D holds for a container. Instants are aware, in UTC."""

    pool: PoolId
    address: Address
    endpoint: Endpoint
    acquired_at: datetime
    use: Use = Use.IN_USE
    standing: Standing = Standing.GRANTED
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
    def state(self) -> LeaseState:
        """Use and standing in one word."""
        if self.use is Use.IN_USE:
            return _OF_USED[self.standing]
        return LeaseState.RELEASED if self.use is Use.RELEASED else LeaseState.FREED

    @property
    def is_live(self) -> bool:
        """Whether Docker still uses it."""
        return self.use is Use.IN_USE

    @property
    def is_held(self) -> bool:
        """Whether the server may still count it as ours."""
        return self.use is not Use.FREED

    def given_back(self, at: datetime) -> "Lease":
        """Docker released it at ``at``; the server has still to be told."""
        return replace(self, use=next_use(self.use, UseChange.GIVEN_BACK), released_at=at)

    def taken_back(self, endpoint: Endpoint) -> "Lease":
        """``endpoint`` has it again, before the server was told."""
        use = next_use(self.use, UseChange.TAKEN_BACK)
        return replace(self, use=use, endpoint=endpoint, released_at=None)

    def freed(self) -> "Lease":
        """The server was told of its release, or has nothing to hear."""
        return replace(self, use=next_use(self.use, UseChange.TOLD))

    def confirmed(self) -> "Lease":
        """Its server granted it once more."""
        return self._standing(StandingChange.CONFIRMED)

    def doubted(self) -> "Lease":
        """Its server may count it as free by now."""
        return self._standing(StandingChange.DOUBTED)

    def denied(self) -> "Lease":
        """Its server took it back, or it ran out."""
        return self._standing(StandingChange.DENIED)

    def _standing(self, change: StandingChange) -> "Lease":
        standing = next_standing(self.standing, change)
        return self if standing is self.standing else replace(self, standing=standing)
