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
from d4d.domain.address_selection import AddressClaim
from d4d.domain.addressing import MacAddress
from d4d.domain.errors import NoAddress, StoreAway, StoreUnavailable
from d4d.domain.lease_states import Use
from d4d.domain.leases import Endpoint, Lease
from d4d.domain.pools import Pool, PoolRecord, PoolRequest, Purpose, ReservedAddress
from d4d.domain.ports.hosts import HeartbeatReply
from lab.cable import cable
from lab.redis_sentinel import Guarded
from lab.redis_servers import PROGRAMS, RedisServer, free_port
from tests.support.allocation import asks

BOTH_LOOPS = True

SHARED_STORE = Path(__file__).resolve().parents[3] / "docs" / "operate" / "shared-store.md"
DURABLE = ("appendonly yes", "appendfsync always")
POOL = Pool(subnet=ip_network("10.1.0.0/24"))
WEB = Endpoint(mac=MacAddress.parse("02:42:0a:01:00:02"), name="web")
RECORD = PoolRecord(
    pool=POOL,
    users=1,
    reservations=(
        ReservedAddress(address=ip_address("10.1.0.9"), purpose=Purpose.AUXILIARY, count=2),
    ),
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


def a_claim(pool: Pool = POOL, *, owner: str = "host-a") -> AddressClaim:
    now = datetime.now(UTC)
    return AddressClaim(pool=pool, endpoint=WEB, owner=owner, at=now, rest=timedelta(seconds=60))


async def roundtrip(store: RedisLeaseStore) -> None:
    """All that is done to a store."""
    await store.save_pool(RECORD, "host-a")
    taken = await store.take(a_claim())
    added = await store.add(replace(taken, address=ip_address("10.1.0.200")))
    await store.update(replace(taken, use=Use.RELEASED, released_at=datetime.now(UTC)))
    assert {lease.address for lease in (await store.load("host-a")).leases} == {
        taken.address,
        added.address,
    }
    assert await store.remove(taken)
    now = datetime.now(UTC)
    assert (
        await store.hosts.beat("host-a", "installation", timedelta(minutes=2), now)
        is HeartbeatReply.NEW
    )
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
    freed = replace(leases[3], use=Use.FREED, released_at=datetime.now(UTC))
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
    try:
        async with asyncio.timeout(30):  # one behind the other they take 60 s
            outcomes = await asyncio.gather(
                *(store.take(a_claim()) for _ in range(30)), return_exceptions=True
            )
    finally:
        server.on()
    assert {type(each) for each in outcomes} == {StoreAway}
    assert "did not answer within 2 s" in str(outcomes[0])
    assert await taken(store)


async def taken(store: RedisLeaseStore) -> Lease:
    """A lease, once Redis answers again: for a second after, its last failure holds good."""
    async with asyncio.timeout(30):
        while True:
            try:
                return await store.take(a_claim())
            except StoreAway:
                await asyncio.sleep(0.1)


async def test_what_a_hung_redis_did_after_all_is_given_back(
    server: RedisServer, store: RedisLeaseStore
) -> None:
    allocator = RangeAllocator(
        store=store, owner="host-a", clock=lambda: datetime.now(UTC), rest=timedelta(0)
    )
    pool = await allocator.open(PoolRequest(subnet=ip_network("10.1.0.0/29")))

    async def allocate() -> Lease:
        taken = {pool.subnet[1]}  # as IpamService has it of the gateway
        return await allocator.allocate(asks(pool, WEB, address=None, hint=None, taken=taken))

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
    freed = replace(other, use=Use.FREED, released_at=datetime.now(UTC))
    await store.update(freed)
    before = content(server)
    assert server.command(breaks) == b"+OK"
    for write in (
        lambda: store.take(a_claim()),
        lambda: store.take(a_claim(owner="host-b")),
        lambda: store.add(taken),
        lambda: store.update(replace(taken, use=Use.FREED, released_at=taken.bound_at)),
        lambda: store.remove(taken),
        lambda: store.save_pool(replace(RECORD, users=0), "host-a"),
    ):
        with pytest.raises(StoreUnavailable, match=why):
            await write()
    assert content(server) == before
    assert server.command(mends) == b"+OK"
    await store.update(replace(taken, use=Use.FREED, released_at=taken.bound_at))
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


# Connections that end while nobody uses them, or in the middle of an answer


async def many(store: RedisLeaseStore, count: int = 20) -> list[Lease]:
    """Leases that are taken side by side, so that there are as many connections."""
    return list(await asyncio.gather(*(store.take(a_claim()) for _ in range(count))))


def drop_clients(server: RedisServer) -> None:
    """Redis closes all connections, as where it starts anew or its ``timeout`` is over."""
    with server.admin() as client:
        for each in client.client_list(_type="normal"):
            if each["id"] != str(client.client_id()):
                client.client_kill_filter(_id=each["id"])


async def test_connections_that_redis_closed_are_opened_anew(
    server: RedisServer, store: RedisLeaseStore
) -> None:
    leases = await many(store)
    drop_clients(server)
    await asyncio.sleep(0.1)
    freed = [replace(each, use=Use.FREED, released_at=each.bound_at) for each in leases]
    await asyncio.gather(*map(store.update, freed))


async def test_connections_that_the_kernel_gave_up_are_opened_anew(server: RedisServer) -> None:
    """TCP's keepalive, after a cut: each loop tells of it in its own way when it is too late."""
    async with cable(server.port) as near:
        options = "?socket_keepalive=true"
        async with opened(f"redis://127.0.0.1:{near.port}/0{options}") as store:
            leases = await many(store)
            near.reset_all()
            await asyncio.sleep(0.1)
            assert near.count == 0
            await asyncio.gather(*(store.remove(lease) for lease in leases))
            assert (await store.load("host-a")).leases == ()


@pytest.mark.parametrize("bytes_", [0, 1, 5], ids=lambda each: f"after-{each}-bytes")
async def test_an_answer_that_breaks_off_is_a_store_that_is_away(
    server: RedisServer, bytes_: int
) -> None:
    """And is not asked for once more: what it was the answer to is done."""
    async with cable(server.port) as near, opened(f"redis://127.0.0.1:{near.port}/0") as store:
        await store.take(a_claim())
        near.breaks_after = bytes_
        with pytest.raises(StoreAway, match=r"can't take an address of 10\.1\.0\.0/24 in Redis"):
            await store.take(a_claim())
        near.breaks_after = None
        assert len((await store.load("host-a")).leases) == 2
        assert await store.take(a_claim())


async def test_what_is_no_answer_of_a_redis_is_a_store_that_is_away(server: RedisServer) -> None:
    async with cable(server.port) as near, opened(f"redis://127.0.0.1:{near.port}/0") as store:
        await store.take(a_claim())
        near.says = b"HTTP/1.1 400 Bad Request\r\n\r\n"
        with pytest.raises(StoreAway):
            await store.take(a_claim())
        near.says = None
        assert await store.take(a_claim())


async def test_whatever_breaks_in_the_client_is_a_store_that_is_away(
    server: RedisServer, store: RedisLeaseStore
) -> None:
    taken = await store.take(a_claim())

    class Breaking:
        async def execute_command(self, *_: object) -> None:
            raise RuntimeError("unable to perform operation on <TCPTransport closed=True>")

        def pipeline(self, transaction: bool) -> None:
            raise AssertionError

        async def aclose(self) -> None:
            pass

    client, store.redis.client = store.redis.client, Breaking()
    for call in (
        store.take(a_claim()),
        store.add(taken),
        store.update(taken),
        store.remove(taken),
        store.load("host-a"),
        store.count("host-a"),
        store.save_pool(RECORD, "host-a"),
        store.reserved("10.1.0.0/24"),
        store.reservations(),
        store.hosts.heard(datetime.now(UTC)),
        store.hosts.owners(),
        store.hosts.forget_host("host-b"),
        store.hosts.beat("host-a", "installation", timedelta(minutes=2), datetime.now(UTC)),
        store.names.claim_name(taken.pool, "web", "host-a"),
        store.names.settle_name(taken),
    ):
        with pytest.raises(StoreAway, match=r"its client failed: RuntimeError\('unable"):
            await call
    store.redis.client = client
    assert await store.take(a_claim())


async def test_a_call_that_is_cut_short_is_no_store_that_is_away(
    server: RedisServer, store: RedisLeaseStore
) -> None:
    await store.take(a_claim())
    server.pause()
    call = asyncio.ensure_future(store.take(a_claim()))
    await asyncio.sleep(0.2)
    call.cancel()
    with pytest.raises(asyncio.CancelledError) as cut:
        await call
    server.on()
    assert "to take an address of 10.1.0.0/24: does it run and answer?" in cut.value.__notes__[0]


async def test_a_redis_that_is_away_is_tried_once_for_all_who_ask(server: RedisServer) -> None:
    async with opened(f"redis://127.0.0.1:{server.port}/0") as store:
        server.pause()
        try:
            async with asyncio.timeout(60):  # one behind the other they take 200 s
                outcomes = await asyncio.gather(
                    *(store.load("host-a") for _ in range(100)), return_exceptions=True
                )
        finally:
            server.on()
    assert {type(each) for each in outcomes} == {StoreAway}


async def test_a_cluster_whose_nodes_closed_all_connections_serves_at_once(
    cluster: list[RedisServer],
) -> None:
    places = ",".join(f"127.0.0.1:{server.port}" for server in cluster)
    async with opened(f"redis+cluster://{places}") as store:
        leases = await many(store)
        for server in cluster:
            drop_clients(server)
        await asyncio.sleep(0.1)
        await asyncio.gather(*map(store.remove, leases))


async def test_a_master_that_closed_all_connections_serves_at_once(
    program: str, tmp_path: Path
) -> None:
    with Guarded(tmp_path, program=program, down_after=timedelta(minutes=1)) as guarded:
        async with opened(guarded.url) as store:
            leases = await many(store)
            for server in (guarded.first, guarded.second):
                drop_clients(server)
            await asyncio.sleep(0.1)
            await asyncio.gather(*map(store.remove, leases))
