"""The Redis store on real servers: the contracts of all stores, and what only Redis has."""

import asyncio
import socket
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address, ip_network
from itertools import count

import pytest
import structlog
from redis.crc import key_slot

from d4d.adapters.stores.redis.store import RedisLeaseStore
from d4d.domain.address_selection import AddressClaim
from d4d.domain.addressing import MacAddress
from d4d.domain.errors import AddressInUse, BadRequest, StoreTooNew, StoreUnavailable, Superseded
from d4d.domain.lease_states import Use
from d4d.domain.leases import Endpoint, Lease
from d4d.domain.pools import Pool, PoolOptions, PoolRecord
from d4d.domain.ports.hosts import HeartbeatReply, HostRegistry
from lab.redis_servers import RedisServer
from tests.contracts import test_allocator as test_allocator_contract
from tests.contracts import test_host_registry as test_hosts_contract
from tests.contracts import test_lease_store as test_store_contract
from tests.contracts import test_range_store as test_range_store_contract
from tests.contracts import test_reservation_store as test_reservations_contract
from tests.contracts.test_allocator import Bench, over_store

BOTH_LOOPS = True

POOL = Pool(subnet=ip_network("10.1.0.0/29"))
_numbers = count()

for contract in (
    test_store_contract,
    test_range_store_contract,
    test_reservations_contract,
    test_hosts_contract,
    test_allocator_contract,
):
    tests = {name: test for name, test in vars(contract).items() if name.startswith("test_")}
    assert not tests.keys() & globals().keys(), "one test would replace another"
    globals().update(tests)


@pytest.fixture
async def store(redis_server: RedisServer) -> AsyncIterator[RedisLeaseStore]:
    opened = RedisLeaseStore(redis_server.url, prefix=f"test{next(_numbers)}:", steps=50)
    yield opened
    await opened.aclose()


@pytest.fixture
def hosts(store: RedisLeaseStore) -> HostRegistry:
    return store.hosts


@pytest.fixture
async def bench(store: RedisLeaseStore) -> AsyncIterator[Bench]:
    made = over_store(store)
    yield made
    await made.allocator.aclose()


# What only Redis has


def a_claim(
    pool: Pool = POOL, *, owner: str = "host-a", address: str | None = None
) -> AddressClaim:
    return AddressClaim(
        pool=pool,
        endpoint=Endpoint(mac=MacAddress.parse("02:42:0a:01:00:02")),
        owner=owner,
        at=datetime.now(UTC),
        rest=timedelta(seconds=60),
        address=ip_address(address) if address else None,
    )


async def test_an_allocation_is_one_round_trip(
    redis_server: RedisServer, store: RedisLeaseStore
) -> None:
    await store.take(a_claim())
    monitor = Monitor(redis_server)
    for _ in range(5):
        await store.take(a_claim())
    assert monitor.commands() == ["EVALSHA"] * 5


async def test_all_keys_of_a_pool_are_in_one_slot(
    redis_server: RedisServer, store: RedisLeaseStore
) -> None:
    pool = Pool(subnet=ip_network("fd00::/64"), options=PoolOptions(parent="a}b{c"))
    await store.save_pool(PoolRecord(pool=pool, users=1), "host {a}")
    lease = await store.take(a_claim(pool, owner="host {a}"))
    await store.remove(lease)
    await store.take(a_claim(pool, owner="host {a}", address="fd00::9"))
    with redis_server.admin() as client:
        keys = client.keys(f"{store.redis.prefix}{{*")
        assert len(keys) > 8
        assert {key_slot(key) for key in keys} == {key_slot(b"{fd00::/64}")}
    contents = await store.load("host {a}")
    assert [str(lease.address) for lease in contents.leases] == ["fd00::9"]


async def test_scripts_are_loaded_again_when_redis_forgot_them(
    redis_server: RedisServer, store: RedisLeaseStore
) -> None:
    first = await store.take(a_claim())
    with redis_server.admin() as client:
        client.script_flush()
    second = await store.take(a_claim())
    assert {first, second} == set((await store.load("host-a")).leases)


async def test_generations_rise_even_when_redis_lost_everything(
    redis_server: RedisServer, store: RedisLeaseStore
) -> None:
    before = await store.take(a_claim())
    with redis_server.admin() as client:
        for key in client.scan_iter(f"{store.redis.prefix}*"):
            client.delete(key)
    after = await store.take(a_claim())
    assert after.generation > before.generation
    with pytest.raises(Superseded):
        await store.update(before)
    assert (await store.load("host-a")).leases == (after,)


async def test_two_prefixes_share_nothing(
    redis_server: RedisServer, store: RedisLeaseStore
) -> None:
    other = RedisLeaseStore(redis_server.url, prefix=f"other-{store.redis.prefix}")
    one, two = await store.take(a_claim()), await other.take(a_claim())
    assert one.address == two.address
    await other.aclose()


