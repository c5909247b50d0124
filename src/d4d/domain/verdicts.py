"""Whether a container may have an address: one answer, for whoever asks.

Docker may name the address, a server may offer it, the range allocator may come by it, and a lease
may be given back and asked for again: the rule is the same. What is free is taken, all else is
passed over. Nothing of this proves that somebody uses the address: only ARP does, and so only what
ARP proved is ever declined.
"""

from collections.abc import Callable, Collection
from enum import Enum
from typing import NamedTuple

from d4d.domain.addressing import Address
from d4d.domain.leases import Endpoint, Lease
from d4d.domain.pool_state import PoolState
from d4d.domain.reservations import ReservationSet


class Verdict(Enum):
    """What stands between an address and a container."""

    FREE = "free"
    """Nothing that is known here."""
    OURS_IN_USE = "ours_in_use"
    """Another container has it. A server that offers it has forgotten that."""
    KEPT_FOR_ANOTHER = "kept_for_another"
    """An operator reserved it for another, or another gave it back and may come for it."""
    RESERVED = "reserved"
    """It is a gateway, an auxiliary address, or an operator keeps it from all containers."""
    OUTSIDE = "outside"
    """The pool does not hand it out."""


class Judgement(NamedTuple):
    """A verdict, and in words why it is not FREE."""

    verdict: Verdict
    why: str = ""

    @property
    def is_free(self) -> bool:
        """Whether the address may be taken."""
        return self.verdict is Verdict.FREE


Judge = Callable[[Address], Judgement]
"""The verdict about an address as it is when asked: what is taken may change meanwhile."""

FREE = Judgement(Verdict.FREE)


def all_free(_: Address) -> Judgement:
    """Where nothing is known, all is free."""
    return FREE


def judge(
    address: Address,
    endpoint: Endpoint,
    state: PoolState,
    reserved: ReservationSet,
    *,
    asked: Collection[Address | None] = (),
) -> Judgement:
    """The verdict about ``address`` for ``endpoint``.

    ``reserved`` is what operators reserved where the pool is; ``asked`` are addresses that Docker
    named, or an operator: they may be outside of the pool's range.
    """
    pool = state.pool
    if address not in pool or pool.is_edge(address):
        return Judgement(Verdict.OUTSIDE, f"{address} is no host's address in {pool.subnet}")
    if address not in asked and address not in pool.assignable:
        return Judgement(Verdict.OUTSIDE, f"{address} is outside of {pool.assignable}")
    if (purpose := state.reservation(address)) is not None:
        return Judgement(Verdict.RESERVED, f"{address} is reserved ({purpose})")
    lease = state.latest(address)
    if lease is not None and lease.is_live and lease.endpoint.mac != endpoint.mac:
        return Judgement(Verdict.OURS_IN_USE, f"{address} is leased to {lease.endpoint}")
    if (found := reserved.against(address, endpoint)) is not None:
        verdict = Verdict.RESERVED if found.is_for_nobody else Verdict.KEPT_FOR_ANOTHER
        return Judgement(verdict, str(found))
    if lease is not None and lease.is_held and not is_returning(endpoint, lease):
        why = f"{address} was given back by {lease.endpoint} and is not released yet"
        return Judgement(Verdict.KEPT_FOR_ANOTHER, why)
    return FREE


def is_returning(endpoint: Endpoint, lease: Lease) -> bool:
    """Whether ``endpoint`` is the container of ``lease``: by MAC, or by name where that is free.

    A name alone proves nothing while the lease is in use: containers are renamed, and their names
    given to others. What Docker gave back nobody has, so the name's next bearer is its heir.
    """
    if lease.endpoint.mac == endpoint.mac:
        return True
    name = lease.endpoint.name
    return name is not None and name == endpoint.name and not lease.is_live
