"""Redis with a replica: what a write that is answered is worth when the master dies."""

import asyncio
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from pathlib import Path

import pytest

from d4d.adapters.range_allocator import RangeAllocator
from d4d.adapters.stores.redis.store import RedisLeaseStore
from d4d.bootstrap import compose
from d4d.domain.address_selection import AddressClaim
from d4d.domain.addressing import MacAddress
from d4d.domain.errors import BadRequest, StoreAway, StoreUnavailable
from d4d.domain.lease_states import Use
from d4d.domain.leases import Endpoint, Lease
from d4d.domain.pools import Pool, PoolRecord, PoolRequest
from d4d.domain.stored import StoreContents
from d4d.settings.loading import load_settings
from lab.redis_sentinel import Guarded
from lab.redis_servers import PROGRAMS, RedisServer
from tests.support.allocation import asks

BOTH_LOOPS = True

SHARED_STORE = Path(__file__).resolve().parents[3] / "docs" / "operate" / "shared-store.md"
POOL = Pool(subnet=ip_network("10.1.0.0/24"))
WEB = Endpoint(mac=MacAddress.parse("02:42:0a:01:00:02"), name="web")

every_program = pytest.mark.parametrize("program", PROGRAMS)


@asynccontextmanager
async def opened(url: str, *, wait: int = 0) -> AsyncIterator[RedisLeaseStore]:
    store = RedisLeaseStore(url, wait=wait)
    try:
        yield store
    finally:
        await store.aclose()


def a_claim() -> AddressClaim:
    now = datetime.now(UTC)
    return AddressClaim(pool=POOL, endpoint=WEB, owner="host-a", at=now, rest=timedelta(seconds=60))


async def eventually(store: RedisLeaseStore) -> Lease:
    """A lease, when there is a master again."""
    deadline = time.monotonic() + 30
    while True:
        try:
            return await store.take(a_claim())
        except StoreUnavailable:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.2)


@every_program
async def test_sentinels_name_the_new_master_after_a_failover(program: str, tmp_path: Path) -> None:
    with Guarded(tmp_path, program=program) as redis:
        async with opened(redis.url) as store:
            leases = [await store.take(a_claim()) for _ in range(10)]
            assert await store.remove(leases.pop())
            redis.await_replica(redis.first)
            held = (await store.load("host-a")).leases
            redis.fail_over()
            following = await eventually(store)
            assert following.address not in {lease.address for lease in leases}
            assert following.generation > leases[-1].generation
            assert {*held, following} == set((await store.load("host-a")).leases)


@every_program
async def test_what_a_replica_acknowledged_is_there_after_a_failover(
    program: str, tmp_path: Path
) -> None:
    with Guarded(tmp_path, program=program) as redis:
        async with opened(redis.url, wait=1) as store:
            await store.save_pool(PoolRecord(pool=POOL, users=1), "host-a")
            leases = await asyncio.gather(*(store.take(a_claim()) for _ in range(40)))
            redis.fail_over()  # at once: nothing gave the replica time to follow
            assert {*leases} == set((await loaded(store)).leases)
            with pytest.raises(StoreAway, match="0 of 1 replicas"):  # the old master is dead
                await store.take(a_claim())
            redis.rejoin()
            following = await eventually(store)
            assert following.address not in {lease.address for lease in leases}


async def loaded(store: RedisLeaseStore) -> StoreContents:
    """What is stored, when there is a master again."""
    deadline = time.monotonic() + 30
    while True:
        try:
            return await store.load("host-a")
        except StoreUnavailable:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.2)


@every_program
async def test_an_address_that_no_replica_has_is_refused_and_taken_back(
    program: str, tmp_path: Path
) -> None:
    server = RedisServer(tmp_path, program=program).start()
    try:
        async with opened(server.url) as before:  # it had no replicas, and nobody waited for any
            assert await before.remove(await before.take(a_claim()))
        async with opened(server.url, wait=1) as store:
            allocator = RangeAllocator(
                store=store, owner="host-a", clock=lambda: datetime.now(UTC), rest=timedelta(0)
            )
            pool = await allocator.open(PoolRequest(subnet=POOL.subnet))
            with pytest.raises(StoreAway) as refused:
                await allocator.allocate(asks(pool, WEB, address=None, hint=None, taken=()))
            assert "0 of 1 replicas acknowledged the write within 1 s" in str(refused.value)
            assert "lower D4D_REDIS_WAIT" in str(refused.value)
            assert (await store.load("host-a")).leases
            deadline = time.monotonic() + 20
            while (await store.load("host-a")).leases:
                assert time.monotonic() < deadline
                await asyncio.sleep(0.1)
            await allocator.aclose()
    finally:
        server.kill()


@every_program
async def test_every_write_is_acknowledged_over_the_user_of_the_manual(
    program: str, tmp_path: Path
) -> None:
    (line,) = re.findall(r"^user d4d on >password .*$", SHARED_STORE.read_text(), re.MULTILINE)
    with Guarded(tmp_path, program=program) as redis:
        assert redis.first.command("ACL SETUSER", line.removeprefix("user ")) == b"+OK"
        async with opened(f"redis://d4d:password@127.0.0.1:{redis.first.port}/0", wait=1) as store:
            taken = await store.take(a_claim())
            await store.update(replace(taken, use=Use.RELEASED, released_at=taken.bound_at))
            assert await store.remove(taken)
            redis.second.pause()
            for write in (
                lambda: store.take(a_claim()),
                lambda: store.add(taken),
                lambda: store.save_pool(PoolRecord(pool=POOL, users=1), "host-a"),
            ):
                with pytest.raises(StoreAway, match="0 of 1 replicas acknowledged"):
                    await write()
            await store.load("host-a")  # what only reads waits for nobody
            redis.second.on()


def test_a_cluster_is_not_asked_to_wait(tmp_path: Path) -> None:
    settings = load_settings(
        files=(),
        state_dir=tmp_path,
        store="redis",
        redis_url="redis+cluster://127.0.0.1:7000",
        redis_wait="1",
    )
    with pytest.raises(BadRequest, match="D4D_REDIS_WAIT=1 is for one server and for sentinels"):
        compose(settings).store()