async def test_a_choice_costs_the_same_in_a_full_pool(
    redis_server: RedisServer, store: RedisLeaseStore
) -> None:
    """Twenty thousand leases, a thousand of them freed: the next asks for what the first did.

    How many seconds that takes is the benchmark's to tell.
    """
    pool = Pool(subnet=ip_network("10.0.0.0/8"))
    await store.take(a_claim(pool))  # the scripts are there
    fresh = await asked_for_100(redis_server, store, pool)
    leases: list[Lease] = []
    for _ in range(200):
        leases += await asyncio.gather(*(store.take(a_claim(pool)) for _ in range(100)))
    assert len({lease.address for lease in leases}) == 20_000
    await asyncio.gather(*map(store.remove, leases[::20]))
    full = await asked_for_100(redis_server, store, pool)
    # Where addresses rest, it is looked which has done so long enough.
    assert {name: full[name] for name in fresh} == fresh
    assert all(calls <= 100 for name, calls in full.items() if name not in fresh), full
    assert not WHOLE & full.keys(), "it costs as much as there is"


WHOLE = {"hgetall", "hkeys", "hvals", "hscan", "smembers", "sscan", "zscan", "keys", "scan"}
"""Commands that read all that a key, or Redis, has."""


async def asked_for_100(server: RedisServer, store: RedisLeaseStore, pool: Pool) -> dict[str, int]:
    """How often Redis ran each of its commands for a hundred leases, the scripts' own too."""
    with server.admin() as client:
        client.config_resetstat()
        for _ in range(100):
            await store.take(a_claim(pool))
        stats = client.info("commandstats")
    ran = {name.removeprefix("cmdstat_"): int(each["calls"]) for name, each in stats.items()}
    return {name: calls for name, calls in ran.items() if not name.startswith(("config", "info"))}


async def test_a_later_layout_is_refused(redis_server: RedisServer, store: RedisLeaseStore) -> None:
    with redis_server.admin() as client:
        client.set(f"{store.redis.prefix}schema", 2)
    with pytest.raises(StoreTooNew, match=r"version 2.*knows version 1.*D4D_REDIS_PREFIX"):
        await store.load("host-a")
    with pytest.raises(StoreTooNew):
        await store.take(a_claim())


async def test_a_damaged_lease_is_shown(redis_server: RedisServer, store: RedisLeaseStore) -> None:
    lease = await store.take(a_claim())
    with redis_server.admin() as client:
        key = f"{store.redis.prefix}{{10.1.0.0/29}}:leases:10.1.0.0/29"
        client.hset(key, lease.address.packed.hex(), f"{lease.generation} bound @host-a\n[1]")
    with pytest.raises(StoreUnavailable, match=r"D4D never wrote.*0a010001 .*bound"):
        await store.load("host-a")
    with pytest.raises(StoreUnavailable, match="D4D never wrote"):
        await store.take(a_claim(address=str(lease.address)))


async def test_what_redis_may_forget_is_told_once(
    redis_server: RedisServer, store: RedisLeaseStore
) -> None:
    with structlog.testing.capture_logs() as logged:
        await store.load("host-a")
        await store.load("host-a")
    assert [line["reason"] for line in logged] == [
        "it forgets the last writes in a crash: set appendonly yes"
    ]
    with redis_server.admin() as client:
        client.config_set("maxmemory", "1gb")
        client.config_set("maxmemory-policy", "allkeys-lru")
        other = RedisLeaseStore(redis_server.url, prefix=store.redis.prefix)
        with structlog.testing.capture_logs() as logged:
            await other.load("host-a")
        await other.aclose()
        client.config_set("maxmemory-policy", "noeviction")
        client.config_set("maxmemory", "0")
    assert any("noeviction" in line["reason"] for line in logged)


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://host", "begins with 'http://': known are redis://"),
        ("redis://host:port/0", "can't be used: .*[Pp]ort"),
        ("redis+sentinel://user:secret@host", "name the master behind the sentinels"),
        ("redis+cluster://", "name at least one host"),
    ],
)
def test_a_url_that_can_not_be_used_is_refused_without_its_password(url: str, why: str) -> None:
    with pytest.raises(BadRequest, match=why) as refused:
        RedisLeaseStore(url)
    assert "secret" not in str(refused.value)


def test_a_prefix_with_braces_is_refused() -> None:
    with pytest.raises(BadRequest, match="braces"):
        RedisLeaseStore("redis://host", prefix="{d4d}")


class Monitor:
    """Hears each command that clients send."""

    def __init__(self, redis_server: RedisServer) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(5)
        self._socket.connect(str(redis_server.socket))
        self._socket.sendall(b"MONITOR\r\n")
        assert self._socket.recv(5) == b"+OK\r\n"
        self._server = redis_server

    def commands(self) -> list[str]:
        """The names of those that were sent until now, the scripts' own left out."""
        self._server.command("ECHO", "the-end")
        heard = b""
        while b"the-end" not in heard:
            heard += self._socket.recv(65536)
        self._socket.close()
        lines = [line for line in heard.decode().splitlines() if " lua] " not in line]
        return [line.split('"')[1].upper() for line in lines if "the-end" not in line]


# Names that hosts share


