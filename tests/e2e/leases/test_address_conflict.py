"""Addresses that somebody else uses: never handed out, declined, and watched for afterwards."""

import os
from dataclasses import replace
from ipaddress import IPv4Address

import pytest

from lab.dhcp_servers import Dhcpd, Dnsmasq, Kea, Server, Site
from lab.lab import Lab
from lab.network import Namespace
from lab.processes import LabError, eventually
from tests.support.scenarios import LONG, SideBySide, World, events

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root")

side_by_side = SideBySide()

SITE = Site(lease_time=LONG)
MAC = "02:42:0a:4d:10:01"
KEA_DECLINED = "1"


def squatter_of(world: World, address: IPv4Address, name: str = "squatter") -> Namespace:
    """A machine that uses the address and asked no server."""
    prefix = world.site.subnet.prefixlen
    return world.lab.machine(name, world.switch, f"{address}/{prefix}")


def is_declined(server: Server, address: IPv4Address) -> bool:
    """Whether the server's database says that the address is nobody's to give."""
    text = server.leases.read_text()
    if isinstance(server, Dhcpd):
        entries = text.split(f"lease {address} {{")[1:]
        return bool(entries) and "binding state abandoned;" in entries[-1]
    if isinstance(server, Kea):
        rows = [line.split(",") for line in text.splitlines() if line.startswith(f"{address},")]
        state = text.splitlines()[0].split(",").index("state")
        return bool(rows) and rows[-1][state] == KEA_DECLINED
    return "DHCPDECLINE" in server.log() and address not in server.leased()


def check_never_handed_out(world: World) -> None:
    """The next address that the server would give is somebody's by now."""
    before = world.run_with_mac("before", MAC)
    world.await_lease(before)
    world.engine.rm("before")
    world.await_release(before.address)
    squatter = squatter_of(world, before.address)

    after = world.run_with_mac("after", MAC)  # whose MAC had it: so it is offered

    assert after.address != before.address
    world.await_lease(after)
    for kind in ("conflict", "declined"):
        (event,) = events(world.driver, kind, before.address)
        assert squatter.mac() in event["detail"]
        assert event["mac"] == MAC
    eventually(
        lambda: is_declined(world.server, before.address),
        what=lambda: f"not declined:\n{world.server.leases.read_text()}\n{world.server.log()}",
    )
    world.engine.ping("after", world.site.subnet[1])


@side_by_side(Dhcpd, Kea, Dnsmasq)
def test_an_address_that_another_host_answers_for_is_declined_and_another_handed_out(
    lab: Lab, kind: type[Server]
) -> None:
    world = World(lab, kind, site=SITE)
    world.create_network()
    check_never_handed_out(world)


@side_by_side(Dhcpd, Kea)
def test_so_it_is_on_a_parent_without_an_address(lab: Lab, kind: type[Server]) -> None:
    world = World(lab, kind, site=SITE)
    world.host.namespace.ip("addr", "flush", "dev", "eth0")
    world.create_network("--ipam-opt=parent=eth0")
    check_never_handed_out(world)


@side_by_side(Dhcpd)
def test_a_stranger_that_claims_a_leased_address_later_is_told_of(
    lab: Lab, kind: type[Server]
) -> None:
    world = World(lab, kind, site=SITE)
    world.create_network()
    end, beside = world.engine.run("web"), world.engine.run("db")
    eventually(lambda: world.await_lease(end).hostname == "web", what="the name is not known")
    squatter = squatter_of(world, end.address)

    squatter.run(["busybox", "arping", "-U", "-c", "1", "-I", "eth0", str(end.address)])

    conflict = world.await_event("conflict", end.address)
    assert squatter.mac() in conflict["detail"]
    assert conflict["mac"] == end.mac
    assert conflict["name"] == "web"
    assert events(world.driver, "conflict", beside.address) == []
    world.check_kept(end, beside, names=["web", "db"])
    world.await_lease(end)
    assert events(world.driver, "lost") == []


@side_by_side(Dhcpd)
def test_no_more_than_five_addresses_are_declined_for_one_container(
    lab: Lab, kind: type[Server]
) -> None:
    squatted = [SITE.first + number for number in range(6)]
    world = World(lab, kind, site=replace(SITE, first=squatted[0], last=squatted[-1]))
    world.create_network()
    squatters = [squatter_of(world, address, f"host-{address}") for address in squatted]

    with pytest.raises(LabError, match=r"in use, and was declined") as refused:
        world.engine.run("web")

    assert sum(squatter.mac() in str(refused.value) for squatter in squatters) == 5
    eventually(  # the last one is told behind Docker's answer
        lambda: len(events(world.driver, "declined")) >= 5, what=world.driver.log
    )
    assert len(events(world.driver, "declined")) == 5
    assert world.server.leased() == {}


@side_by_side(Dhcpd)
def test_a_reservation_that_another_host_uses_ends_a_start_and_is_named(
    lab: Lab, kind: type[Server]
) -> None:
    address = SITE.subnet[77]
    world = World(lab, kind, site=replace(SITE, fixed=((MAC, address),)))
    world.create_network()
    squatter = squatter_of(world, address)

    with pytest.raises(LabError) as refused:
        world.run_with_mac("web", MAC)

    docker_said = str(refused.value).splitlines()[0]
    assert f"offered {address} to {MAC} again after it was declined" in docker_said
    assert squatter.mac() in docker_said
    eventually(lambda: events(world.driver, "declined"), what=world.driver.log)
    assert len(events(world.driver, "declined")) == 1
    assert len(world.driver.log().splitlines()) < 40
    squatter.ip("addr", "flush", "dev", "eth0")
    assert world.run_with_mac("again", MAC).address == address


@side_by_side(Dhcpd)
def test_a_router_with_proxy_arp_ends_a_start_and_costs_no_address(
    lab: Lab, kind: type[Server]
) -> None:
    world = World(lab, kind, site=SITE)
    world.create_network()
    router = squatter_of(world, SITE.router)
    router.ip("route", "add", "local", "10.77.16.0/20", "dev", "lo")  # it answers probes for all

    for _ in range(4):
        with pytest.raises(LabError, match=r"turn proxy ARP off on that router") as refused:
            world.engine.run("web")
        world.engine.rm("web")

    assert router.mac() in str(refused.value)
    assert "D4D_CONFLICT_PROBE=0s" in str(refused.value)
    assert "abandoned" not in world.server.leases.read_text()
    assert events(world.driver, "declined") == []
