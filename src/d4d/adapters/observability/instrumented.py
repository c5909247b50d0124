"""Ports that measure each call, and pass it on."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import cast

from d4d.adapters.observability.metrics import Metrics
from d4d.domain.address_selection import AddressClaim
from d4d.domain.addressing import Address
from d4d.domain.errors import BadRequest, D4DError, LinkDown, NoAddress, StoreUnavailable
from d4d.domain.leases import Endpoint, Lease
from d4d.domain.pools import Pool, PoolRecord, PoolRequest
from d4d.domain.ports.allocator import AllocationRequest, Allocator
from d4d.domain.ports.clock import Clock
from d4d.domain.ports.docker import Attachment, ContainerEvent, DockerEngine, DockerNetwork
from d4d.domain.ports.events import LeaseObserver
from d4d.domain.ports.reservations import ReservationStore
from d4d.domain.ports.stores import LeaseStore, RangeStore
from d4d.domain.reservations import Reservation, ReservationSet
from d4d.domain.stored import StoreContents


class InstrumentedStore:
    """A LeaseStore, with Reservations where the store has any.

    It remembers how the last call ended, for those who ask after its health.
    """

    def __init__(self, store: LeaseStore, metrics: Metrics) -> None:
        self._store = store
        self._metrics = metrics
        self._reservations = _reservations_of(store)
        self.trouble = ""
        """Why the last call failed, where it did."""

    def __repr__(self) -> str:
        return repr(self._store)  # errors name what the operator chose

    async def load(self, owner: str) -> StoreContents:
        """See ``LeaseStore``."""
        with self._call("load"):
            return await self._store.load(owner)

    async def count(self, owner: str) -> int:
        """See ``LeaseStore``."""
        with self._call("count"):
            return await self._store.count(owner)

    async def save_pool(self, record: PoolRecord, owner: str) -> None:
        """See ``LeaseStore``."""
        with self._call("save_pool"):
            await self._store.save_pool(record, owner)

    async def add(self, lease: Lease, *, unless_held: bool = False) -> Lease:
        """See ``LeaseStore``."""
        with self._call("add"):
            return await self._store.add(lease, unless_held=unless_held)

    async def update(self, lease: Lease) -> None:
        """See ``LeaseStore``."""
        with self._call("update"):
            await self._store.update(lease)

    async def remove(self, lease: Lease) -> bool:
        """See ``LeaseStore``."""
        with self._call("remove"):
            return await self._store.remove(lease)

    async def reserve(self, reservation: Reservation) -> bool:
        """See ``ReservationStore``. Raises BadRequest where the store keeps none."""
        store = self._reservations
        if store is None:
            raise BadRequest(
                f"{self._store!r} keeps no reservations: choose another D4D_STORE, or reserve "
                f"{reservation.address} in the DHCP server"
            )
        with self._call("reserve"):
            return await store.reserve(reservation)

    async def unreserve(self, segment: str, address: Address) -> Reservation | None:
        """See ``ReservationStore``."""
        store = self._reservations
        if store is None:
            return None
        with self._call("unreserve"):
            return await store.unreserve(segment, address)

    async def reserved(self, segment: str) -> ReservationSet:
        """See ``ReservationStore``."""
        store = self._reservations
        if store is None:
            return ReservationSet()
        with self._call("reserved"):
            return await store.reserved(segment)

    async def reservations(self) -> tuple[Reservation, ...]:
        """See ``ReservationStore``."""
        store = self._reservations
        if store is None:
            return ()
        with self._call("reservations"):
            return await store.reservations()

    async def take(self, claim: AddressClaim) -> Lease:
        """See ``RangeStore``. Raises BadRequest where the store chooses no addresses."""
        if not callable(getattr(self._store, "take", None)):
            raise BadRequest(
                f"{self._store!r} chooses no addresses, as the range allocator needs: choose "
                f"another D4D_STORE, or another allocator"
            )
        with self._call("take"):
            return await cast("RangeStore", self._store).take(claim)

    async def aclose(self) -> None:
        """See ``LeaseStore``."""
        await self._store.aclose()

    def _call(self, call: str) -> AbstractContextManager[None]:
        return self._metrics.store(call, self._ended)

    def _ended(self, error: BaseException | None) -> None:
        if isinstance(error, StoreUnavailable):
            self.trouble = str(error)
        elif error is None or isinstance(error, D4DError):
            self.trouble = ""  # it answered, if not with what was asked for
        elif isinstance(error, asyncio.CancelledError):
            error.add_note(f"the lease store, {self._store!r}: see what holds it up")


def _reservations_of(store: LeaseStore) -> ReservationStore | None:
    """``store``, if it keeps any: another package's may know nothing of them."""
    verbs = ("reserve", "unreserve", "reserved", "reservations")
    has_all = all(callable(getattr(store, verb, None)) for verb in verbs)
    return cast("ReservationStore", store) if has_all else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Silence:
    """An allocation for which no server had an address."""

    at: datetime
    reason: str


