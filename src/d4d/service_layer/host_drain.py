"""Hosts that share a store, and what is done about one that is gone for good.

Its containers may run on, though its driver does not. So what it held is taken back at an
operator's word, or by a rule of his (D4D_RECLAIM), and only on two proofs:

- the host is silent: this one saw that its heartbeat did not change for a grace (``silence``). The
  store begins the drain only while that heartbeat still is its last, so that a host that beats
  meanwhile wins; and one that beats within the drain ends it.
- the address is silent: nobody answers for it on the wire of its network. Where nobody can be
  asked, a lease that ran out is forgotten without a word, and any other stays the host's: an
  operator may force it.

The host may come back at any time: see ``presence``.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from enum import Enum

from d4d.domain.errors import BadRequest, D4DError, NotAsked, StoreUnavailable, Superseded
from d4d.domain.events import EventKind, LeaseEvent
from d4d.domain.leases import Lease
from d4d.domain.pools import Pool
from d4d.domain.ports.allocator import Allocator
from d4d.domain.ports.clock import Clock
from d4d.domain.ports.events import EventSink
from d4d.domain.ports.hosts import Heard, HostRegistry
from d4d.domain.ports.neighbours import Neighbours
from d4d.service_layer.host_watch import HostWatch
from d4d.service_layer.ledger import Ledger

_TOGETHER = 32
"""Addresses that are asked for at once: what comes back must be acted on while it is true."""


class Life(Enum):
    """What is known of a host."""

    ALIVE = "alive"
    """It was heard of within the grace."""
    SILENT = "silent"
    """This host saw that its heartbeat did not change for a whole grace. It may be drained."""
    UNKNOWN = "unknown"
    """By the store's clock it is silent, but this host has not watched it for long enough."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """One host that uses the store."""

    name: str
    age: timedelta | None
    """How old its last heartbeat is, by the store's clock; None where there is none."""
    silent_for: timedelta
    """For how long this host watched that nothing was heard of it, by its own clock."""
    life: Life
    leases: int
    """How many addresses it holds."""

    @property
    def is_alive(self) -> bool:
        """Whether it was heard of within the grace."""
        return self.life is Life.ALIVE


@dataclass(frozen=True, slots=True, kw_only=True)
class DrainResult:
    """What draining a host came to."""

    host: str
    freed: list[Lease] = field(default_factory=list)
    unasked: list[tuple[Lease, str]] = field(default_factory=list)
    """Those of ``freed`` for which nobody could be asked on the wire, and why."""
    failed: list[tuple[Lease, str]] = field(default_factory=list)
    """Not given back, and why. These stay the host's."""


