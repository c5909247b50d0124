"""Redis away, hung, read-only, out of memory, failed over; and all the ways to reach it."""

import asyncio
import re
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest
from redis import Redis

from d4d.adapters.range_allocator import RangeAllocator
from d4d.adapters.stores.redis.store import RedisLeaseStore
from d4d.domain.address_selection import Claim
from d4d.domain.errors import NoAddress, StoreAway, StoreUnavailable
from d4d.domain.leases import Endpoint, Lease, LeaseState, MacAddress
from d4d.domain.pools import Pool, PoolRecord, PoolRequest, Purpose, Reservation
from d4d.domain.ports.allocator import Beat
from lab.redis_servers import PROGRAMS, RedisServer, free_port

SHARED_STORE = Path(__file__).resolve().parents[3] / "docs" / "operate" / "shared-store.md"
DURABLE = ("appendonly yes", "appendfsync always")
POOL = Pool(subnet=ip_network("10.1.0.0/24"))
WEB = Endpoint(mac=MacAddress.parse("02:42:0a:01:00:02"), name="web")
RECORD = PoolRecord(
    pool=POOL,
    users=1,
    reservations=(Reservation(address=ip_address("10.1.0.9"), purpose=Purpose.AUXILIARY, count=2),),
)


@pytest.fixture(params=PROGRAMS)
def program(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def server(program: str, tmp_path: Path) -> Iterator[RedisServer]:
    with running(RedisServer(tmp_path / "redis", program=program, config=DURABLE)) as started:
        yield started


@pytest.fixture
async def store(server: RedisServer) -> AsyncIterator[RedisLeaseStore]:
    async with opened(f"redis://127.0.0.1:{server.port}/0") as store:
        yield store


@contextmanager
def running(server: RedisServer) -> Iterator[RedisServer]:
    try:
        yield server.start()
    finally:
        server.kill()


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[RedisLeaseStore]:
    store = RedisLeaseStore(url)
    try:
        yield store
    finally:
        await store.aclose()


def a_claim(pool: Pool = POOL, *, owner: str = "host-a") -> Claim:
    now = datetime.now(UTC)
    return Claim(pool=pool, endpoint=WEB, owner=owner, at=now, rest=timedelta(seconds=60))


async def roundtrip(store: RedisLeaseStore) -> None:
    """All that is done to a store."""
    await store.save_pool(RECORD, "host-a")
    taken = await store.take(a_claim())
    added = await store.add(replace(taken, address=ip_address("10.1.0.200")))
    await store.update(replace(taken, state=LeaseState.RELEASED, released_at=datetime.now(UTC)))
    assert {lease.address for lease in (await store.load("host-a")).leases} == {
        taken.address,
        added.address,
    }
    assert await store.remove(taken)
    now = datetime.now(UTC)
    assert await store.hosts.beat("host-a", "installation", timedelta(minutes=2), now) is Beat.NEW
    heard = await store.hosts.heard(now)
    assert [*heard.beats] == ["host-a"]
    assert await store.hosts.owners() == ["host-a"]
    number = heard.beats["host-a"].number
    assert await store.hosts.begin_drain("host-a", "host-b", number, now)
    await store.hosts.end_drain("host-a", "host-b")
    await store.hosts.forget_host("host-a")
    assert await store.names.claim_name(taken.pool, "web", "host-a") is None
    await store.names.settle_name(replace(added, endpoint=replace(added.endpoint, name="web")))


# Failures


async def test_what_was_answered_survives_a_power_cut(
    server: RedisServer, store: RedisLeaseStore
) -> None:
    await store.save_pool(RECORD, "host-a")
    leases = [await store.take(a_claim()) for _ in range(20)]
    freed = replace(leases[3], state=LeaseState.FREED, released_at=datetime.now(UTC))
    await store.update(freed)
    server.kill()
    with pytest.raises(StoreUnavailable, match=r"can't take an address of 10\.1\.0\.0/24 in Redis"):
        await store.take(a_claim())
    server.start()
    contents = await store.load("host-a")
    assert set(contents.leases) == {*leases, freed} - {leases[3]}
    assert contents.pools == (RECORD,)
    following = await store.take(a_claim())
    assert following.address not in {lease.address for lease in leases}
    assert following.generation > leases[-1].generation


async def test_a_redis_that_is_away_is_named_without_its_password() -> None:
    port = free_port()
    async with opened(f"redis://d4d:secret@127.0.0.1:{port}/0") as store:
        with pytest.raises(StoreUnavailable, match="does it run") as failed:
            await store.load("host-a")
    assert f"redis://d4d@127.0.0.1:{port}/0" in str(failed.value)
    assert "secret" not in str(failed.value)


async def test_callers_of_a_redis_that_hangs_wait_no_longer_than_the_time_limit(
    server: RedisServer, store: RedisLeaseStore
) -> None:
    await store.take(a_claim())
    server.pause()
    began = time.monotonic()
    outcomes = await asyncio.gather(
        *(store.take(a_claim()) for _ in range(30)), return_exceptions=True
    )
    took = time.monotonic() - began
    server.on()
    assert {type(each) for each in outcomes} == {StoreAway}
    assert "did not answer within 2 s" in str(outcomes[0])
    assert took < 5
    assert await store.take(a_claim())


async def test_what_a_hung_redis_did_after_all_is_given_back(
    server: RedisServer, store: RedisLeaseStore
) -> None:
    allocator = RangeAllocator(
        store=store, owner="host-a", clock=lambda: datetime.now(UTC), rest=timedelta(0)
    )
    pool = await allocator.open(PoolRequest(subnet=ip_network("10.1.0.0/29")))

    async def allocate() -> Lease:
        taken = {pool.subnet[1]}  # as Ipam has it of the gateway
        return await allocator.allocate(pool, WEB, address=None, hint=None, taken=taken)

    kept = await allocate()
    server.pause()
    lost = await asyncio.gather(*(allocate() for _ in range(4)), return_exceptions=True)
    assert {type(each) for each in lost} == {StoreAway}
    server.on()
    deadline = time.monotonic() + 20
    while repr(allocator).endswith("doubts=4>"):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.1)
    assert (await store.load("host-a")).leases == (kept,)
    assert len({(await allocate()).address for _ in range(4)}) == 4
    with pytest.raises(NoAddress):
        await allocate()
    await allocator.aclose()


