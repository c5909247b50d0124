"""The way to Redis is cut for a minute, as by a switch that starts anew: no release is lost."""

import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta

import pytest

from d4d.adapters.stores.lease_codec import LeaseReader
from d4d.adapters.stores.redis.records import lease_from_value, token
from d4d.domain.leases import LeaseState
from lab.engineless_host import PluginHost
from lab.lab import Lab
from lab.loops import LOOPS, run_on
from lab.network import Namespace
from lab.plugin_calls import Reply, call
from lab.processes import eventually
from lab.redis_servers import RedisServer

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root")

CUT = 60.0
"""Seconds: TCP's keepalive, as redis-py has it, gives an idle connection up after 45."""
COUNT = 20
PATIENCE = timedelta(seconds=60)


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """Two hosts without engines, one on each loop, and a Redis behind a cable of its own."""

    machine: Namespace
    redis: RedisServer
    hosts: dict[str, PluginHost]

    def cable(self, state: str) -> None:
        self.machine.ip("link", "set", "eth0", state)

    def held(self, loop: str) -> list[str]:
        """The addresses that a host has not freed, as Redis's own keys have them."""
        found = []
        with self.redis.admin(decoded=True) as client:
            for key in client.scan_iter("d4d:*:leases:*"):
                for number, value in client.hgetall(key).items():
                    lease = lease_from_value(
                        LeaseReader(), key.partition(":leases:")[2], number, value
                    )
                    if lease.owner == loop and lease.state is not LeaseState.FREED:
                        found.append(str(lease.address))
        return found

    def beat(self, loop: str) -> str:
        with self.redis.admin(decoded=True) as client:
            return str(client.hget("d4d:hosts", token(loop)))


@pytest.fixture
def world() -> Iterator[World]:
    with Lab() as lab:
        switch = lab.switch()
        machine = lab.machine("redis", switch, "10.77.0.4/16")
        redis = RedisServer(machine.directory, namespace=machine).start()
        hosts = {}
        try:
            for number, loop in enumerate(LOOPS, 2):
                settings = {
                    "D4D_HOST": loop,
                    "D4D_STORE": "redis",
                    "D4D_REDIS_URL": f"redis://10.77.0.4:{redis.port}/0",
                    "D4D_HOST_GRACE": "16s",
                    "D4D_DHCP_DEADLINE": "8s",
                    "D4D_RECONCILE": "0s",
                }
                namespace = lab.machine(f"host{number}", switch, f"10.77.0.{number}/16")
                hosts[loop] = PluginHost(namespace, settings)
                run_on(loop, hosts[loop])
                hosts[loop].start()
            yield World(machine=machine, redis=redis, hosts=hosts)
        finally:
            for host in hosts.values():
                host.driver.kill()
            redis.stop()


def test_a_cut_of_a_minute_loses_no_release_on_either_loop(world: World) -> None:
    pools: dict[str, str] = {}
    leased: dict[str, list[str]] = {}
    with ThreadPoolExecutor(2 * COUNT) as threads:
        for loop, host in world.hosts.items():
            pool = pools[loop] = host.create(f"10.8{len(pools)}.0.0/24", allocator="range")
            names = [f"c{number}" for number in range(COUNT)]
            leased[loop] = [*threads.map(lambda name, h=host, p=pool: h.run(p, name), names)]
            assert len(set(leased[loop])) == COUNT

        world.cable("down")
        cut = time.monotonic()
        time.sleep(CUT)
        half = COUNT // 2
        during = release(threads, world, pools, {loop: leased[loop][:half] for loop in leased})
        world.cable("up")
        after = release(threads, world, pools, {loop: leased[loop][half:] for loop in leased})
        assert time.monotonic() - cut >= CUT

    wrong = [(loop, reply) for loop, reply in (*during, *after) if reply.status != 200]
    assert wrong == []
    for loop, host in world.hosts.items():
        goes_on(world, loop, host, pools[loop])


def goes_on(world: World, loop: str, host: PluginHost, pool: str) -> None:
    """All is freed, the host is heard of, and it has addresses for containers."""
    eventually(lambda: not world.held(loop), what=f"{loop}: all freed", timeout=PATIENCE)
    before = world.beat(loop)
    eventually(lambda: world.beat(loop) != before, what=f"{loop} beats", timeout=PATIENCE)
    eventually(lambda: host.ask(pool, "again").status == 200, what="an address", timeout=PATIENCE)
    assert host.driver.exceptions() == []


def release(
    threads: ThreadPoolExecutor,
    world: World,
    pools: dict[str, str],
    addresses: dict[str, list[str]],
) -> list[tuple[str, Reply]]:
    """What comes of ReleaseAddress for all of them at once."""
    calls = [
        (loop, threads.submit(_release, world.hosts[loop], pools[loop], address))
        for loop in addresses
        for address in addresses[loop]
    ]
    return [(loop, future.result()) for loop, future in calls]


def _release(host: PluginHost, pool: str, address: str) -> Reply:
    body = {"PoolID": pool, "Address": address}
    return call(host.driver.socket, "IpamDriver.ReleaseAddress", body)