class HostDrain:
    """Asks which hosts there are, and takes back what one of them held."""

    def __init__(
        self,
        *,
        ledger: Ledger,
        hosts: HostRegistry,
        allocator: Callable[[Pool], Allocator],
        neighbours: Neighbours,
        events: EventSink,
        clock: Clock,
        watch: HostWatch,
        owner: str,
        grace: timedelta,
    ) -> None:
        """A host of which ``watch`` heard nothing for ``grace`` may be drained."""
        self._ledger = ledger
        self._hosts = hosts
        self._allocator = allocator
        self._neighbours = neighbours
        self._events = events
        self._clock = clock
        self._owner = owner
        self.grace = grace
        self._watch = watch
        self._silence = watch.silence

    # What is known

    async def look(self) -> Heard:
        """See ``HostWatch``."""
        return await self._watch.look()

    def lost_sight(self) -> None:
        """The store was away, or does not take this host's own heartbeats."""
        self._silence.reset()

    @property
    def watched(self) -> timedelta:
        """How long this host has read the heartbeats without a gap, by its own clock."""
        return self._silence.watched()

    async def hosts(self) -> list[Host]:
        """Every host that beats or holds anything. Raises StoreUnavailable."""
        heard = await self.look()
        watched = self._silence.watched()
        seen = {
            name: (self._silence.of(name), self._life(name, heard.age(name)))
            for name in heard.beats
        }
        without = (watched, Life.SILENT if watched >= self.grace else Life.UNKNOWN)
        names = sorted({*heard.beats, *await self._hosts.owners()})
        counts = await asyncio.gather(*map(self._ledger.count, names))
        found = []
        for name, held in zip(names, counts, strict=True):
            age = heard.age(name)
            if age is None and not held:
                continue  # drained, or never more than a name
            silent_for, life = seen.get(name, without)
            found.append(Host(name=name, age=age, silent_for=silent_for, life=life, leases=held))
        return found

    def _life(self, name: str, age: timedelta | None) -> Life:
        if self._watch.is_silent(name):
            return Life.SILENT
        if self._silence.changed(name) or (age is not None and age < self.grace):
            return Life.ALIVE
        return Life.UNKNOWN

    async def leases_of(self, host: str) -> tuple[Lease, ...]:
        """What the store says ``host`` has, in any state. Raises StoreUnavailable."""
        return (await self._ledger.load(host)).leases

    async def dead(self) -> list[str]:
        """Hosts that beat once, are silent now, and hold something. Raises StoreUnavailable."""
        heard = await self.look()
        silent = [
            name for name in heard.beats if name != self._owner and self._watch.is_silent(name)
        ]
        return [name for name in silent if await self._ledger.count(name)]

    # What is done

    async def drain(self, host: str, *, force: bool = False) -> DrainResult:
        """Give back all that ``host`` holds and nobody uses, and forget it.

        ``force`` is an operator who knows that the host is off: it need not have been watched for
        the grace, and what nobody can be asked about is given back as well. Raises BadRequest where
        the host may live or is unknown, or another host drains it already; StoreUnavailable: call
        again then, it goes on where it stopped.
        """
        if host == self._owner:
            raise BadRequest(f"{host} is this host: remove its containers, it gives them back then")
        heard = await self.look()
        silent_for, changed = self._silence.of(host), self._silence.changed(host)
        known = {*heard.beats, *await self._hosts.owners()}
        if host not in known:
            there = ", ".join(sorted(known)) or "none"
            raise BadRequest(f"no host {host!r} uses this store: there are {there}")
        if silent_for < self.grace and (changed or not force):
            raise BadRequest(self._not_silent(host, heard.age(host), silent_for, changed))
        last = heard.beats.get(host)
        beat = last.number if last is not None else None
        if not await self._begin(host, beat):
            raise BadRequest(
                f"{host} was heard of just now, or another host drains it: a host is drained by "
                f"one other, and only while nothing is heard of it"
            )
        drained = DrainResult(host=host)
        contents = await self._ledger.load(host)
        try:
            held = [lease for lease in contents.leases if lease.is_held]
            for first in range(0, len(held), _TOGETHER):
                leases = held[first : first + _TOGETHER]
                await self._take_all_back(leases, beat, drained, force=force)
        finally:
            if drained.failed:
                await self._hosts.end_drain(host, self._owner)
        if not drained.failed:
            for record in contents.pools:
                await self._ledger.empty_pool_of(host, record)
            await self._watch.forget(host)
        return drained

    def _not_silent(
        self, host: str, age: timedelta | None, silent_for: timedelta, changed: bool
    ) -> str:
        """Why it is not drained, and what to do."""
        grace = self.grace.total_seconds()
        if changed:
            return (
                f"{host} was heard of {silent_for.total_seconds():.0f} s ago, as this host saw: "
                f"one is drained when nothing was heard of it for {grace:.0f} s (D4D_HOST_GRACE). "
                f"Stop D4D there, and wait"
            )
        last = "has no heartbeat in the store"
        if age is not None:
            last = f"was heard of {age.total_seconds():.0f} s ago by the store's clock"
        return (
            f"{host} {last}, but this host has watched for {silent_for.total_seconds():.0f} s "
            f"only: one is drained when nothing was heard of it for {grace:.0f} s "
            f"(D4D_HOST_GRACE). Wait, or add --force if you know that {host} is switched off"
        )

    async def _begin(self, host: str, beat: int | None) -> bool:
        return await self._hosts.begin_drain(host, self._owner, beat, self._clock())

    async def _take_all_back(
        self, leases: Sequence[Lease], beat: int | None, drained: DrainResult, *, force: bool
    ) -> None:
        asked = await asyncio.gather(*(self._in_use(lease) for lease in leases))
        for lease, answer in zip(leases, asked, strict=True):
            if answer.user:
                drained.failed.append((lease, answer.user))
            elif answer.unasked and not force and not self._has_expired(lease):
                drained.failed.append((lease, self._unproven(lease, answer.unasked)))
            elif not await self._begin(drained.host, beat):  # each mark holds for a while only
                drained.failed.append((lease, f"{drained.host} was heard of again meanwhile"))
            else:
                await self._take_back(lease, drained, unasked=answer.unasked)

    async def _in_use(self, lease: Lease) -> "_Answer":
        try:
            mac = await self._neighbours.who_has(Pool.parse(lease.pool), lease.address)
        except NotAsked as error:
            return _Answer(unasked=str(error))
        if mac is None:
            return _Answer()
        if mac == lease.endpoint.mac:
            return _Answer(user=f"its container still answers by ARP (MAC {mac})")
        return _Answer(user=f"{mac} answers for it by ARP: not its container, but it is in use")

    def _unproven(self, lease: Lease, reason: str) -> str:
        end = "add --force if you know that its container is gone"
        if lease.expires_at is not None:
            end = f"it runs out by itself at {lease.expires_at:%Y-%m-%d %H:%M:%S}Z; or {end}"
        return f"nobody was asked who uses it: {reason}; {end}"

    def _has_expired(self, lease: Lease) -> bool:
        return lease.expires_at is not None and lease.expires_at <= self._clock()

    async def _take_back(self, lease: Lease, drained: DrainResult, *, unasked: str) -> None:
        released = lease.given_back(self._clock()) if lease.is_live else lease
        try:
            await self._ledger.update_of_another(released)
            if not (unasked and self._has_expired(lease)):  # else its server has forgotten it, too
                await self._allocator(Pool.parse(lease.pool)).free(released)
            await self._ledger.update_of_another(released.freed())
        except Superseded:
            return  # somebody has it by now
        except StoreUnavailable:
            raise
        except D4DError as error:
            drained.failed.append((lease, str(error)))
            return
        drained.freed.append(lease)
        if unasked:
            drained.unasked.append((lease, unasked))
        event = LeaseEvent(
            kind=EventKind.DRAINED,
            at=self._clock(),
            pool=lease.pool,
            address=lease.address,
            endpoint=lease.endpoint,
            detail=f"taken back from host {lease.owner}, which is not heard of any more",
        )
        self._events.record(event)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Answer:
    """Who uses an address."""

    user: str = ""
    """Empty: nobody, as far as could be asked."""
    unasked: str = ""
    """Why nobody was asked; empty where somebody was."""
