"""Which hosts share a Redis, and which of them has the container of a name."""

from datetime import datetime, timedelta

from d4d.adapters.stores.lease_codec import from_microseconds
from d4d.adapters.stores.redis.records import Place, owner_of, token
from d4d.adapters.stores.redis.scripts import RedisScripts
from d4d.domain.addressing import Address, from_number, to_number
from d4d.domain.errors import AddressInUse, StoreUnavailable
from d4d.domain.leases import Lease
from d4d.domain.pools import PoolId
from d4d.domain.ports.hosts import DRAIN, Heard, Heartbeat, HeartbeatReply

_PATIENCE = timedelta(minutes=1)
"""So long another host waits for what a claim of a name comes to."""


def _microseconds(duration: timedelta) -> int:
    return duration // timedelta(microseconds=1)


class RedisHosts:
    """Hosts by the clock of Redis."""

    def __init__(self, redis: RedisScripts) -> None:
        self._redis = redis

    async def beat(
        self, host: str, by: str, age: timedelta, now: datetime, *, instead_of: int | None = None
    ) -> HeartbeatReply:
        """``host`` is alive, says ``by``, unless another said so that is not known to be gone."""
        async with self._redis.use("store a heartbeat") as client:
            parts = [token(host), by, _microseconds(age), _microseconds(DRAIN), instead_of or 0]
            return HeartbeatReply(await self._redis.evaluate(client, "beat", self._key, *parts))

    async def heard(self, now: datetime) -> Heard:
        """The last heartbeat of each host; one that can't be read is none."""
        async with self._redis.use("read heartbeats") as client:
            answer = await self._redis.evaluate(client, "heard", self._key)
        seconds, microseconds, *stored = answer
        beats = {}
        for host, value in zip(stored[::2], stored[1::2], strict=True):
            stamp = value.partition(" ")[0]
            if stamp.isdecimal() and (number := int(stamp)):
                beats[owner_of(host)] = Heartbeat(number=number, at=from_microseconds(number))
        at = from_microseconds(int(seconds) * 1_000_000 + int(microseconds))
        return Heard(at=at, beats=beats)

    async def owners(self) -> list[str]:
        """Every host that ever stored anything."""
        async with self._redis.use("read the hosts") as client:
            stored = await client.execute_command("SMEMBERS", self._redis.prefix + "owners")
        return sorted(map(owner_of, stored))

    async def begin_drain(self, host: str, by: str, beat: int | None, now: datetime) -> bool:
        """Whether ``beat`` still is the last of ``host``; then its beats are DRAINED from now."""
        async with self._redis.use(f"begin to drain {host}") as client:
            parts = [token(host), token(by), beat or 0, _microseconds(DRAIN)]
            return bool(await self._redis.evaluate(client, "begin_drain", self._key, *parts))

    async def end_drain(self, host: str, by: str) -> None:
        """End the drain of ``host`` by ``by``; its next beat is NEW."""
        async with self._redis.use(f"end the drain of {host}") as client:
            parts = [token(host), token(by)]
            await self._redis.evaluate(client, "end_drain", self._key, *parts)

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
