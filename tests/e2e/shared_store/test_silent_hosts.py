"""Which hosts are drained without asking (D4D_RECLAIM=auto): the dead, and never a living one.

Three drivers on one Redis, over which outages, jumps of its clock and a real death come. dhcpd's
own log shows whether it was told that a living container's address is free.
"""

import os
import time
from collections.abc import Iterator

import pytest

from d4d.entrypoints.admin_api import schemas
from lab.dhcp_servers import Dhcpd
from lab.engineless_host import PluginHost, next_mac
from lab.lab import Lab
from lab.network import Namespace
from lab.processes import LabError, eventually
from lab.redis_servers import RedisServer
from lab.standard_site import SITE

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root")

GRACE = 4.0
BY_RANGE = "10.78.0.0/24"
DRAINS = "automatic_host_drain_started"


class Host(PluginHost):
    """One of three, with a container on a DHCP network, and one on a network without a server."""

    def __init__(self, machine: Namespace, redis: RedisServer) -> None:
        self.name = machine.name
        self.machine = machine
        settings = {
            "D4D_HOST": self.name,
            "D4D_STORE": "redis",
            "D4D_REDIS_URL": redis.url,
            "D4D_HOST_GRACE": f"{GRACE:g}s",
            "D4D_RECLAIM": "auto",
        }
        super().__init__(machine, settings)

    def set_up(self) -> None:
        self.start()
        lan = self.create(str(SITE.subnet), parent="eth0")
        own = self.create(BY_RANGE, parent="eth0", allocator="range")
        self.mac = next_mac()
        self.leases = {self.run(lan, "web", self.mac), self.run(own, "db")}
        self.leased = next(iter(each for each in self.leases if each.startswith("10.77.")))

    def lives(self) -> dict[str, bool]:
        """Of which hosts it says that they live: of none while it says why it can't tell.

        For a second after Redis is back, its last failure holds good.
        """
        try:
            said = self.driver.cli("hosts", "--json")
        except LabError:
            return {}
        hosts = schemas.HostsResponse.model_validate_json(said).hosts
        return {each.host: each.is_alive for each in hosts}

    def addresses(self) -> set[str]:
        """Of the leases that it says to hold."""
        return {each.address for each in self.json(schemas.LeasesResponse, "leases").leases}


class World:
    """What they stand on."""

    def __init__(self, lab: Lab) -> None:
        switch = lab.switch()
        self.dhcpd = lab.server(Dhcpd, lab.machine("server", switch, "10.77.0.1/16"), SITE)
        self.redis = RedisServer(lab.machine("redis", switch, "10.77.0.9/16").directory).start()
        self.hosts = [
            Host(lab.machine(f"host{n}", switch, f"10.77.0.{n}/16"), self.redis) for n in (2, 3, 4)
        ]
        self.dhcpd.start()
        for host in self.hosts:
            host.set_up()

    def close(self) -> None:
        for host in self.hosts:
            host.driver.kill()
        self.redis.stop()

    def nobody_is_drained(self) -> None:
        """Also not when each has watched the others for a whole grace, and more."""
        one = self.hosts[0]
        names = {host.name for host in self.hosts}
        eventually(
            lambda: one.lives() == dict.fromkeys(names, True), what="not all are alive again"
        )
        time.sleep(1.5 * GRACE)
        assert self.dhcpd.releases() == []
        assert [DRAINS in host.driver.log() for host in self.hosts] == [False] * 3
        leased = {str(address) for address in self.dhcpd.leased()}
        for host in self.hosts:
            assert host.addresses() == host.leases
            assert host.leased in leased
        assert [host.driver.exceptions() for host in self.hosts] == [[], [], []]


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with Lab() as lab:
        world = World(lab)
        try:
            yield world
        finally:
            world.close()


def test_after_an_outage_of_redis_that_was_longer_than_the_grace_nobody_is_drained(
    world: World,
) -> None:
    world.redis.command("SAVE")
    world.redis.stop()
    time.sleep(1.5 * GRACE)
    world.redis.start()
    world.nobody_is_drained()


def test_after_redis_hung_for_longer_than_the_grace_nobody_is_drained(world: World) -> None:
    world.redis.pause()
    time.sleep(1.5 * GRACE)
    world.redis.on()
    world.nobody_is_drained()


@pytest.mark.parametrize("hours", [-1, 1], ids=["ahead", "back"])
def test_where_the_clock_of_redis_jumps_nobody_is_drained(world: World, hours: int) -> None:
    """All heartbeats are as old at once as they are where the clock is set: or in the future."""
    with world.redis.admin(decoded=True) as redis:
        for _ in range(3):
            for host, value in redis.hgetall("d4d:hosts").items():
                stamp, _, by = value.partition(" ")
                redis.hset("d4d:hosts", host, f"{int(stamp) + hours * 3_600_000_000} {by}")
            time.sleep(GRACE / 8)
    world.nobody_is_drained()


def test_a_dead_host_is_drained_and_not_what_its_containers_still_use(world: World) -> None:
    one, two, three = world.hosts
    mac, address = three.mac, three.leased
    ip = three.machine.ip
    three.machine.run(["sysctl", "-w", "net.ipv4.conf.all.arp_ignore=1"])  # eth0 answers for itself
    ip("link", "add", "web", "link", "eth0", "address", mac, "type", "macvlan", "mode", "bridge")
    ip("link", "set", "web", "up")
    ip("address", "add", f"{address}/16", "dev", "web")
    three.driver.kill()

    def told(what: str) -> int:
        return sum(host.driver.log().count(what) for host in (one, two))

    still = f"its container still answers by ARP (MAC {mac})"
    eventually(
        lambda: told(still) > 0 or world.dhcpd.releases(),
        what="the container that answers is not told of",
    )
    assert world.dhcpd.releases() == []
    eventually(lambda: '"freed": 1' in one.driver.log() + two.driver.log(), what="nothing is freed")
    refused = one.d4d("host", "drain", three.name, "--yes", code=1)
    assert f"{address} was not: {still}" in refused or "another host drains it" in refused
    time.sleep(2 * GRACE)
    assert world.dhcpd.releases() == []
    assert told(still) <= 2, "each host says it once"

    ip("link", "delete", "web")
    eventually(lambda: world.dhcpd.releases() != [], what="the address is not taken back")
    assert all(address in line for line in world.dhcpd.releases())
    eventually(lambda: three.name not in one.lives(), what="it is not forgotten")
    assert one.addresses() == one.leases
    assert two.addresses() == two.leases
