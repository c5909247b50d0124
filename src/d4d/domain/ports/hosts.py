"""Hosts that share a store: which of them live, and which has the container of a name."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from typing import Protocol

from d4d.domain.addressing import Address
from d4d.domain.leases import Lease
from d4d.domain.pools import PoolId


class HeartbeatReply(Enum):
    """What a store says to a heartbeat."""

    KNOWN = "known"
    NEW = "new"
    """It knew nothing of the host: this is its first, or the store lost what it had."""
    DRAINED = "drained"
    """Another host takes back what this one holds. It will see that this one lives, and stop."""
    NAMESAKE = "namesake"
    """Another installation beats by the same name. The heartbeat does not count."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Heartbeat:
    """The last that a store heard of a host."""

    number: int
    """Each heartbeat of the host raises it, also one that does not count. It tells them apart."""
    at: datetime
    """By the store's clock. Only a hint: that clock may be set."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """What a store heard of all hosts."""

    at: datetime
    """When it was asked, by the store's clock."""
    beats: Mapping[str, Heartbeat]
    """Absent is a host that it never heard of, or has forgotten."""

    def age(self, host: str) -> timedelta | None:
        """How old the last heartbeat is, by the store's clock; None without one."""
        beat = self.beats.get(host)
        return None if beat is None else max(self.at - beat.at, timedelta(0))


class HostRegistry(Protocol):
    """Which hosts use the store, and what each was last heard of.

    A store that hosts share goes by its own clock: theirs may differ. Others go by ``now``. Every
    method raises StoreUnavailable.
    """

    async def beat(
        self, host: str, by: str, age: timedelta, now: datetime, *, instead_of: int | None = None
    ) -> HeartbeatReply:
        """``host`` is alive, says installation ``by``.

        It is NAMESAKE if another installation said so within ``age``, or ever, unless its last
        heartbeat still is ``instead_of``: the number of one that ``by`` has watched for a while.
        """

    async def heard(self, now: datetime) -> Heard:
        """The last heartbeat of each host."""

    async def owners(self) -> list[str]:
        """Every host that ever stored a pool or a lease: ``load`` tells what it holds."""

    async def begin_drain(self, host: str, by: str, beat: int | None, now: datetime) -> bool:
        """Whether ``beat`` still is the last of ``host``: from now on its beats are DRAINED.

        ``beat`` is the number that ``by`` saw, None where there was none. The drain ends with
        ``forget_host`` or ``end_drain``, or DRAIN after the last such call. A host that beats
        within it ends it at the next such call, which is False then. False also where another host
        than ``by`` drains it.
        """

    async def end_drain(self, host: str, by: str) -> None:
        """``by`` drains ``host`` no longer, though it holds something yet: its next beat is NEW."""

    async def forget_host(self, host: str) -> None:
        """Forget the heartbeats of ``host``; its leases stay."""


DRAIN = timedelta(minutes=1)
"""For so long, a host that was heard of again must wait for one that drains it."""


class NameRegistry(Protocol):
    """Which host has the container of a name, where hosts share names (D4D_IDENTITY=cluster-name).

    Names are unique where addresses are: in a segment.
    """

    async def claim_name(self, pool: PoolId, name: str, owner: str) -> Address | None:
        """``owner`` is about to lease an address for ``name``; returns the one that it had last.

        Raises AddressInUse while another host has a lease for it that Docker uses, or claimed it
        within the last minute. One that Docker gave back, and that is held on, becomes FREED.
        """

    async def settle_name(self, lease: Lease) -> None:
        """``lease`` is what its owner's claim of the name came to."""