class InstrumentedAllocator:
    """An Allocator. It remembers when it last had no address to give."""

    def __init__(self, allocator: Allocator, name: str, metrics: Metrics, clock: Clock) -> None:
        self._allocator = allocator
        self._name = name
        self._metrics = metrics
        self._clock = clock
        self.silence: Silence | None = None
        """The last allocation's, where it came to nothing."""

    async def open(self, request: PoolRequest) -> Pool:
        """See ``Allocator``."""
        with self._metrics.exchange(self._name, "open"):
            return await self._allocator.open(request)

    async def allocate(self, request: AllocationRequest) -> Lease:
        """See ``Allocator``."""
        try:
            with self._metrics.exchange(self._name, "allocate"):
                lease = await self._allocator.allocate(request)
        except (NoAddress, LinkDown) as error:
            self.silence = Silence(at=self._clock(), reason=str(error))
            raise
        self.silence = None
        return lease

    def adopt(self, pool: Pool, endpoint: Endpoint, address: Address, *, at: datetime) -> Lease:
        """See ``Allocator``."""
        return self._allocator.adopt(pool, endpoint, address, at=at)

    def rename(self, lease: Lease, name: str) -> Lease:
        """See ``Allocator``."""
        return self._allocator.rename(lease, name)

    def maintain(self, lease: Lease, observer: LeaseObserver, *, confirm: bool = False) -> None:
        """See ``Allocator``."""
        self._allocator.maintain(lease, observer, confirm=confirm)

    def forget(self, lease: Lease) -> None:
        """See ``Allocator``."""
        self._allocator.forget(lease)

    async def free(self, lease: Lease) -> None:
        """See ``Allocator``."""
        with self._metrics.exchange(self._name, "free"):
            await self._allocator.free(lease)


class InstrumentedEngine:
    """Containers, as Docker's API has them."""

    def __init__(self, containers: DockerEngine, metrics: Metrics) -> None:
        self._containers = containers
        self._metrics = metrics

    @property
    def gives_names(self) -> bool:
        """See ``DockerEngine``."""
        return self._containers.gives_names

    async def networks(self) -> tuple[DockerNetwork, ...]:
        """See ``DockerEngine``."""
        with self._metrics.docker("networks"):
            return await self._containers.networks()

    async def attachments(self) -> tuple[Attachment, ...]:
        """See ``DockerEngine``."""
        with self._metrics.docker("attachments"):
            return await self._containers.attachments()

    def started(self) -> AsyncIterator[ContainerEvent]:
        """See ``DockerEngine``."""
        return self._containers.started()

    async def reconnect(self, attachment: Attachment) -> None:
        """See ``DockerEngine``."""
        with self._metrics.docker("reconnect"):
            await self._containers.reconnect(attachment)

    async def restart(self, container_id: str) -> None:
        """See ``DockerEngine``."""
        with self._metrics.docker("restart"):
            await self._containers.restart(container_id)

    async def stop(self, container_id: str) -> None:
        """See ``DockerEngine``."""
        with self._metrics.docker("stop"):
            await self._containers.stop(container_id)

    async def aclose(self) -> None:
        """See ``DockerEngine``."""
        await self._containers.aclose()
