"""While Redis is away, or for a moment: how long Docker's calls wait, and what comes of them."""

import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest

from d4d.adapters.stores.lease_codec import LeaseReader
from d4d.adapters.stores.redis.records import lease_from_value
from d4d.domain.leases import LeaseState
from lab.engineless_host import PluginHost
from lab.lab import Lab
from lab.loops import LOOPS, run_on
from lab.plugin_calls import Reply, call
from lab.processes import eventually
from lab.redis_servers import RedisServer

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root")

COUNT = 40
DEADLINE = 6.0
"""Seconds, of D4D_DHCP_DEADLINE."""
PATIENCE = timedelta(seconds=60)
ALL = PATIENCE.total_seconds()
"""For all answers together: one behind the other, the calls took 80 s."""


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    host: PluginHost
    redis: RedisServer

    def held(self) -> set[str]:
        """The addresses that are not free, as Redis's own keys have them."""
        found = set()
        with self.redis.admin(decoded=True) as client:
            for key in client.scan_iter("d4d:*:leases:*"):
                pool = key.partition(":leases:")[2]
                for number, value in client.hgetall(key).items():
                    lease = lease_from_value(LeaseReader(), pool, number, value)
                    if lease.state is not LeaseState.FREED:
                        found.add(str(lease.address))
        return found


@pytest.fixture(params=LOOPS)
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    with Lab() as lab:
        machine = lab.machine("host", lab.switch(), "10.77.0.2/16")
        config = ("appendonly yes", "appendfsync always")
        redis = RedisServer(machine.directory / "redis", config=config, namespace=machine).start()
        settings = {
            "D4D_HOST": "host-a",
            "D4D_STORE": "redis",
            "D4D_REDIS_URL": f"redis://127.0.0.1:{redis.port}/0",
            "D4D_HOST_GRACE": "16s",
            "D4D_DHCP_DEADLINE": f"{DEADLINE:g}s",
            "D4D_RECONCILE": "0s",
            "D4D_REST": "0s",
        }
        host = PluginHost(machine, settings)
        run_on(request.param, host)
        try:
            host.start()
            yield World(host=host, redis=redis)
        finally:
            host.driver.kill()
            redis.kill()


@dataclass(frozen=True, slots=True, kw_only=True)
class Timed:
    reply: Reply
    seconds: float


def ask(host: PluginHost, pool: str, name: str) -> Timed:
    began = time.monotonic()
    reply = host.ask(pool, name)
    return Timed(reply=reply, seconds=time.monotonic() - began)


def release(path: Path, pool: str, address: str) -> Timed:
    began = time.monotonic()
    reply = call(path, "IpamDriver.ReleaseAddress", {"PoolID": pool, "Address": address})
    return Timed(reply=reply, seconds=time.monotonic() - began)


@pytest.mark.parametrize("sure", [True, False], ids=["heard-of", "not-heard-of"])
def test_calls_while_redis_hangs_are_answered_within_one_deadline(world: World, sure: bool) -> None:
    """Also where the host was not heard of for so long that it must ask what is still its own."""
    host, redis = world.host, world.redis
    pool = host.create("10.80.0.0/24", allocator="range")
    with ThreadPoolExecutor(2 * COUNT) as threads:
        leased = [*threads.map(lambda n: host.run(pool, f"a{n}"), range(COUNT))]
        redis.pause()
        if not sure:
            time.sleep(17)
        asked = [threads.submit(ask, host, pool, f"b{n}") for n in range(COUNT)]
        freed = [threads.submit(release, host.driver.socket, pool, each) for each in leased]
        try:
            done, _ = wait([*asked, *freed], ALL)
            answered = len(done)
        finally:
            redis.on()
        requests = [each.result() for each in asked]
        releases = [each.result() for each in freed]
    print("longest request", max(each.seconds for each in requests))
    print("longest release", max(each.seconds for each in releases))
    assert answered == 2 * COUNT, "they wait one behind the other"
    assert {each.reply.status for each in requests} == {503}
    assert {each.reply.status for each in releases} == {200}
    assert all("Redis at redis://127.0.0.1" in each.reply.content["Err"] for each in requests)
    eventually(lambda: not world.held(), what="nothing is held", timeout=PATIENCE)
    again = [host.ask(pool, f"c{n}").status for n in range(3)]
    assert again == [200, 200, 200]
    assert len(world.held()) == 3
    assert host.driver.exceptions() == []


def needs_to_be_back_soon(away: float) -> None:
    """Skip what is true of a Redis that is back while calls wait for it, which is for 2 s."""
    if away > 1.5:
        pytest.skip(f"this machine is too busy to start Redis within a second: {away:.1f} s")


def test_a_redis_that_starts_anew_within_a_second_fails_no_start(world: World) -> None:
    host, redis = world.host, world.redis
    pool = host.create("10.80.0.0/24", allocator="range")
    with ThreadPoolExecutor(2 * COUNT) as threads:
        leased = [*threads.map(lambda n: host.run(pool, f"a{n}"), range(COUNT))]
        redis.kill()
        began = time.monotonic()
        asked = [threads.submit(ask, host, pool, f"b{n}") for n in range(COUNT)]
        freed = [threads.submit(release, host.driver.socket, pool, each) for each in leased]
        time.sleep(0.5)
        redis.start()
        away = time.monotonic() - began
        requests = [each.result() for each in asked]
        releases = [each.result() for each in freed]
    print("longest request", max(each.seconds for each in requests))
    print("longest release", max(each.seconds for each in releases))
    assert {each.reply.status for each in releases} == {200}
    needs_to_be_back_soon(away)
    assert [each.reply for each in requests if each.reply.status != 200] == []
    got = {each.reply.content["Address"].partition("/")[0] for each in requests}
    assert len(got) == COUNT
    eventually(lambda: world.held() == got, what="just the new ones are held", timeout=PATIENCE)
    assert host.driver.exceptions() == []


def test_a_redis_that_is_killed_in_the_middle_of_calls_fails_no_start(world: World) -> None:
    """Whether a lost answer was a lease, nobody knows: what was, and was not told, is freed."""
    host, redis = world.host, world.redis
    pool = host.create("10.80.0.0/24", allocator="range")
    with ThreadPoolExecutor(COUNT) as threads:
        redis.pause()
        began = time.monotonic()
        asked = [threads.submit(ask, host, pool, f"b{n}") for n in range(COUNT)]
        time.sleep(0.5)
        redis.kill()
        redis.start()
        away = time.monotonic() - began
        requests = [each.result() for each in asked]
    needs_to_be_back_soon(away)
    assert [each.reply for each in requests if each.reply.status != 200] == []
    got = {each.reply.content["Address"].partition("/")[0] for each in requests}
    assert len(got) == COUNT
    eventually(lambda: world.held() == got, what="just the new ones are held", timeout=PATIENCE)
    assert host.driver.exceptions() == []
