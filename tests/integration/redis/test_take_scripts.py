"""take_next.lua is a short way to what take.lua does: whatever happens to a pool, the two agree."""

import re
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address, ip_network
from random import Random
from typing import Any

import pytest

from d4d.adapters.stores.redis import records, scripts
from d4d.adapters.stores.redis.store import RedisLeaseStore
from d4d.domain.address_selection import AddressClaim
from d4d.domain.addressing import Address, MacAddress
from d4d.domain.errors import D4DError
from d4d.domain.lease_states import Use
from d4d.domain.leases import Endpoint, Lease
from d4d.domain.pools import Pool, PoolRecord, Purpose, ReservedAddress
from d4d.domain.reservations import Reservation
from lab.redis_servers import RedisServer

BOTH_LOOPS = True

NOW = datetime(2025, 3, 1, 12, 0, 0, 123457, tzinfo=UTC)
SECOND = timedelta(seconds=1)
POOL = Pool(subnet=ip_network("10.1.0.0/27"))
UPPER = replace(POOL, range=ip_network("10.1.0.16/29"))
WEB = Endpoint(mac=MacAddress.parse("02:42:0a:01:00:02"), name="web")
ENDPOINTS = (WEB, Endpoint(mac=MacAddress.parse("02:42:0a:01:00:03")))
PLAIN = AddressClaim(pool=POOL, endpoint=WEB, owner="host-a", at=NOW, rest=SECOND)

Pair = tuple[RedisLeaseStore, RedisLeaseStore]


@pytest.fixture
async def stores(redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Pair]:
    """One as it is, and one without the short way."""
    redis_server.command("FLUSHALL")
    short = RedisLeaseStore(redis_server.url, prefix="short:", steps=20)
    monkeypatch.setattr(scripts, "_AHEAD", {})
    long = RedisLeaseStore(redis_server.url, prefix="long:", steps=20)
    yield short, long
    await short.aclose()
    await long.aclose()


class Twins:
    """What happens to one store happens to the other, and comes to the same."""

    def __init__(self, stores: Pair, random: Random) -> None:
        self._stores = stores
        self._random = random
        self._at = NOW
        self._pools = random.choice([(POOL,), (POOL,), (POOL, UPPER)])
        self._leases: list[tuple[Lease, Lease]] = []

    async def step(self) -> None:
        """Whatever it is."""
        self._at += self._random.choice([0, 1, 5]) * SECOND
        events = [*[self._take] * 12, *[self._end] * 5, self._add, self._keep, *[self._save] * 2]
        await self._random.choice(events)()

    async def _take(self) -> None:
        wish = self._random.choice([*[None] * 6, self._address()])
        is_hint = self._random.random() < 0.5
        claim = replace(
            PLAIN,
            pool=self._random.choice(self._pools),
            endpoint=self._random.choice(ENDPOINTS),
            owner=self._random.choice(["host-a", "host-b", "host-c"]),
            at=self._at,
            address=None if is_hint else wish,
            hint=wish if is_hint else None,
            reserved=self._random.choice([(), (), (), (self._address(),)]),
        )
        one, two = await self._both(lambda store, _: store.take(claim))
        if isinstance(one, Lease):
            self._leases.append((one, two))

    async def _end(self) -> None:
        if not self._leases:
            return
        pair = self._leases.pop(self._random.randrange(len(self._leases)))
        if self._random.random() < 0.3:
            await self._both(lambda store, which: store.remove(pair[which]))
            return
        freed = [replace(e, use=Use.FREED, released_at=self._at) for e in pair]
        await self._both(lambda store, which: store.update(freed[which]))

    async def _add(self) -> None:
        """A host brings a lease that it had from elsewhere, or one that has ended there."""
        use = self._random.choice([Use.IN_USE, Use.FREED])
        lease = replace(PLAIN.lease(self._address(), generation=0), use=use)
        one, two = await self._both(lambda store, _: store.add(lease, unless_held=True))
        if isinstance(one, Lease) and use is Use.IN_USE:
            self._leases.append((one, two))

    async def _keep(self) -> None:
        """An operator reserves an address, or takes that back."""
        address, mac = self._address(), self._random.choice([WEB.mac, None])
        made = Reservation(
            segment=PLAIN.segment, address=address, made_at=self._at, mac=mac, name=None
        )
        if self._random.random() < 0.5:
            await self._both(lambda store, _: store.reserve(made))
        else:
            await self._both(lambda store, _: store.unreserve(PLAIN.segment, address))

    async def _save(self) -> None:
        reserved = ReservedAddress(address=self._address(), purpose=Purpose.AUXILIARY)
        users = self._random.choice([0, 1, 1, 1])
        record = PoolRecord(pool=POOL, users=users, reservations=(reserved,))
        await self._both(lambda store, _: store.save_pool(record, "host-b"))

    async def _both(self, call: Callable[[RedisLeaseStore, int], Awaitable[Any]]) -> list[Any]:
        answers = [await _answer(call(store, which)) for which, store in enumerate(self._stores)]
        one, two = map(_but_for_generation, answers)
        assert one == two
        return answers

    def _address(self) -> Address:
        return POOL.subnet[self._random.randrange(1, 29)]


async def _answer(call: Awaitable[Any]) -> Any:
    try:
        return await call
    except D4DError as error:
        return type(error), str(error)


def _but_for_generation(answer: Any) -> Any:
    return replace(answer, generation=0) if isinstance(answer, Lease) else answer


