"""Two Docker hosts share a DHCP pool and a range pool through one Redis, on a machine of its own.

What they did is read on the other sides: Redis's own keys, dhcpd's lease file, docker inspect.
"""

import os
import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from ipaddress import IPv4Address

import pytest
from redis import Redis

from d4d.adapters.stores.lease_codec import LeaseReader
from d4d.adapters.stores.redis.records import lease_from_value
from d4d.domain.leases import Lease, LeaseState
from lab.dhcp_servers import Dhcpd, Site
from lab.docker_engine import Attachment
from lab.lab import Host, Lab
from lab.packet_capture import capture
from lab.processes import LabError, eventually
from lab.redis_servers import RedisServer
from lab.standard_site import ADDRESSES, DRIVER, MACVLAN, await_release, leased_to

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root")

LEASE = timedelta(seconds=8)
SITE = Site(lease_time=LEASE)
NAMES = ("c0", "c1", "c2")
RANGE = "10.78.0.0/29"
"""Six addresses for hosts, and the gateway has one of them."""
BACK = (
    *("-d", "macvlan", DRIVER, "-o", "parent=eth1", "--ipam-opt=allocator=range"),
    *(f"--subnet={RANGE}", "--gateway=10.78.0.1"),
)
SENT = ("-Q", "out", "udp", "dst", "port", "67")
CHADDR = re.compile(r"Client-Ethernet-Address (\S+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Shared:
    """Two hosts, a DHCP server and a Redis on one switch; the hosts have another to themselves."""

    hosts: tuple[Host, Host]
    dhcpd: Dhcpd
    redis: RedisServer
    leased: list[Attachment]
    """The containers of the DHCP pool: half of them the first host's, then the second's."""
    ranged: list[Attachment]
    """The same of the range pool."""

    def stored(self, subnet: str) -> dict[IPv4Address, Lease]:
        """The leases of a subnet that are bound, as Redis's own keys have them."""
        found: dict[IPv4Address, Lease] = {}
        with Redis(unix_socket_path=str(self.redis.socket), decode_responses=True) as client:
            for key in client.scan_iter(f"d4d:{{{subnet}}}:leases:*"):
                pool = key.partition(":leases:")[2]
                for number, value in client.hgetall(key).items():
                    lease = lease_from_value(LeaseReader(), pool, number, value)
                    if lease.state is LeaseState.BOUND:
                        assert lease.address not in found, "two pools have leased one address"
                        assert isinstance(lease.address, IPv4Address)
                        found[lease.address] = lease
        return found


@pytest.fixture(scope="module")
def world() -> Iterator[Shared]:
    with Lab() as lab:
        switch = lab.switch()
        dhcpd = lab.server(Dhcpd, lab.machine("server", switch, "10.77.0.1/16"), SITE)
        machine = lab.machine("redis", switch, "10.77.0.4/16")
        durable = ("appendonly yes", "appendfsync always")
        redis = RedisServer(machine.directory, config=durable, namespace=machine).start()
        try:
            one, two = (
                lab.host(
                    f"host{number}",
                    switch,
                    f"10.77.0.{number}/16",
                    settings={
                        "D4D_HOST": f"host{number}",
                        "D4D_STORE": "redis",
                        "D4D_REDIS_URL": f"redis://10.77.0.4:{redis.port}/0",
                        "D4D_REST": "0s",
                    },
                )
                for number in (2, 3)
            )
            back = lab.switch("back")
            for host in (one, two):
                back.join(host.namespace, interface="eth1")
            dhcpd.start()
            hosts = (one, two)
            with ThreadPoolExecutor(4) as pool:
                for _ in pool.map(_set_up, hosts):
                    pass
                leased = [pool.submit(host.engine.run, name) for host in hosts for name in NAMES]
                ranged = [
                    pool.submit(host.engine.run, f"r{number}", network="back")
                    for host in hosts
                    for number in (0, 1)
                ]
                yield Shared(
                    hosts=hosts,
                    dhcpd=dhcpd,
                    redis=redis,
                    leased=[future.result() for future in leased],
                    ranged=[future.result() for future in ranged],
                )
            assert [host.driver.exceptions() for host in (one, two)] == [[], []]
        finally:
            redis.stop()


def _set_up(host: Host) -> None:
    host.start()
    host.engine.network_create("lan", *MACVLAN, *ADDRESSES)
    host.engine.network_create("back", *BACK)


def test_no_address_is_given_twice_in_the_pools_that_two_hosts_share(world: Shared) -> None:
    one, two = world.hosts
    leased, ranged = world.stored("10.77.0.0/16"), world.stored(RANGE)
    check_stored(leased, world.leased)
    check_stored(ranged, world.ranged)
    for end in world.leased:
        assert leased_to(world.dhcpd, end).client_id == leased[end.address].client_id
    assert world.dhcpd.leased().keys() == leased.keys()
    assert ranged.keys() == {IPv4Address(f"10.78.0.{number}") for number in (2, 3, 4, 5)}
    one.engine.ping("c0", world.leased[-1].address)
    two.engine.ping("r0", world.ranged[0].address)


def check_stored(stored: dict[IPv4Address, Lease], ends: list[Attachment]) -> None:
    """Redis has what docker inspect tells: the first half of host2, the rest of host3."""
    half = len(ends) // 2
    told = {end.address: (end.mac, "host2") for end in ends[:half]}
    told |= {end.address: (end.mac, "host3") for end in ends[half:]}
    assert len(told) == len(ends)
    assert {
        address: (str(lease.endpoint.mac), lease.owner) for address, lease in stored.items()
    } == told


def test_each_host_renews_its_own_leases_also_after_a_restart(world: Shared) -> None:
    one, two = world.hosts
    before = world.stored("10.77.0.0/16")
    assert {lease.owner for lease in before.values()} == {"host2", "host3"}
    with capture(one.namespace, *SENT) as by_one, capture(two.namespace, *SENT) as by_two:
        two.driver.kill()
        two.driver.start()
        time.sleep(LEASE.total_seconds())

    after = world.stored("10.77.0.0/16")
    assert after.keys() == before.keys() == world.dhcpd.leased().keys()
    for address, lease in after.items():
        first = before[address]
        assert (lease.owner, lease.generation) == (first.owner, first.generation)
        assert runs_until(lease) > runs_until(first)
    for owner, sent in (("host2", by_one), ("host3", by_two)):
        own = {str(lease.endpoint.mac) for lease in after.values() if lease.owner == owner}
        assert {*CHADDR.findall(sent.logged())} == own
    two.engine.rm(*NAMES)  # it knows them again, and no others
    await_release(world.dhcpd, *world.leased[len(NAMES) :])
    eventually(
        lambda: {each.owner for each in world.stored("10.77.0.0/16").values()} == {"host2"},
        what="leases that were released stay in Redis",
    )


def runs_until(lease: Lease) -> datetime:
    assert lease.expires_at is not None
    return lease.expires_at


def test_what_one_host_releases_the_other_gets_when_nothing_else_is_left(world: Shared) -> None:
    one, two = world.hosts
    last = one.engine.run("r2", network="back")
    with pytest.raises(
        LabError, match=r"all addresses of 10\.78\.0\.0/29 are taken: of 6 that .*5"
    ):
        two.engine.run("r2", network="back")

    one.engine.rm("r2")
    eventually(lambda: last.address not in world.stored(RANGE), what="its lease stays in Redis")
    two.engine.rm("r2")
    end = two.engine.run("r2", network="back")

    assert end.address == last.address
    assert world.stored(RANGE)[end.address].owner == "host3"
    with pytest.raises(LabError, match=r"is leased to .* on host host3"):
        one.engine.run("r3", f"--ip={end.address}", network="back")
