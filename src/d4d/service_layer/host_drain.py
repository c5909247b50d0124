"""Hosts that share a store, and what is done about one that is gone for good.

Its containers may run on, though its driver does not: nobody can tell from here. So what it held is
taken back at an operator's word, or by a rule of his (D4D_RECLAIM), and never from a host that is
heard of. It may come back at any time: see ``presence``.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from enum import Enum

from d4d.domain.errors import BadRequest, D4DError, StoreUnavailable, Superseded
from d4d.domain.leases import Lease, LeaseState
from d4d.domain.pool_state import is_held
from d4d.domain.pools import Pool
from d4d.domain.ports.allocator import Allocator, Clock, Event, EventKind, Events, Hosts, LeaseStore


class Reclaim(Enum):
    """D4D_RECLAIM: what becomes of the leases of a host that is not heard of any more."""

    MANUAL = "manual"
    """They stay its own until an operator drains it."""
    AUTO = "auto"
    """Another host drains it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """One host that uses the store."""

    name: str
    age: timedelta | None
    """How long ago it was heard of; None where it never was."""
    is_alive: bool
    leases: int
    """How many addresses it holds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Drained:
    """What draining a host came to."""

    host: str
    freed: list[Lease] = field(default_factory=list)
    failed: list[tuple[Lease, str]] = field(default_factory=list)
    """Not given back, and why. These stay the host's."""


class Draining:
    """Asks which hosts there are, and takes back what one of them held."""

    def __init__(
        self,
        *,
        store: LeaseStore,
        hosts: Hosts,
        allocator: Callable[[Pool], Allocator],
        events: Events,
        clock: Clock,
        owner: str,
        grace: timedelta,
    ) -> None:
        """A host that was not heard of for ``grace`` counts as dead."""
        self._store = store
        self._hosts = hosts
        self._allocator = allocator
        self._events = events
        self._clock = clock
        self._owner = owner
        self._grace = grace

    async def hosts(self) -> list[Host]:
        """Every host that beats or holds anything. Raises StoreUnavailable."""
        ages = await self._hosts.ages(self._clock())
        names = sorted({*ages, *await self._hosts.owners()})
        counts = await asyncio.gather(*map(self._store.count, names))
        found = []
        for name, held in zip(names, counts, strict=True):
            age = ages.get(name)
            if age is None and not held:
                continue  # drained, or never more than a name
            is_alive = age is not None and age < self._grace
            found.append(Host(name=name, age=age, is_alive=is_alive, leases=held))
        return found

    async def leases_of(self, host: str) -> tuple[Lease, ...]:
        """What the store says ``host`` has, in any state. Raises StoreUnavailable."""
        return (await self._store.load(host)).leases

    async def dead(self) -> list[str]:
        """Hosts that are not heard of any more, and hold something. Raises StoreUnavailable."""
        ages = await self._hosts.ages(self._clock())
        silent = [name for name, age in ages.items() if age >= self._grace and name != self._owner]
        return [name for name in silent if await self._store.count(name)]

    async def drain(self, host: str) -> Drained:
        """Give back all that ``host`` holds, and forget it.

        Raises BadRequest where it is alive or unknown, or another host drains it already;
        StoreUnavailable: call again then, it goes on where it stopped.
        """
        if host == self._owner:
            raise BadRequest(f"{host} is this host: remove its containers, it gives them back then")
        known = {*await self._hosts.ages(self._clock()), *await self._hosts.owners()}
        if host not in known:
            there = ", ".join(sorted(known)) or "none"
            raise BadRequest(f"no host {host!r} uses this store: there are {there}")
        await self._mark(host)
        drained = Drained(host=host)
        contents = await self._store.load(host)
        for lease in contents.leases:
            if is_held(lease):
                await self._mark(host)  # it may take longer than one mark holds
                await self._take_back(lease, drained)
        if not drained.failed:
            for record in contents.pools:
                await self._store.save_pool(replace(record, users=0), host)
            await self._hosts.forget_host(host)
        return drained

    async def _mark(self, host: str) -> None:
        if await self._hosts.begin_drain(host, self._owner, self._grace, self._clock()):
            return
        age = (await self._hosts.ages(self._clock())).get(host, timedelta(0))
        raise BadRequest(
            f"{host} was heard of {age.total_seconds():.0f} s ago, or another host drains it: it "
            f"is drained by one host, and when it was not heard of for "
            f"{self._grace.total_seconds():.0f} s (D4D_HOST_GRACE). Stop D4D there, and wait"
        )

    async def _take_back(self, lease: Lease, drained: Drained) -> None:
        released = replace(
            lease,
            state=LeaseState.RELEASED,
            released_at=lease.released_at or self._clock(),
        )
        try:
            await self._store.update(released)
            await self._allocator(Pool.parse(lease.pool)).free(released)
            await self._store.update(replace(released, state=LeaseState.FREED))
        except Superseded:
            return  # somebody has it by now
        except StoreUnavailable:
            raise
        except D4DError as error:
            drained.failed.append((lease, str(error)))
            return
        drained.freed.append(lease)
        event = Event(
            kind=EventKind.DRAINED,
            at=self._clock(),
            pool=lease.pool,
            address=lease.address,
            endpoint=lease.endpoint,
            detail=f"taken back from host {lease.owner}, which is not heard of any more",
        )
        self._events.record(event)
