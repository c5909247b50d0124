"""What a network may stand on: two parents, a bridge, an interface with its own DHCP client."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv4Address, IPv4Network

import pytest

from lab.dhcp_servers import Dhcpd, Server, Site
from lab.network import Namespace
from lab.standard_site import DRIVER, SITE, Lan, await_release, leased_to

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root"),
    pytest.mark.parametrize("shared_lan", [Dhcpd], indirect=True, ids=lambda kind: kind.name),
]

ASKED = IPv4Address("10.77.40.7")
_OTHER = IPv4Network("10.79.0.0/16")
ELSEWHERE = Site(
    subnet=_OTHER,
    first=_OTHER[256],
    last=_OTHER[1000],
    router=_OTHER[254],
    dns=_OTHER[1],
    lease_time=SITE.lease_time,
)
_UDP_68 = re.compile(r"^\s*\d+: [0-9A-F]{8}:0044 ", re.MULTILINE)


def test_two_networks_of_one_subnet_on_two_parents_are_strangers(lan: Lan) -> None:
    lan.create()
    with second_lan(lan, SITE, name="other") as server:
        one = lan.engine.run("one", f"--ip={ASKED}")
        two = lan.engine.run("two", f"--ip={ASKED}", network="other")

        assert one.address == two.address == ASKED
        leased_to(lan.server, one)
        leased_to(server, two)
        lan.engine.stop_container("two")
        await_release(server, two)
        leased_to(lan.server, one)


def test_a_container_on_two_networks_has_a_lease_of_each(lan: Lan) -> None:
    lan.create()
    with second_lan(lan, ELSEWHERE, name="other") as server:
        one = lan.engine.run("one")

        lan.engine.docker("network", "connect", "other", "one")

        two = lan.engine.inspect("one", network="other")
        leased_to(lan.server, one)
        leased_to(server, two)
        lan.engine.docker("network", "disconnect", "other", "one")
        await_release(server, two)
        leased_to(lan.server, one)


def test_a_bridge_network_on_the_hosts_own_bridge(lan: Lan) -> None:
    host = lan.lab.host("host2", lan.switch, "10.77.0.3/16")
    own = host.namespace.address
    for words in (
        ("link", "add", "br0", "type", "bridge"),
        ("link", "set", "br0", "address", host.namespace.mac()),
        ("link", "set", "eth0", "master", "br0"),
        ("addr", "del", str(own), "dev", "eth0"),
        ("addr", "add", str(own), "brd", "+", "dev", "br0"),
        ("link", "set", "br0", "up"),
    ):
        host.namespace.ip(*words)
    host.start()
    # Docker calls the bridge's own address the gateway, and this auxiliary one the way out.
    host.engine.network_create(
        "lan",
        *("-d", "bridge", DRIVER, "-o", "com.docker.network.bridge.name=br0"),
        *(f"--subnet={SITE.subnet}", f"--gateway={own.ip}"),
        f"--aux-address=DefaultGatewayIPv4={SITE.router}",
    )

    end = host.engine.run("one")

    leased_to(lan.server, end)
    assert f"default via {SITE.router} dev eth0" in host.engine.exec("one", "ip", "route")
    host.engine.ping("one", SITE.router)
    lan.gateway.ping(end.address)
    host.engine.stop_container("one")
    await_release(lan.server, end)
    host.engine.rm("one")
    host.engine.network_rm("lan")
    assert host.driver.exceptions() == []
    host.namespace.ping(SITE.router)  # the bridge is still the host's


def test_the_hosts_own_dhcp_client_and_d4d_lease_beside_each_other(lan: Lan) -> None:
    host = lan.host.namespace
    with dhclient(host):
        assert _UDP_68.search(host.run(["cat", "/proc/net/udp"])), "nobody holds UDP port 68"
        (of_host,) = lan.server.leased().values()
        assert of_host.mac == host.mac()
        lan.create()

        end = lan.engine.run("one")

        leased_to(lan.server, end)
        assert end.address != of_host.address
        lan.engine.rm("one")
        await_release(lan.server, end)
        assert list(lan.server.leased()) == [of_host.address]
    host.run(["dhclient", "-4", "-r", *_files(host), "eth0"])


@contextmanager
def second_lan(lan: Lan, site: Site, *, name: str) -> Iterator[Server]:
    """A switch with a server, eth1 of the host on it, without address, and a network there."""
    switch = lan.lab.switch(f"switch-{site.subnet.network_address}")
    own = f"{site.subnet[1]}/{site.subnet.prefixlen}"
    machine = lan.lab.machine(f"server-{site.subnet.network_address}", switch, own)
    server = lan.lab.server(Dhcpd, machine, site)
    server.start()
    switch.join(lan.host.namespace, interface="eth1")
    lan.engine.network_create(
        name,
        *("-d", "macvlan", DRIVER, "-o", "parent=eth1", "--ipam-opt=parent=eth1"),
        *(f"--subnet={site.subnet}", f"--gateway={site.router}"),
    )
    try:
        yield server
    finally:
        lan.engine.tidy()
        lan.host.namespace.ip("link", "del", "eth1")


@contextmanager
def dhclient(host: Namespace) -> Iterator[None]:
    """ISC dhclient on the host's eth0, which leases and leaves the interface as it is."""
    client = host.daemon("dhclient", ["dhclient", "-4", "-d", *_files(host), "eth0"])
    client.start(ready=lambda log: "bound to" in log)
    try:
        yield
    finally:
        client.kill()


def _files(host: Namespace) -> tuple[str, ...]:
    leases, pid = host.directory / "dhclient.leases", host.directory / "dhclient.pid"
    config = host.directory / "dhclient.conf"
    config.write_text("")
    return ("-lf", str(leases), "-pf", str(pid), "-cf", str(config), "-sf", "/bin/true")
