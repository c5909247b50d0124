"""Stores with the range allocator over them, as the driver composes them."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from itertools import count
from pathlib import Path

from benchmarks.plugin_load import new_mac
from d4d.adapters.range_allocator import RangeAllocator
from d4d.adapters.stores.memory.store import MemoryLeaseStore
from d4d.adapters.stores.redis.store import RedisLeaseStore
from d4d.adapters.stores.sqlite.store import SqliteLeaseStore
from d4d.domain.addressing import MacAddress
from d4d.domain.leases import Endpoint, Lease
from d4d.domain.pools import Pool
from d4d.domain.ports.allocator import AllocationRequest
from lab.lab import Lab
from lab.redis_servers import RedisServer

STORES = ("memory", "sqlite", "redis")
Store = MemoryLeaseStore | SqliteLeaseStore | RedisLeaseStore

_numbers = count(1)


class Ranged:
    """A pool of one store."""

    def __init__(self, store: Store, subnet: str) -> None:
        self.store = store
        self.pool = Pool(subnet=ip_network(subnet))
        self._allocator = RangeAllocator(
            store=store, owner="bench", clock=lambda: datetime.now(UTC), rest=timedelta(0)
        )

    async def take(self) -> Lease:
        """Any address. Raises NoAddress."""
        endpoint = Endpoint(mac=MacAddress(new_mac()))
        request = AllocationRequest(pool=self.pool, endpoint=endpoint, at=datetime.now(UTC))
        return await self._allocator.allocate(request)

    async def aclose(self) -> None:
        """Close the store."""
        await self._allocator.aclose()
        await self.store.aclose()


@contextmanager
def places() -> Iterator["Places"]:
    """Where stores are, while the block runs."""
    with Lab() as lab, ExitStack() as stack:
        yield Places(lab.directory, stack)


class Places:
    """A directory, and a Redis in it where one is asked for."""

    def __init__(self, directory: Path, stack: ExitStack) -> None:
        self._directory = directory
        self._stack = stack
        self._redis: RedisServer | None = None

    @property
    def redis(self) -> RedisServer:
        """Started when it is first asked for; it syncs its log once a second, as is usual."""
        if self._redis is None:
            self._redis = RedisServer(self._directory / "redis", config=["appendonly yes"])
            self._stack.callback(self._redis.kill)
            self._redis.start()
        return self._redis

    def new(self, kind: str) -> Store:
        """An empty store."""
        number = next(_numbers)
        match kind:
            case "memory":
                return MemoryLeaseStore()
            case "sqlite":
                return SqliteLeaseStore(self._directory / f"{number}.db")
        return RedisLeaseStore(self.redis.url, prefix=f"d4d-{number}:")
