"""Keeps leases alive: each has a client on its pool's way, until it is freed or forgotten."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from ipaddress import IPv4Address

from d4d.adapters.dhcp.conflict_detection import ConflictDetector
from d4d.adapters.dhcp.ways import Way, Ways
from d4d.domain.addressing import Address
from d4d.domain.dhcp.client import Client
from d4d.domain.dhcp.effects import Bound, Effect, Ignored, Late, Lost
from d4d.domain.dhcp.lease_mapping import confirmed, grant_of, identity_of
from d4d.domain.dhcp.states import State
from d4d.domain.errors import D4DError
from d4d.domain.events import EventKind
from d4d.domain.lease_states import Standing
from d4d.domain.leases import Lease, Terms
from d4d.domain.pools import Pool, PoolId
from d4d.domain.ports.events import LeaseObserver
from d4d.service_layer import log_messages as log
from d4d.service_layer.concurrency.supervised_task import report_failure

_MOST_IGNORED = 4  # useless answers that are told of, for each lease
_ROUTE_RETRY = 5.0  # seconds until an interface that is not there yet is looked for again

Key = tuple[PoolId, Address]


@dataclass(slots=True)
class KeptLease:
    """A lease that is kept alive: its client, and who hears of it."""

    client: Client
    way: Way
    lease: Lease
    observer: LeaseObserver | None = None
    mismatch: Callable[[Lease, str], None] | None = None
    """Hears of answers that can't be used (of each once, and of so many, until one can be), and of
    what a server changed that Docker was told before."""
    ignored: list[Ignored] = field(default_factory=list)

    @property
    def parent(self) -> str | None:
        """The interface whose wire it is on."""
        return self.way.route.parent

    def hear(self, effect: Effect) -> None:
        """Take in what the client came to, and tell."""
        if isinstance(effect, Bound):
            self.ignored.clear()
            kind = EventKind.REBOUND if effect.rebound else EventKind.RENEWED
            if effect.recovered:
                kind = EventKind.RECOVERED
            before = self.lease.terms
            self._tell(confirmed(self.lease, effect.grant), kind, "")
            if self.mismatch is not None and (said := _changed(before, effect.grant.terms)):
                self.mismatch(self.lease, said)
        elif isinstance(effect, Lost):
            self._tell(self.lease.denied(), EventKind.LOST, effect.reason)
        elif isinstance(effect, Late):
            self._tell(self.lease, EventKind.LATE, effect.reason)
        elif isinstance(effect, Ignored):
            self._ignore(effect)

    def _ignore(self, effect: Ignored) -> None:
        if effect in self.ignored or len(self.ignored) >= _MOST_IGNORED:
            return
        self.ignored.append(effect)
        if self.mismatch is not None and not effect.is_foreign:
            self.mismatch(self.lease, str(effect))

    def _tell(self, lease: Lease, kind: EventKind, detail: str) -> None:
        self.lease = lease
        if self.observer is not None:
            self.observer.changed(lease, kind, detail)


@dataclass(frozen=True, slots=True)
class _Waiting:
    """A lease whose way can't be told yet."""

    lease: Lease
    observer: LeaseObserver
    confirm: bool