def stored(redis_server: RedisServer, prefix: str) -> dict[str, Any]:
    """All keys; generations as their ranks, but for the last one given, which may be no lease's."""
    found: dict[str, Any] = {}
    with redis_server.admin(decoded=True) as client:
        for key in client.scan_iter(f"{prefix}{{*"):
            name = key.removeprefix(prefix)
            match client.type(key):
                case "hash":
                    found[name] = client.hgetall(key)
                case "set":
                    found[name] = client.smembers(key)
                case "zset":
                    found[name] = dict(client.zrange(key, 0, -1, withscores=True))
    times = sorted({*re.findall(r"\d{16}", str(found))})
    return {
        name: {
            field: re.sub(r"\d{16}", lambda time: str(times.index(time[0])), value)
            for field, value in content.items()
        }
        if name.partition("}:")[2].startswith(("leases:", "held:"))
        else content
        for name, content in found.items()
    }


@pytest.mark.parametrize("seed", range(16))
async def test_both_ways_come_to_the_same(
    redis_server: RedisServer, stores: Pair, seed: int
) -> None:
    twins = Twins(stores, Random(seed))
    for _ in range(30):
        for _ in range(5):
            await twins.step()
        assert stored(redis_server, "short:") == stored(redis_server, "long:")


async def test_both_ways_pass_a_carry(redis_server: RedisServer, stores: Pair) -> None:
    claim = replace(PLAIN, pool=Pool(subnet=ip_network("10.0.0.0/8")))
    for store in stores:
        await store.take(claim)
    with redis_server.admin(decoded=True) as client:
        for prefix in ("short:", "long:"):
            key = f"{prefix}{{10.0.0.0/8}}:marks:"
            assert client.hset(key, client.hkeys(key)[0], "0a00fffe") == 0
    for store in stores:
        taken = [str((await store.take(claim)).address) for _ in range(3)]
        assert taken == ["10.0.255.254", "10.0.255.255", "10.1.0.0"]
    assert stored(redis_server, "short:") == stored(redis_server, "long:")


async def test_both_ways_pass_by_what_an_operator_reserved(
    redis_server: RedisServer, stores: Pair
) -> None:
    """Where nothing rests, and the owner has a lease: all else is as the short way wants it."""
    kept = Reservation(
        segment=PLAIN.segment, address=POOL.subnet[2], made_at=NOW, mac=None, name=None
    )
    for store in stores:
        taken = [await store.take(PLAIN)]
        await store.reserve(kept)
        taken += [await store.take(PLAIN) for _ in range(2)]
        assert [lease.address for lease in taken] == [POOL.subnet[n] for n in (1, 3, 4)]
    assert stored(redis_server, "short:") == stored(redis_server, "long:")


async def test_both_ways_take_what_rested_where_much_rests(
    redis_server: RedisServer, stores: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(records, "MOST_RESTING", 2)
    claim = replace(PLAIN, owner="who-has-much-resting")  # what owners' claims say is remembered
    later = replace(claim, at=NOW + 60 * SECOND)
    for store in stores:
        first, second, _ = [await store.take(claim) for _ in range(3)]
        for lease in (first, second):
            await store.update(replace(lease, use=Use.FREED, released_at=NOW))
        assert (await store.take(later)).address == first.address
        assert (await store.take(later)).address == POOL.subnet[4]  # one rests: that is not much
    assert stored(redis_server, "short:") == stored(redis_server, "long:")


async def test_the_short_way_is_the_usual_one(redis_server: RedisServer, stores: Pair) -> None:
    """Also where a gateway is reserved, and an address rests. Only take.lua asks for a length."""
    gateway = ReservedAddress(address=ip_address("10.1.0.1"), purpose=Purpose.GATEWAY)
    short, _ = stores
    lease = await short.take(PLAIN)
    assert "hlen" not in await commands(redis_server, short, PLAIN)
    await short.save_pool(PoolRecord(pool=POOL, users=1, reservations=(gateway,)), "host-a")
    await short.update(replace(lease, use=Use.FREED, released_at=NOW))
    assert "hlen" not in await commands(redis_server, short, PLAIN)


async def test_the_short_way_is_that_of_a_network_with_a_gateway(
    redis_server: RedisServer, stores: Pair
) -> None:
    """Each claim tells of it, as a driver's do; the first of all passes it by."""
    claim, (short, long) = replace(PLAIN, reserved=(POOL.subnet[1],)), stores
    for store in stores:
        assert (await store.take(claim)).address == POOL.subnet[2]
    assert "hlen" not in await commands(redis_server, short, claim)
    await long.take(claim)
    assert stored(redis_server, "short:") == stored(redis_server, "long:")


async def test_both_ways_pass_by_what_a_claim_reserves(
    redis_server: RedisServer, stores: Pair
) -> None:
    for store in stores:
        await store.take(PLAIN)
        lease = await store.take(replace(PLAIN, reserved=(POOL.subnet[9], POOL.subnet[2])))
        assert lease.address == POOL.subnet[3]
    assert stored(redis_server, "short:") == stored(redis_server, "long:")


async def commands(
    redis_server: RedisServer, store: RedisLeaseStore, claim: AddressClaim
) -> set[str]:
    """Those that a script runs for a claim."""
    redis_server.command("CONFIG RESETSTAT")
    await store.take(claim)
    with redis_server.admin(decoded=True) as client:
        return {name.removeprefix("cmdstat_") for name in client.info("commandstats")}
