"""Requests to an allocator, as the lease service makes them."""

import itertools
from collections.abc import Callable, Collection
from datetime import UTC, datetime, timedelta

from d4d.domain.addressing import Address
from d4d.domain.leases import Endpoint, Lease
from d4d.domain.pools import Pool
from d4d.domain.ports.allocator import AllocationRequest
from d4d.domain.reservations import ReservationSet
from d4d.domain.verdicts import FREE, Judge, Judgement, Verdict

_NUMBERS = itertools.count(1)


def asks(
    pool: Pool,
    endpoint: Endpoint,
    *,
    address: Address | None = None,
    hint: Address | None = None,
    taken: Collection[Address] = (),
    reserved: ReservationSet | None = None,
    at: datetime | None = None,
    owner: str = "",
    on_offer: Callable[[Lease], None] = lambda _: None,
    on_forgotten: Callable[[Address], None] = lambda _: None,
) -> AllocationRequest:
    """A request of ``endpoint``; what is ``taken`` others here have."""
    kept = reserved or ReservationSet()
    own = kept.of(endpoint)
    return AllocationRequest(
        pool=pool,
        endpoint=endpoint,
        at=(at or datetime.now(UTC)) + timedelta(microseconds=next(_NUMBERS)),
        owner=owner,
        address=address,
        reserved=own.address if own else None,
        hint=hint,
        judge=judges(pool, endpoint, taken=taken, reserved=kept, asked=(address,)),
        on_offer=on_offer,
        on_forgotten=on_forgotten,
    )


def judges(
    pool: Pool,
    endpoint: Endpoint,
    *,
    taken: Collection[Address],
    reserved: ReservationSet,
    asked: Collection[Address | None] = (),
) -> Judge:
    """The verdict where this is known."""
    own = reserved.of(endpoint)

    def judge(address: Address) -> Judgement:
        is_named = address in asked or (own is not None and own.address == address)
        if pool.is_edge(address) or (address not in pool.assignable and not is_named):
            return Judgement(Verdict.OUTSIDE, f"{address} is outside of {pool.assignable}")
        if address in taken:
            return Judgement(Verdict.OURS_IN_USE, f"{address} is leased or reserved here")
        if (found := reserved.against(address, endpoint)) is not None:
            verdict = Verdict.RESERVED if found.is_for_nobody else Verdict.KEPT_FOR_ANOTHER
            return Judgement(verdict, str(found))
        return FREE

    return judge