async def named(store: RedisLeaseStore, host: str, name: str = "web") -> Lease:
    """A container of that name starts on that host."""
    hint = await store.names.claim_name(POOL.id, name, host)
    endpoint = Endpoint(mac=MacAddress.parse("02:42:0a:01:00:02"), name=name)
    lease = await store.take(replace(a_claim(owner=host), endpoint=endpoint, hint=hint))
    await store.names.settle_name(lease)
    return lease


async def test_a_name_is_one_hosts_at_a_time(store: RedisLeaseStore) -> None:
    lease = await named(store, "host a")
    with pytest.raises(AddressInUse, match=f"web has {lease.address} on host host a, "):
        await store.names.claim_name(POOL.id, "web", "host-b")
    assert await store.names.claim_name(POOL.id, "db", "host-b") is None
    assert await store.names.claim_name(POOL.id, "web", "host a") == lease.address


@pytest.mark.parametrize("use", [Use.FREED, Use.RELEASED])
async def test_a_container_that_moves_keeps_its_address(store: RedisLeaseStore, use: Use) -> None:
    await named(store, "host-b", "first")
    lease = await named(store, "host-a")
    await named(store, "host-b", "last")
    released = replace(lease, use=use, released_at=datetime.now(UTC))
    await store.update(released)
    moved = await named(store, "host-b")
    assert moved.address == lease.address
    with pytest.raises(Superseded):  # the old host must not free what is another's
        await store.update(replace(released, use=Use.FREED))
    with pytest.raises(AddressInUse, match="on host host-b"):
        await store.names.claim_name(POOL.id, "web", "host-a")


async def test_a_name_that_is_just_being_claimed_is_anothers(store: RedisLeaseStore) -> None:
    assert await store.names.claim_name(POOL.id, "web", "host-a") is None
    with pytest.raises(AddressInUse, match="container web is starting on host host-a"):
        await store.names.claim_name(POOL.id, "web", "host-b")


async def test_two_hosts_that_claim_a_name_at_once_do_not_both_get_it(
    store: RedisLeaseStore,
) -> None:
    answers = await asyncio.gather(
        *(store.names.claim_name(POOL.id, "web", f"host-{n}") for n in range(8)),
        return_exceptions=True,
    )
    assert sum(answer is None for answer in answers) == 1
    assert sum(isinstance(answer, AddressInUse) for answer in answers) == 7


async def test_a_claim_is_settled_by_who_made_it(store: RedisLeaseStore) -> None:
    lease = await named(store, "host-a")
    with pytest.raises(AddressInUse, match="was claimed by another host"):
        await store.names.settle_name(replace(lease, owner="host-b"))


# Heartbeats, as the clock of Redis may leave them


def stamped(offset: timedelta) -> int:
    """What a heartbeat is written with where the clock is so far off."""
    return int((datetime.now(UTC) + offset).timestamp() * 1_000_000)


async def beats(store: RedisLeaseStore) -> HeartbeatReply:
    return await store.hosts.beat("host-a", "1", timedelta(minutes=2), datetime.now(UTC))


async def test_a_clock_that_was_set_back_leaves_each_heartbeat_another_number(
    redis_server: RedisServer, store: RedisLeaseStore
) -> None:
    for offset, rises in ((timedelta(seconds=30), True), (timedelta(days=1), False)):
        before = stamped(offset)
        with redis_server.admin() as client:
            client.hset(f"{store.redis.prefix}hosts", "@host-a", f"{before} @1")
        assert await beats(store) is HeartbeatReply.KNOWN
        after = (await store.hosts.heard(datetime.now(UTC))).beats["host-a"].number
        assert (after > before) is rises
        assert after != before
        assert not await store.hosts.begin_drain("host-a", "host-b", before, datetime.now(UTC))


@pytest.mark.parametrize("offset", [timedelta(days=-1), timedelta(days=1)], ids=["back", "ahead"])
async def test_a_drain_whose_begin_is_far_from_now_locks_nobody_out(
    redis_server: RedisServer, store: RedisLeaseStore, offset: timedelta
) -> None:
    with redis_server.admin() as client:
        value = f"{stamped(-timedelta(minutes=5))} {stamped(offset)} @host-b"
        client.hset(f"{store.redis.prefix}hosts", "@host-a", value)
    assert await beats(store) is HeartbeatReply.NEW
    assert await beats(store) is HeartbeatReply.KNOWN


async def test_a_heartbeat_that_can_not_be_read_hides_no_other(
    redis_server: RedisServer, store: RedisLeaseStore
) -> None:
    await beats(store)
    with redis_server.admin() as client:
        for number, value in enumerate(("", "soon @1", "-5 @1", "²", "0 1 @host-b")):
            client.hset(f"{store.redis.prefix}hosts", f"@bad-{number}", value)
    assert [*(await store.hosts.heard(datetime.now(UTC))).beats] == ["host-a"]
    again = await store.hosts.beat("bad-1", "1", timedelta(minutes=2), datetime.now(UTC))
    assert again in (HeartbeatReply.NEW, HeartbeatReply.KNOWN)
    assert "bad-1" in (await store.hosts.heard(datetime.now(UTC))).beats
