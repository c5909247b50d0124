"""A DHCP server that D4D reaches as a relay: behind a router, or on the link if that is wished."""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from ipaddress import IPv4Address

import pytest

from lab.dhcp_servers import Dhcpd, Dnsmasq, Kea, Server
from lab.lab import Host, Lab
from lab.packet_capture import capture
from lab.processes import LabError, eventually
from lab.standard_site import ADDRESSES, MACVLAN, RELEASE, SITE, await_release, leased_to

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root")

KINDS: tuple[type[Server], ...] = (Dhcpd, Kea, Dnsmasq)
HOST = IPv4Address("10.77.0.2")
FAR_GATEWAY = IPv4Address("10.78.0.254")
by_kind = pytest.mark.parametrize("number", range(3), ids=[kind.name for kind in KINDS])


@dataclass(frozen=True, slots=True, kw_only=True)
class Country:
    """A Docker host with three servers on its link, and three behind the router."""

    host: Host
    near: list[Server]
    far: list[Server]


@pytest.fixture(scope="module")
def built() -> Iterator[Country]:
    with Lab() as lab:
        near, far = lab.switch("near"), lab.switch("far")
        lab.router(near, f"{SITE.router}/16", far, f"{FAR_GATEWAY}/24")
        on_link = []
        behind = []
        for number, kind in enumerate(KINDS):
            here = lab.machine(f"near{number}", near, f"10.77.1.{number}/16")
            own = replace(
                SITE, first=SITE.first + number * 1024, last=SITE.first + number * 1024 + 99
            )
            on_link.append(lab.server(kind, here, own))
            there = lab.machine(f"far{number}", far, f"10.78.0.{number + 1}/24")
            there.route("default", via=FAR_GATEWAY)
            behind.append(lab.server(kind, there, SITE))
        settings = {"D4D_DHCP_DEADLINE": "5s", "DHCP_SERVER": "10.78.0.1"}
        host = lab.host("host1", near, f"{HOST}/16", settings=settings)
        host.namespace.route("10.78.0.0/24", via=SITE.router)
        for server in (*on_link, *behind):
            server.start()
        host.start()
        yield Country(host=host, near=on_link, far=behind)


@pytest.fixture
def site(built: Country) -> Iterator[Country]:
    yield built
    built.host.engine.tidy()
    assert built.host.driver.exceptions() == []


def test_a_server_behind_a_router_is_relayed_to_by_the_settings_alone(site: Country) -> None:
    engine, server = site.host.engine, site.far[0]
    engine.network_create("lan", *MACVLAN, *ADDRESSES)
    with capture(server.namespace, "udp", "port", "67") as packets:
        end = engine.run("one")

        assert SITE.first <= end.address <= SITE.last
        leased_to(server, end)
        assert f"default via {SITE.router} dev eth0" in engine.exec("one", "ip", "route")
        engine.ping("one", server.namespace.address.ip)
        engine.stop_container("one")
        await_release(server, end)
        seen = packets.logged()
    assert f"{HOST}.67 > 10.78.0.1.67: " in seen
    assert f"10.78.0.1.67 > {HOST}.67: " in seen
    assert f"Gateway-IP {HOST}" in seen
    assert f"Client-Ethernet-Address {end.mac}" in seen
    assert not any(other.leased() for other in (*site.near, *site.far))


@by_kind
def test_a_networks_own_server_behind_a_router_leases_and_hears_the_release(
    site: Country, number: int
) -> None:
    server = site.far[number]
    option = f"--ipam-opt=server={server.namespace.address.ip}"
    site.host.engine.network_create("lan", *MACVLAN, f"--subnet={SITE.subnet}", option)
    _lease_and_release(site, server)


@by_kind
def test_a_server_on_the_link_can_be_relayed_to(site: Country, number: int) -> None:
    server = site.near[number]
    address = server.namespace.address.ip
    site.host.engine.network_create(
        "lan", *MACVLAN, *ADDRESSES, f"--ipam-opt=server={address}", "--ipam-opt=mode=relay"
    )
    with capture(server.namespace, "udp", "port", "67") as packets:
        _lease_and_release(site, server)
        seen = packets.logged()
    # Port 67 may be taken, by the link to the servers that the other tests relay to.
    assert re.search(rf"{HOST}\.\d+ > {address}\.67: ", seen), seen
    assert "255.255.255.255.67" not in seen


@by_kind
def test_of_several_servers_on_the_link_only_the_chosen_one_is_taken(
    site: Country, number: int
) -> None:
    server = site.near[number]
    option = f"--ipam-opt=server={server.namespace.address.ip}"
    site.host.engine.network_create("lan", *MACVLAN, *ADDRESSES, option)
    with capture(server.namespace, "udp", "port", "67") as packets:
        _lease_and_release(site, server)
        seen = packets.logged()
    assert "0.0.0.0.68 > 255.255.255.255.67: " in seen


def test_a_server_that_is_not_there_is_named(site: Country) -> None:
    site.host.engine.network_create(
        "lan", *MACVLAN, *ADDRESSES, "--ipam-opt=server=10.78.0.1", "--ipam-opt=mode=relay"
    )
    site.far[0].stop()
    try:
        with pytest.raises(LabError, match=r"on 10\.77\.0\.2 -> 10\.78\.0\.1 within 5 s"):
            site.host.engine.run("one")
    finally:
        site.far[0].start()


def _lease_and_release(site: Country, server: Server) -> None:
    """A container leases from this server, from no other, and gives its lease back."""
    engine = site.host.engine
    before = len(server.releases())
    end = engine.run("one")

    leased_to(server, end)
    assert f"default via {SITE.router} dev eth0" in engine.exec("one", "ip", "route")
    others = [other for other in (*site.near, *site.far) if other is not server]
    assert not any(other.leased() for other in others)
    engine.ping("one", SITE.router)
    engine.stop_container("one")
    await_release(server, end)
    eventually(lambda: len(server.releases()) > before, what="no RELEASE came", timeout=RELEASE)
