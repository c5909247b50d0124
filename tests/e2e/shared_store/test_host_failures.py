"""Hosts that share a Redis and a DHCP server: alive, dead, drained, frozen and back."""

import os
import signal
from collections.abc import Iterator

import pytest

from d4d.entrypoints.admin_api import schemas
from lab.dhcp_servers import Dhcpd
from lab.engineless_host import PluginHost, next_mac
from lab.lab import Lab
from lab.network import Switch
from lab.plugin_calls import call
from lab.processes import eventually
from lab.redis_servers import RedisServer
from lab.standard_site import SITE

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root")

GRACE = "3s"


class Host(PluginHost):
    """One of several on a Redis."""

    def __init__(
        self, lab: Lab, switch: Switch, number: int, redis: RedisServer, **more: str
    ) -> None:
        self.name = f"host{number}"
        settings = {
            "D4D_HOST": self.name,
            "D4D_STORE": "redis",
            "D4D_REDIS_URL": redis.url,
            "D4D_HOST_GRACE": GRACE,
            "D4D_IDENTITY": "cluster-name",
            **more,
        }
        super().__init__(lab.machine(self.name, switch, f"10.77.0.{number}/16"), settings)

    def is_alive(self, other: str) -> bool:
        hosts = {each.host: each for each in self.json(schemas.HostsResponse, "hosts").hosts}
        return bool(hosts[other].is_alive)


class World:
    """A DHCP server, a Redis, and three hosts on one switch; the third is not started."""

    def __init__(self, lab: Lab) -> None:
        switch = lab.switch()
        self.dhcpd = lab.server(Dhcpd, lab.machine("server", switch, "10.77.0.1/16"), SITE)
        self.redis = RedisServer(lab.machine("redis", switch, "10.77.0.9/16").directory).start()
        self.one = Host(lab, switch, 2, self.redis)
        self.two = Host(lab, switch, 3, self.redis)
        self.three = Host(lab, switch, 4, self.redis, D4D_RECLAIM="auto")
        self.dhcpd.start()
        self.one.start()
        self.two.start()
        self.pool = self.one.create(str(SITE.subnet), parent="eth0")
        assert self.two.create(str(SITE.subnet), parent="eth0") == self.pool

    def leased(self) -> set[str]:
        return {str(address) for address in self.dhcpd.leased()}

    def waits_for_death(self, host: Host, *, seen_by: Host) -> None:
        eventually(lambda: not seen_by.is_alive(host.name), what=f"{host.name} seems to live")


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with Lab() as lab:
        world = World(lab)
        try:
            yield world
        finally:
            for host in (world.one, world.two, world.three):
                if host.driver.daemon.running:
                    host.driver.stop()
            world.redis.stop()


def test_each_host_shows_all_hosts_and_their_leases(world: World) -> None:
    one, two = world.one.run(world.pool, "web-1"), world.two.run(world.pool, "web-2")
    hosts = {each.host: each for each in world.one.json(schemas.HostsResponse, "hosts").hosts}
    assert set(hosts) == {"host2", "host3"}
    assert all(each.is_alive and each.leases == 1 and each.seen_at for each in hosts.values())
    assert (hosts["host2"].is_self, hosts["host3"].is_self) == (True, False)
    assert "host2 (this one)" in world.one.d4d("hosts")
    own = world.one.json(schemas.LeasesResponse, "leases").leases
    assert [each.address for each in own] == [one]
    everybodys = world.one.json(schemas.LeasesResponse, "leases", "--all").leases
    assert {(each.address, each.host) for each in everybodys} == {(one, "host2"), (two, "host3")}
    (theirs,) = world.one.json(schemas.LeasesResponse, "leases", "--all", "--host", "host3").leases
    assert theirs.address == two


def test_a_container_that_moves_to_another_host_keeps_its_address(world: World) -> None:
    address = world.one.run(world.pool, "mover")
    before = world.dhcpd.leased()
    refused = world.two.ask(world.pool, "mover")
    assert refused.status == 409
    assert f"container mover has {address} on host host2" in refused.content["Err"]
    world.one.remove(world.pool, address)
    eventually(lambda: address not in world.leased(), what="not released")
    assert world.two.run(world.pool, "mover") == address
    after = {str(key): value for key, value in world.dhcpd.leased().items()}[address]
    (was,) = (value for key, value in before.items() if str(key) == address)
    assert after.client_id == was.client_id
    assert after.mac != was.mac
    world.two.remove(world.pool, address)