@pytest.mark.parametrize(
    ("breaks", "mends", "why"),
    [
        ("REPLICAOF 127.0.0.1 1", "REPLICAOF NO ONE", "it is a replica: name the master"),
        ("CONFIG SET maxmemory 1", "CONFIG SET maxmemory 0", "raise its maxmemory"),
        (
            "CONFIG SET min-replicas-to-write 1",
            "CONFIG SET min-replicas-to-write 0",
            "too few of its replicas",
        ),
    ],
    ids=["read-only", "out-of-memory", "without-replica"],
)
async def test_a_redis_that_takes_no_writes_changes_nothing(
    server: RedisServer, store: RedisLeaseStore, breaks: str, mends: str, why: str
) -> None:
    await store.save_pool(RECORD, "host-a")
    taken, other = await store.take(a_claim()), await store.take(a_claim())
    freed = replace(other, state=LeaseState.FREED, released_at=datetime.now(UTC))
    await store.update(freed)
    before = content(server)
    assert server.command(breaks) == b"+OK"
    for write in (
        lambda: store.take(a_claim()),
        lambda: store.take(a_claim(owner="host-b")),
        lambda: store.add(taken),
        lambda: store.update(replace(taken, state=LeaseState.FREED, released_at=taken.bound_at)),
        lambda: store.remove(taken),
        lambda: store.save_pool(replace(RECORD, users=0), "host-a"),
    ):
        with pytest.raises(StoreUnavailable, match=why):
            await write()
    assert content(server) == before
    assert server.command(mends) == b"+OK"
    await store.update(replace(taken, state=LeaseState.FREED, released_at=taken.bound_at))
    assert await store.remove(freed)


def content(server: RedisServer) -> dict[bytes, object]:
    """All keys with what they hold."""
    with Redis(unix_socket_path=str(server.socket)) as client:
        return {key: client.dump(key) for key in client.scan_iter("*")}


# Ways to reach it


