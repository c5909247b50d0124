"""What an operator sees of a driver that serves, in values of the domain."""

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta

from d4d.adapters.history.store import SqliteHistory
from d4d.adapters.network.interfaces import Interfaces
from d4d.adapters.observability.event_stream import EventStream
from d4d.adapters.observability.instrumented import InstrumentedAllocator, InstrumentedStore
from d4d.adapters.observability.log_stream import lost
from d4d.adapters.observability.metrics import Metrics, State
from d4d.adapters.observability.tracing import Traces
from d4d.adapters.observability.webhook import Webhook
from d4d.domain.addressing import Address
from d4d.domain.leases import Lease, LeaseState
from d4d.domain.pools import PoolId
from d4d.domain.ports.clock import Clock
from d4d.domain.utilization import PoolUtilization, filled, utilization_of
from d4d.service_layer.concurrency.pace import Pace
from d4d.service_layer.concurrency.supervised_task import failing
from d4d.service_layer.ipam_service import IpamService
from d4d.service_layer.reservation_service import ReservationService

_PATIENCE = 1.0  # seconds for a store, where the last that is known will do

OVERDUE = timedelta(minutes=1)
"""How long after its renewal time a lease counts as late: servers take seconds at times."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorView:
    """One driver's parts that an operator asks."""

    ipam: IpamService
    reservation_service: ReservationService
    host: str
    clock: Clock
    stream: EventStream
    history: SqliteHistory | None
    """None where none is kept."""
    webhook: Webhook | None
    """None where none is set."""
    metrics: Metrics
    traces: Traces
    store: InstrumentedStore
    allocators: Mapping[str, InstrumentedAllocator]
    interfaces: Interfaces
    silences: Callable[[], Mapping[str, str]]
    """What is known of each link by which requests go out and nothing comes in."""

    def fills(self) -> dict[PoolId, PoolUtilization]:
        """How full each pool in use is."""
        by_pool: dict[PoolId, list[Lease]] = {}
        for lease in self.ipam.leasing.leases:
            by_pool.setdefault(lease.pool, []).append(lease)
        return {
            record.pool.id: utilization_of(
                record, by_pool.get(record.pool.id, ()), self.reservation_service.kept_in(record)
            )
            for record in self.ipam.pools
        }

    async def leases_of_others(self) -> list[Lease]:
        """What the store says of other hosts' leases. Raises StoreUnavailable."""
        host_drain = self.ipam.host_drain
        others = [each.name for each in await host_drain.hosts() if each.name != self.host]
        leases: list[Lease] = []
        for name in others:
            leases += await host_drain.leases_of(name)
        return leases

    async def learn_reservations(self) -> None:
        """Read what operators reserved, also on other hosts, for the figures that follow."""
        try:
            async with asyncio.timeout(_PATIENCE):
                await self.reservation_service.refresh()
        except TimeoutError:
            return  # the last that is known will do; the store's own health tells

    def is_overdue(self) -> Callable[[Lease], bool]:
        """What tells of a lease whether it is in use and its renewal late, as of now."""
        late = self.clock() - OVERDUE

        def is_late(lease: Lease) -> bool:
            return lease.is_live and lease.renew_at is not None and lease.renew_at < late

        return is_late

    def overdue(self) -> list[Lease]:
        """Leases in use whose renewal is late."""
        return list(filter(self.is_overdue(), self.ipam.leasing.leases))

    async def state(self, pace: Pace) -> State:
        """What metrics tell at a scrape, counted in turns with Docker's calls."""
        records = {record.pool.id: record for record in self.ipam.pools}
        leases: Counter[tuple[PoolId, LeaseState]] = Counter()
        used: dict[PoolId, set[Address]] = {pool: set() for pool in records}
        overdue = 0
        is_overdue = self.is_overdue()

        def count(lease: Lease) -> None:
            nonlocal overdue
            leases[lease.pool, lease.state] += 1
            overdue += is_overdue(lease)
            record = records.get(lease.pool)
            if record and lease.is_held and lease.address in record.pool.assignable:
                used[lease.pool].add(lease.address)

        await pace.each(count, self.ipam.leasing.leases)
        fills = await pace.each(
            lambda record: filled(
                record, used[record.pool.id], self.reservation_service.kept_in(record)
            ),
            records.values(),
        )
        return State(
            pools=dict(zip(records, fills, strict=True)),
            leases=dict(leases),
            overdue=overdue,
            unwritten=len(self.ipam.leasing.ledger.writes),
            history_waiting=self.history.waiting if self.history else 0,
            webhook_waiting=self.webhook.waiting if self.webhook else 0,
            tasks=len(asyncio.all_tasks()),
            failing=len(failing()),
            log_lines_lost=lost(),
        )