def test_a_host_that_lives_is_not_drained(world: World) -> None:
    assert "was heard of" in world.one.d4d("host", "drain", "host3", "--yes", code=1)
    assert "is this host" in world.one.d4d("host", "drain", "host2", "--yes", code=1)
    assert "no host 'host9'" in world.one.d4d("host", "drain", "host9", "--yes", code=1)


def test_a_dead_host_keeps_its_addresses_until_it_is_drained(world: World) -> None:
    address = world.two.run(world.pool, "left-behind")
    world.two.driver.kill()
    world.waits_for_death(world.two, seen_by=world.one)
    assert address in world.leased()
    said = world.one.d4d("host", "drain", "host3", code=1)
    assert "Drain it?" in said, "nobody said yes"
    assert "s old by the store's clock; this host has seen none for" in said
    assert "not heard of" in world.one.d4d("hosts")
    assert address in world.leased()
    drained = world.one.json(schemas.DrainResponse, "host", "drain", "host3", "--yes")
    assert address in drained.freed
    assert drained.failed == []
    eventually(lambda: address not in world.leased(), what="dhcpd did not hear of it")
    kinds = [
        each.kind for each in world.one.json(schemas.HistoryResponse, "history", address).events
    ]
    assert "drained" in kinds
    assert {each.host for each in world.one.json(schemas.HostsResponse, "hosts").hosts} == {"host2"}
    world.two.start()
    assert world.two.json(schemas.LeasesResponse, "leases").leases == []
    assert world.two.run(world.pool, "left-behind") == address, "the server remembers its client"
    world.two.remove(world.pool, address)


def test_a_frozen_host_finds_out_what_it_lost_before_it_answers(world: World) -> None:
    mac = next_mac()
    address = world.two.run(world.pool, "frozen", mac)
    world.two.driver.daemon.signal(signal.SIGSTOP)
    try:
        world.waits_for_death(world.two, seen_by=world.one)
        world.one.d4d("host", "drain", "host3", "--yes")
        eventually(lambda: address not in world.leased(), what="dhcpd did not hear of it")
        assert world.one.run(world.pool, "frozen") == address, "it is the same client for dhcpd"
    finally:
        world.two.driver.daemon.signal(signal.SIGCONT)
    reply = world.two.ask(world.pool, "frozen", mac)
    assert reply.status == 409, "it must not be told the address that is another host's"
    assert f"has {address} on host host2" in reply.content["Err"]
    assert address in world.leased(), "and must not have freed it"
    assert any('"event": "lost"' in line for line in world.two.driver.log().splitlines())
    world.one.remove(world.pool, address)


def test_a_driver_starts_without_redis_and_recovers(world: World) -> None:
    address = world.two.run(world.pool, "kept", mac := next_mac())
    assert world.two.driver.stop() == 0
    world.redis.command("SAVE")
    world.redis.stop()
    world.two.start()
    reply = world.two.ask(world.pool, "kept", mac)
    assert reply.status == 503
    assert "Redis" in reply.content["Err"]
    assert call(world.two.driver.socket, "Plugin.Activate").status == 200
    world.redis.start()
    eventually(lambda: "store_available_again" in world.two.driver.log(), what="not told")
    assert world.two.run(world.pool, "kept", mac) == address
    assert world.two.driver.log().count("serving_without_store") == 1


def test_a_dead_host_is_drained_by_another_where_the_operator_wants_that(world: World) -> None:
    address = world.two.run(world.pool, "reclaimed")
    world.three.start()
    world.two.driver.kill()
    eventually(lambda: address not in world.leased(), what="not taken back")
    log = world.three.driver.log()
    assert "automatic_host_drain_started" in log
    eventually(lambda: '"event": "host_drained"' in world.three.driver.log(), what="not told")
    assert [host.driver.exceptions() for host in (world.one, world.three)] == [[], []]