async def test_every_call_goes_over_a_unix_socket(server: RedisServer) -> None:
    async with opened(f"{server.url}?db=3") as store:
        await roundtrip(store)


async def test_the_acl_user_of_the_manual_may_do_all_that_is_needed_and_no_more(
    server: RedisServer,
) -> None:
    (line,) = re.findall(r"^user d4d on >password .*$", SHARED_STORE.read_text(), re.MULTILINE)
    assert server.command("ACL SETUSER", line.removeprefix("user ")) == b"+OK"
    async with opened(f"redis://d4d:password@127.0.0.1:{server.port}/0") as store:
        await roundtrip(store)
    async with opened(f"redis://d4d:wrong@127.0.0.1:{server.port}/0") as store:
        with pytest.raises(StoreUnavailable, match="see user and password"):
            await store.load("host-a")
    other = RedisLeaseStore(f"redis://d4d:password@127.0.0.1:{server.port}/0", prefix="other:")
    with pytest.raises(StoreUnavailable, match=r"what docs/operate/shared-store\.md says"):
        await other.load("host-a")
    await other.aclose()
    with (
        Redis(port=server.port, username="d4d", password="password") as client,
        pytest.raises(Exception, match=r"no permissions"),
    ):
        client.flushall()


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate of loopback that signs itself, and another's."""
    directory = tmp_path_factory.mktemp("tls")
    for name in ("server", "stranger"):
        subprocess.run(
            [
                *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1"),
                *("-subj", f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1"),
                *("-keyout", directory / f"{name}.key", "-out", directory / f"{name}.crt"),
            ],
            check=True,
            capture_output=True,
        )
    return directory


async def test_every_call_goes_over_tls(program: str, tmp_path: Path, certificates: Path) -> None:
    port = free_port()
    config = [
        f"tls-port {port}",
        f"tls-cert-file {certificates}/server.crt",
        f"tls-key-file {certificates}/server.key",
        "tls-auth-clients no",
    ]
    with running(RedisServer(tmp_path / "redis", program=program, config=config)):
        url = f"rediss://127.0.0.1:{port}/0?ssl_ca_certs={certificates}/"
        async with opened(url + "server.crt") as store:
            await roundtrip(store)
        async with opened(url + "stranger.crt") as store:
            with pytest.raises(StoreUnavailable, match="certificate"):
                await store.load("host-a")


@pytest.fixture
def cluster(program: str, tmp_path: Path) -> Iterator[list[RedisServer]]:
    config = ("cluster-enabled yes", "cluster-node-timeout 1000")
    servers = [
        RedisServer(tmp_path / f"node{n}", program=program, config=config, port=cluster_port())
        for n in range(3)
    ]
    with running(servers[0]), running(servers[1]), running(servers[2]):
        places = [f"127.0.0.1:{server.port}" for server in servers]
        subprocess.run(
            ["redis-cli", "--cluster", "create", *places, "--cluster-yes"],
            check=True,
            capture_output=True,
        )
        deadline = time.monotonic() + 20
        for server in servers:
            with Redis(unix_socket_path=str(server.socket)) as client:
                while client.execute_command("CLUSTER INFO")["cluster_state"] != "ok":
                    assert time.monotonic() < deadline
                    time.sleep(0.1)
        yield servers


def cluster_port() -> int:
    """One whose bus port, 10,000 above, exists."""
    while (port := free_port()) > 55_000:
        pass
    return port


async def test_a_cluster_serves_pools_on_all_of_its_nodes(cluster: list[RedisServer]) -> None:
    places = ",".join(f"127.0.0.1:{server.port}" for server in cluster[:2])
    async with opened(f"redis+cluster://{places}") as store:
        pools = [Pool(subnet=ip_network(f"10.{n}.0.0/24")) for n in range(1, 13)]
        leases = [await store.take(a_claim(pool)) for pool in pools for _ in range(2)]
        assert set((await store.load("host-a")).leases) == set(leases)
        await asyncio.gather(*map(store.remove, leases))
        await roundtrip(store)
    for server in cluster:
        with Redis(unix_socket_path=str(server.socket)) as client:
            assert client.dbsize() > 0
