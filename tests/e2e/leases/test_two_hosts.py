"""Two Docker hosts on one switch, strangers to each other, with one DHCP server."""

import os
from concurrent.futures import ThreadPoolExecutor

import pytest

from lab.dhcp_servers import Dhcpd
from lab.docker_engine import Attachment
from lab.lab import Host, Lab
from lab.standard_site import ADDRESSES, MACVLAN, SITE, await_release, leased_to

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root")

NAMES = tuple(f"c{number}" for number in range(10))


def test_no_address_is_given_twice_and_containers_reach_each_other() -> None:
    with Lab() as lab:
        _run_two_hosts(lab)


def _run_two_hosts(lab: Lab) -> None:
    switch = lab.switch()
    server = lab.server(Dhcpd, lab.machine("server", switch, "10.77.0.1/16"), SITE)
    server.start()
    hosts = [lab.host(f"host{number}", switch, f"10.77.0.{number}/16") for number in (2, 3)]
    with ThreadPoolExecutor(2 * len(NAMES)) as pool:
        for _ in pool.map(_set_up, hosts):
            pass

        started = [pool.submit(host.engine.run, name) for host in hosts for name in NAMES]
        ends = [future.result() for future in started]

        assert len({end.address for end in ends}) == len({end.mac for end in ends}) == len(ends)
        leased = server.leased()
        for end in ends:
            assert leased[end.address].mac == leased_to(server, end).mac == end.mac
        assert len(leased) == len(ends)
        assert len({entry.client_id for entry in leased.values()}) == len(ends)
        _each_reaches_the_other(hosts, ends)
        for _ in pool.map(lambda host: host.engine.rm(*NAMES), hosts):
            pass
    await_release(server, *ends)
    assert [host.driver.exceptions() for host in hosts] == [[], []]


def _set_up(host: Host) -> None:
    host.start()
    host.engine.network_create("lan", *MACVLAN, *ADDRESSES)


def _each_reaches_the_other(hosts: list[Host], ends: list[Attachment]) -> None:
    here, there = ends[: len(NAMES)], ends[len(NAMES) :]
    hosts[0].engine.ping(NAMES[0], there[-1].address)
    hosts[1].engine.ping(NAMES[0], here[-1].address)
