"""Which hosts share a Redis, and which of them has the container of a name."""

from datetime import datetime, timedelta

from d4d.adapters.stores.lease_codec import from_microseconds
from d4d.adapters.stores.redis.records import Place, owner_of, token
from d4d.adapters.stores.redis.scripts import RedisScripts
from d4d.domain.address_selection import from_number, to_number
from d4d.domain.errors import AddressInUse, StoreUnavailable
from d4d.domain.leases import Lease
from d4d.domain.pools import Address, PoolId
from d4d.domain.ports.allocator import DRAIN, Beat

_PATIENCE = timedelta(minutes=1)
"""So long another host waits for what a claim of a name comes to."""


def _microseconds(duration: timedelta) -> int:
    return duration // timedelta(microseconds=1)


class RedisHosts:
    """Hosts by the clock of Redis."""

    def __init__(self, redis: RedisScripts) -> None:
        self._redis = redis

    async def beat(self, host: str, by: str, age: timedelta, now: datetime) -> Beat:
        """``host`` is alive, says installation ``by``, unless another said so within ``age``."""
        async with self._redis.use("store a heartbeat") as client:
            parts = [token(host), by, _microseconds(age), _microseconds(DRAIN)]
            return Beat(await self._redis.evaluate(client, "beat", self._key, *parts))

    async def ages(self, now: datetime) -> dict[str, timedelta]:
        """How long ago each host was last heard of."""
        async with self._redis.use("read heartbeats") as client:
            stored = await client.execute_command("HGETALL", self._key)
            seconds, microseconds = await client.execute_command("TIME")
        now = from_microseconds(int(seconds) * 1_000_000 + int(microseconds))
        return {
            owner_of(host): now - from_microseconds(int(beat.partition(" ")[0]))
            for host, beat in stored.items()
            if not beat.startswith("0 ")
        }

    async def owners(self) -> list[str]:
        """Every host that ever stored anything."""
        async with self._redis.use("read the hosts") as client:
            stored = await client.execute_command("SMEMBERS", self._redis.prefix + "owners")
        return sorted(map(owner_of, stored))

    async def begin_drain(self, host: str, by: str, age: timedelta, now: datetime) -> bool:
        """Whether ``host`` was not heard of for ``age``; then its beats are DRAINED from now on."""
        async with self._redis.use(f"begin to drain {host}") as client:
            parts = [token(host), token(by), _microseconds(age), _microseconds(DRAIN)]
            return bool(await self._redis.evaluate(client, "begin_drain", self._key, *parts))

    async def forget_host(self, host: str) -> None:
        """Forget its heartbeats."""
        async with self._redis.use("forget a host") as client:
            await client.execute_command("HDEL", self._key, token(host))

    @property
    def _key(self) -> str:
        return self._redis.prefix + "hosts"


class RedisNames:
    """Names that hosts share."""

    def __init__(self, redis: RedisScripts) -> None:
        self._redis = redis

    async def claim_name(self, pool: PoolId, name: str, owner: str) -> Address | None:
        """The address that ``name`` had last. Raises AddressInUse where it is another host's."""
        async with self._redis.use(f"claim the name {name}") as client:
            place = Place.of(pool)
            parts = [token(owner), pool, place.parent, name, _microseconds(_PATIENCE)]
            root = self._redis.root(place.subnet)
            answer = await self._redis.evaluate(client, "claim_name", root, *parts)
        match answer:
            case ["free", number]:
                return from_number(number) if number else None
            case ["claimed", whose, number]:
                address = f"has {from_number(number)}" if number else "is starting"
                raise AddressInUse(
                    f"container {name} {address} on host {owner_of(whose)}, and hosts share names "
                    f"(D4D_IDENTITY=cluster-name): remove it there, or choose another name; if "
                    f"that host is gone for good: d4d host drain {owner_of(whose)}"
                )
        raise StoreUnavailable(f"Redis answered what no script of D4D says: {answer!r}")

    async def settle_name(self, lease: Lease) -> None:
        """``lease`` is what its owner's claim came to."""
        async with self._redis.use(f"settle the name {lease.endpoint.name}") as client:
            place, number = Place.of(lease.pool), to_number(lease.address)
            parts = [token(lease.owner), lease.pool, place.parent, lease.endpoint.name]
            root = self._redis.root(place.subnet)
            settled = await self._redis.evaluate(
                client, "settle_name", root, *parts, number, lease.generation
            )
        if not settled:
            raise AddressInUse(
                f"the name {lease.endpoint.name} was claimed by another host while "
                f"{lease.address} was acquired for it: choose another name"
            )