class LeaseKeeper:
    """All leases that are kept alive, and those that wait for their interface."""

    def __init__(
        self,
        *,
        ways: Ways,
        conflicts: ConflictDetector,
        rename: Callable[[Lease, str], Lease],
        mismatch: Callable[[Lease, str], None],
    ) -> None:
        """``mismatch`` hears of what servers say that does not fit a lease."""
        self._mismatch = mismatch
        self._ways = ways
        self._conflicts = conflicts
        self._rename = rename
        self._kept: dict[Key, KeptLease] = {}
        self._by_client_id: dict[bytes, Key] = {}
        self._waiting: dict[PoolId, dict[Address, _Waiting]] = {}
        self._retries: dict[PoolId, asyncio.TimerHandle] = {}

    def maintain(self, lease: Lease, observer: LeaseObserver, *, confirm: bool = False) -> None:
        """Keep ``lease`` alive; one whose T1 has passed is confirmed at once, or if ``confirm``."""
        key = (lease.pool, lease.address)
        kept = self._kept.get(key)
        if kept is not None and kept.lease.endpoint == lease.endpoint:
            kept.lease, kept.observer = lease, observer
            if confirm:
                self._confirm(kept)
            return
        self.forget(lease)
        waiting = _Waiting(lease, observer, confirm)
        if lease.pool in self._retries:  # the others of its pool wait already: one look for all
            self._waiting[lease.pool][lease.address] = waiting
        else:
            self._begin([waiting])

    def hold(self, kept: KeptLease) -> None:
        """Keep alive what was just granted, on a way that was entered for it."""
        key = (kept.lease.pool, kept.lease.address)
        self.forget(kept.lease)
        self._kept[key] = kept
        kept.mismatch = self._mismatch
        self._by_client_id[kept.lease.client_id or b""] = key
        kept.way.session.follow(kept.client, kept.hear)
        self._conflicts.watch_over(kept.parent, kept)

    def forget(self, lease: Lease) -> None:
        """Keep it alive no longer. Nothing is sent."""
        key = (lease.pool, lease.address)
        waiting = self._waiting.get(lease.pool)
        if waiting is not None:
            waiting.pop(lease.address, None)
            if not waiting:
                self._stop_waiting(lease.pool)
        kept = self._kept.pop(key, None)
        if kept is not None:
            kept.way.session.drop(kept.client)
            if self._by_client_id.get(kept.lease.client_id or b"") == key:
                del self._by_client_id[kept.lease.client_id or b""]
            self._conflicts.let_go(kept.parent, kept.lease)
            self._ways.leave(kept.way)

    def kept(self, lease: Lease) -> KeptLease | None:
        """What keeps the address of ``lease`` alive."""
        return self._kept.get((lease.pool, lease.address))

    def by_client_id(self, client_id: bytes) -> Lease | None:
        """The lease that is kept alive by this client id."""
        key = self._by_client_id.get(client_id)
        kept = self._kept.get(key) if key is not None else None
        return kept.lease if kept is not None else None

    def rename(self, lease: Lease, name: str) -> Lease:
        """The lease with its hostname, told to the server by a renewal before T1."""
        renamed = self._rename(lease, name)
        kept = self.kept(lease)
        if kept is not None:
            kept.lease = renamed
            kept.client.identity = identity_of(renamed)
            self._confirm(kept)
        elif (waiting := self._waiting.get(lease.pool, {}).get(lease.address)) is not None:
            self._waiting[lease.pool][lease.address] = _Waiting(
                renamed, waiting.observer, waiting.confirm
            )
        return renamed

    def moved(self, pool_id: PoolId) -> None:
        """The route of a pool is another one: its leases go on there, confirmed in turn."""
        for key, kept in tuple(self._kept.items()):
            if key[0] == pool_id and kept.observer is not None:
                self.forget(kept.lease)
                self.maintain(kept.lease, kept.observer, confirm=True)
        if pool_id in self._retries:
            self._retry(pool_id)

    def is_waiting(self) -> bool:
        """Whether any lease waits for its interface."""
        return bool(self._retries)

    def retry_waiting(self) -> None:
        """The host's interfaces changed: what waits for one may find it now."""
        for pool_id in tuple(self._retries):
            self._retry(pool_id)

    def confirm_all(self, parent: str) -> None:
        """Ask of each lease on ``parent`` whether it still is ours, in turn and paced."""
        for kept in tuple(self._kept.values()):
            if kept.parent == parent and kept.client.state is not State.INIT:
                kept.way.session.begin_in_turn(kept.client, kept.client.disturbed)

    def close(self) -> None:
        """Keep nothing alive any more. Nothing is sent."""
        for pool_id in tuple(self._retries):
            self._stop_waiting(pool_id)
        self._kept.clear()
        self._by_client_id.clear()

    def _confirm(self, kept: KeptLease) -> None:
        if kept.client.state is not State.INIT:  # else its turn to resume comes, and does it
            kept.way.session.begin_in_turn(kept.client, kept.client.renew)

    def _begin(self, waiting: list[_Waiting]) -> None:
        """Keep these of one pool alive, or have them wait for its way."""
        pool_id = waiting[0].lease.pool
        try:
            route = self._ways.route_to(Pool.parse(pool_id))
        except Exception as error:  # of a bug, too: the next look may not meet it
            if not isinstance(error, D4DError):
                report_failure(error, f"route of {pool_id}")
            self._wait(pool_id, waiting, error)
            return
        for each in waiting:
            way = self._ways.enter(route)
            client = way.client(identity_of(each.lease))
            self.hold(KeptLease(client, way, each.lease, each.observer))
            lost = each.lease.standing is Standing.LOST
            resume = partial(client.resume, grant_of(each.lease), confirm=each.confirm, lost=lost)
            way.session.begin_in_turn(client, resume)

    def _wait(self, pool_id: PoolId, waiting: list[_Waiting], error: Exception) -> None:
        if pool_id not in self._waiting:
            log.leases_wait_for_route(pool=pool_id, error=str(error))
        known = self._waiting.setdefault(pool_id, {})
        known.update({each.lease.address: each for each in waiting})
        loop = asyncio.get_running_loop()
        self._retries[pool_id] = loop.call_later(_ROUTE_RETRY, self._retry, pool_id)

    def _retry(self, pool_id: PoolId) -> None:
        self._retries.pop(pool_id).cancel()
        waiting = list(self._waiting.get(pool_id, {}).values())
        if waiting:
            self._begin(waiting)
        if pool_id not in self._retries:
            self._waiting.pop(pool_id, None)

    def _stop_waiting(self, pool_id: PoolId) -> None:
        self._waiting.pop(pool_id, None)
        if (timer := self._retries.pop(pool_id, None)) is not None:
            timer.cancel()


def _changed(before: Terms | None, now: Terms) -> str:
    """What the server says otherwise than before, that running containers go on with; or empty."""
    if before is None or not before.lease_time:  # nothing was said: it was adopted
        return ""
    told = [
        f"the {name} {_listed(old)} to {_listed(new)}"
        for name, old, new in (
            ("subnet mask", _one(before.subnet_mask), _one(now.subnet_mask)),
            ("router", before.default_routers, now.default_routers),
            ("DNS server", before.dns_servers, now.dns_servers),
        )
        if old != new
    ]
    if not told:
        return ""
    return (
        f"{now.server} changed {', '.join(told)}: Docker goes on with what it was told when the "
        f"network was made. Make the network anew, or correct the server"
    )


def _one(address: IPv4Address | None) -> tuple[IPv4Address, ...]:
    return () if address is None else (address,)


def _listed(addresses: tuple[IPv4Address, ...]) -> str:
    return ", ".join(map(str, addresses)) or "none"
