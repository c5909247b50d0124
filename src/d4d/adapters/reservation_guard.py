"""An operator's reservations, for allocators that know nothing of them: other packages'."""

from collections.abc import Collection, Iterator

from d4d.domain.addressing import Address
from d4d.domain.leases import Endpoint, Lease
from d4d.domain.pools import Pool, PoolRequest
from d4d.domain.ports.allocator import Allocator
from d4d.domain.ports.events import LeaseObserver
from d4d.domain.ports.stores import ReservationStore
from d4d.domain.segments import segment_of


class HonouringAllocator:
    """An Allocator that tells another which addresses are kept, and for whom."""

    def __init__(self, allocator: Allocator, reservations: ReservationStore) -> None:
        self._allocator = allocator
        self._reservations = reservations

    def __repr__(self) -> str:
        return f"<HonouringAllocator {self._allocator!r}>"

    async def open(self, request: PoolRequest) -> Pool:
        """See ``Allocator``."""
        return await self._allocator.open(request)

    async def allocate(
        self,
        pool: Pool,
        endpoint: Endpoint,
        *,
        address: Address | None,
        hint: Address | None,
        taken: Collection[Address],
    ) -> Lease:
        """See ``Allocator``. What is kept for ``endpoint`` is the hint. Raises AddressInUse."""
        reserved = await self._reservations.reserved(segment_of(pool.id))
        if address is not None and (kept := reserved.against(address, endpoint)):
            kept.refuse()
        own = reserved.of(endpoint)
        if own is not None and own.address not in taken:
            hint = own.address
        return await self._allocator.allocate(
            pool,
            endpoint,
            address=address,
            hint=hint,
            taken=_TakenOrKept(taken, reserved.kept_from(endpoint)),
        )

    def adopt(self, pool: Pool, endpoint: Endpoint, address: Address) -> Lease:
        """See ``Allocator``. A container that has the address already goes on using it."""
        return self._allocator.adopt(pool, endpoint, address)

    def rename(self, lease: Lease, name: str) -> Lease:
        """See ``Allocator``."""
        return self._allocator.rename(lease, name)

    def keep(self, lease: Lease, holder: LeaseObserver, *, confirm: bool = False) -> None:
        """See ``Allocator``."""
        self._allocator.keep(lease, holder, confirm=confirm)

    def forget(self, lease: Lease) -> None:
        """See ``Allocator``."""
        self._allocator.forget(lease)

    async def free(self, lease: Lease) -> None:
        """See ``Allocator``."""
        await self._allocator.free(lease)

    async def aclose(self) -> None:
        """See ``Allocator``."""
        await self._allocator.aclose()


class _TakenOrKept(Collection[Address]):
    """What is taken may change while a server is asked: a view of it, and what is kept."""

    def __init__(self, taken: Collection[Address], kept: set[Address]) -> None:
        self._taken = taken
        self._kept = kept

    def __contains__(self, address: object) -> bool:
        return address in self._kept or address in self._taken

    def __iter__(self) -> Iterator[Address]:
        return iter({*self._taken, *self._kept})

    def __len__(self) -> int:
        return sum(1 for _ in self)
