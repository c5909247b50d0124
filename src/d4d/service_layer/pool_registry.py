"""Every pool that this driver knows, found by what Docker kept of it: its id."""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

from d4d.domain.addressing import Address, Subnet, parse_address
from d4d.domain.errors import BadRequest, PoolOverlap
from d4d.domain.pool_state import PoolState
from d4d.domain.pools import Pool, PoolId, PoolRecord
from d4d.domain.ports.allocator import Allocator

_BARE_ADDRESS = re.compile(r"[0-9.]+")


class PoolRegistry:
    """Pools by id, and which allocator serves each. Nothing here waits or writes."""

    def __init__(
        self,
        *,
        allocators: Mapping[str, Allocator],
        default_allocator: str,
        subnet_at: Callable[[Address], Subnet | None] = lambda _: None,
    ) -> None:
        """``subnet_at`` finds this host's subnet of a network address, for the seed's pool ids."""
        self._allocators = allocators
        self._default_allocator = default_allocator
        self._subnet_at = subnet_at
        self._pools: dict[PoolId, PoolState] = {}
        self._aliases: dict[str, PoolId] = {}

    def __iter__(self) -> Iterator[PoolState]:
        return iter(tuple(self._pools.values()))

    def get(self, pool_id: PoolId) -> PoolState | None:
        """The pool of exactly that id."""
        return self._pools.get(pool_id)

    def add(self, record: PoolRecord) -> PoolState:
        """Take in a pool, in place of what is known of it."""
        holdings = self._pools[record.pool.id] = PoolState(record)
        return holdings

    def at(self, pool_id: PoolId) -> PoolState:
        """The pool of exactly that id, made from it if it is new. Raises BadRequest."""
        known = self._pools.get(pool_id)
        return known or self.add(PoolRecord(pool=Pool.parse(pool_id), users=0))

    def find(self, pool_id: str) -> PoolState | None:
        """The pool of that id, or one that differs by the router that was learnt for it."""
        holdings = self._pools.get(self._aliases.get(pool_id, PoolId(pool_id)))
        if holdings is None:
            try:
                holdings = self.alike(self.parse(pool_id))
            except BadRequest:
                return None
            if holdings is not None:
                self._aliases[pool_id] = holdings.pool.id
        return holdings

    def alike(self, pool: Pool) -> PoolState | None:
        """The pool that another network has by the same request, whatever the router was then."""
        for holdings in self._pools.values():
            if holdings.is_used and replace(holdings.pool, gateway=pool.gateway) == pool:
                return holdings
        return None

    def parse(self, pool_id: str) -> Pool:
        """The pool that an id prints; the seed printed the bare network address.

        Raises BadRequest.
        """
        if _BARE_ADDRESS.fullmatch(pool_id):
            subnet = self._subnet_at(parse_address(pool_id, what="pool id"))
            if subnet is not None:
                return Pool(subnet=subnet)
        return Pool.parse(pool_id)

    def refuse_overlap(self, pool: Pool) -> None:
        """Raises PoolOverlap where another network uses addresses of ``pool`` on its parent."""
        for holdings in self._pools.values():
            if holdings.is_used and holdings.pool.overlaps(pool):
                where = f" on {pool.options.parent}" if pool.options.parent else ""
                raise PoolOverlap(
                    f"{pool.id} overlaps {holdings.pool.id}{where}, which another network uses: "
                    f"use the same --subnet, --ip-range and --ipam-opt to share the pool, or "
                    f"another subnet or parent"
                )

    def allocator(self, pool: Pool) -> Allocator:
        """Who allocates for ``pool``. Raises BadRequest."""
        return self.allocator_named(pool.options.allocator)

    def allocator_name(self, pool: Pool) -> str:
        """What the allocator of ``pool`` is called."""
        return pool.options.allocator or self._default_allocator

    def allocator_named(self, name: str | None) -> Allocator:
        """The allocator of that name, or the default one. Raises BadRequest."""
        name = name or self._default_allocator
        allocator = self._allocators.get(name)
        if allocator is None:
            known = ", ".join(sorted(self._allocators))
            raise BadRequest(f"unknown allocator {name!r}: known are {known}")
        return allocator
