"""Where addresses come from, and how their leases are kept. Adapters serve it by shape."""

from collections.abc import Collection
from typing import Protocol

from d4d.domain.addressing import Address
from d4d.domain.leases import Endpoint, Lease
from d4d.domain.pools import Pool, PoolRequest
from d4d.domain.ports.events import LeaseObserver


class Allocator(Protocol):
    """Where addresses come from."""

    async def open(self, request: PoolRequest) -> Pool:
        """The pool that serves ``request``, with what the network says of itself.

        Raises BadRequest where this allocator can't serve it.
        """

    async def allocate(
        self,
        pool: Pool,
        endpoint: Endpoint,
        *,
        address: Address | None,
        hint: Address | None,
        taken: Collection[Address],
    ) -> Lease:
        """A lease for ``endpoint``: of ``address`` if given, and of none that is ``taken``.

        ``hint`` is the address it had before, taken again where it is still free.
        Its owner and generation are still to be set. Raises NoAddress, AddressInUse, LinkDown.
        """

    def adopt(self, pool: Pool, endpoint: Endpoint, address: Address) -> Lease:
        """The lease that ``endpoint`` must have of ``address``, which it uses already.

        Nobody is asked: ``keep`` confirms it.
        """

    def rename(self, lease: Lease, name: str) -> Lease:
        """The lease under the container's name, which the server hears of at once."""

    def keep(self, lease: Lease, holder: LeaseObserver, *, confirm: bool = False) -> None:
        """Keep ``lease`` alive from now on, telling ``holder`` what becomes of it.

        With ``confirm``, ask at once whether it still is ours.
        """

    def forget(self, lease: Lease) -> None:
        """Keep ``lease`` alive no longer, and say nothing: it is another host's."""

    async def free(self, lease: Lease) -> None:
        """Give the lease back, and keep it alive no longer. Raises LinkDown: call again then."""

    async def aclose(self) -> None:
        """Stop keeping leases alive, without giving any back."""
