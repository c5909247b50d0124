"""Leases that are lost: what is told, what is done about it, and how they are found again."""

import json
import os
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address, IPv4Network

import pytest

from lab.dhcp_servers import Dhcpd, Kea, Server, Site
from lab.docker_engine import Attachment
from lab.lab import Lab
from lab.processes import eventually
from tests.support.scenarios import (
    LONG,
    SideBySide,
    World,
    events,
    never_without_lease,
    running_end,
)

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root")

side_by_side = SideBySide()

LEASE = timedelta(seconds=6)
REFUSED = "10.77.0.1 refused it"
OTHER_MAC = "02:00:00:00:00:99"
SITE = Site(lease_time=LEASE)
T1 = timedelta(seconds=4)
LONG_LEASES = Site(lease_time=LONG, renewal_time=T1, rebinding_time=LONG * 7 / 8)
"""Whose leases neither run out nor come to T2, from when on anybody may refuse them, meanwhile."""
RENUMBERED = replace(SITE, first=SITE.subnet[200 * 256 + 1], last=SITE.subnet[200 * 256 + 99])
STRANGE = Site(
    subnet=IPv4Network("10.99.0.0/16"),
    first=IPv4Network("10.99.0.0/16")[100],
    last=IPv4Network("10.99.0.0/16")[200],
    router=IPv4Network("10.99.0.0/16")[254],
)


def other_kind(kind: type[Server]) -> type[Server]:
    return Kea if kind is Dhcpd else Dhcpd


def renumber(world: World) -> Server:
    """Another server at the same address, which knows nothing and serves another range."""
    world.server.stop()
    server = world.lab.server(other_kind(type(world.server)), world.machine, RENUMBERED)
    server.start()
    world.server = server
    return server


def has_address(world: World, name: str, end: Attachment) -> bool:
    return f"inet {end.address}/" in world.engine.exec(name, "ip", "addr")


@side_by_side(Dhcpd, Kea)
def test_a_server_gone_for_good_loses_the_lease_and_one_that_comes_back_empty_restores_it(
    lab: Lab, kind: type[Server]
) -> None:
    world = World(lab, kind, site=SITE)
    world.create_network()
    end = world.engine.run("web")
    last = world.await_lease(end)
    world.server.stop()

    world.await_event("late", end.address, within=LONG)
    assert events(world.driver, "lost") == []
    lost = world.await_event("lost", end.address, within=LONG)
    assert lost["level"] == "error"
    assert lost["mac"] == end.mac
    assert lost["name"] == "web"
    assert lost["pool"].startswith(str(SITE.subnet))
    assert "expired" in lost["detail"]
    assert lost["timestamp"] >= f"{last.expires_at - timedelta(seconds=1):%Y-%m-%dT%H:%M:%S}"
    time.sleep(2)
    world.check_kept(end, names=["web"])
    assert has_address(world, "web", end)

    world.server.leases.write_bytes(b"")
    world.server.start()

    world.await_event("recovered", end.address)
    world.await_lease(end)
    with never_without_lease(world, end):
        time.sleep(1.5 * LEASE.total_seconds())  # and it is renewed again
    world.check_kept(end, names=["web"])
    assert len(events(world.driver, "lost")) == 1
    assert events(world.driver, "released") == []


@side_by_side(Dhcpd, Kea)
def test_a_server_that_forgot_everything_gives_the_same_addresses_again(
    lab: Lab, kind: type[Server]
) -> None:
    world = World(lab, kind, site=SITE)
    world.create_network()
    ends = [world.engine.run(name) for name in ("web", "db")]
    for end in ends:
        world.await_lease(end)

    world.server.restart(keep_database=False)

    for end in ends:
        world.await_lease(end, within=LONG)
    world.check_kept(*ends, names=["web", "db"])
    assert events(world.driver, "released") == []
    assert len(events(world.driver, "lost")) == len(events(world.driver, "recovered"))


@side_by_side(Dhcpd, Kea)
def test_a_server_that_was_renumbered_is_told_of_and_the_container_keeps_its_address(
    lab: Lab, kind: type[Server]
) -> None:
    world = World(lab, kind, site=SITE)
    world.create_network()
    end = world.engine.run("web")
    world.await_lease(end)

    renumber(world)

    lost = world.await_event("lost", end.address, within=LONG)
    # Kea refuses what it does not know when it is asked in one form, dhcpd says nothing.
    assert (REFUSED in lost["detail"]) == isinstance(world.server, Kea)
    assert "until it expired" in lost["detail"]
    time.sleep(LEASE.total_seconds())
    assert len(events(world.driver, "lost")) == 1
    assert events(world.driver, "acted") == []
    world.check_kept(end, names=["web"])
    assert has_address(world, "web", end)
    assert world.server.leased() == {}  # no address is taken that nobody would use


def give_away(server: Server, address: IPv4Address) -> None:
    """Write into the server's database that the address is another's, for an hour."""
    until = datetime.now(UTC) + timedelta(hours=1)
    if isinstance(server, Kea):
        head, *_ = server.leases.read_text().splitlines()
        row = {"address": address, "hwaddr": OTHER_MAC, "valid_lifetime": 3600, "subnet_id": 1}
        row |= {"expire": round(until.timestamp()), "fqdn_fwd": 0, "fqdn_rev": 0, "state": 0}
        row |= {"pool_id": 0}  # of Kea 2.6, which passes by a line without it
        line = ",".join(str(row.get(name, "")) for name in head.split(","))
        server.leases.write_text(f"{head}\n{line}\n")
    else:
        times = (
            f"starts {datetime.now(UTC):%w %Y/%m/%d %H:%M:%S}; ends {until:%w %Y/%m/%d %H:%M:%S}"
        )
        server.leases.write_text(
            f"lease {address} {{\n  {times};\n  binding state active;\n"
            f"  hardware ethernet {OTHER_MAC};\n}}\n"
        )


@side_by_side(Dhcpd, Kea)
def test_an_address_that_the_server_gave_to_another_is_refused_and_lost_before_it_expires(
    lab: Lab, kind: type[Server]
) -> None:
    world = World(lab, kind, site=LONG_LEASES)
    world.create_network()
    end = world.engine.run("web")
    expires_at = world.await_lease(end).expires_at

    world.server.stop()
    give_away(world.server, end.address)
    world.server.start()

    lost = world.await_event("lost", end.address, within=LONG)
    assert REFUSED in lost["detail"]
    assert datetime.now(UTC) < expires_at
    time.sleep(2)
    assert len(events(world.driver, "lost")) == 1
    world.check_kept(end, names=["web"])
    assert world.server.leased()[end.address].mac == OTHER_MAC


def acting(lab: Lab, kind: type[Server], action: str) -> tuple[World, Attachment]:
    """A world whose server was renumbered, and what its container had before."""
    settings = {"D4D_ON_LOST": action, "D4D_ON_LOST_AFTER": "1s"}
    world = World(lab, kind, site=SITE, settings=settings)
    world.create_network()
    end = world.engine.run("web")
    world.await_lease(end)
    renumber(world)
    acted = world.await_event("acted", end.address, within=LONG)
    assert f"{action} done" in acted["detail"]
    return world, end


@side_by_side(Dhcpd, Kea)
def test_a_container_is_reconnected_with_another_address(lab: Lab, kind: type[Server]) -> None:
    world, end = acting(lab, kind, "reconnect")
    started_at = state_of(world)["StartedAt"]

    new = eventually(lambda: running_end(world, "web"), what="not connected")

    assert RENUMBERED.first <= new.address <= RENUMBERED.last
    world.await_lease(new)
    assert has_address(world, "web", new)
    assert not has_address(world, "web", end)
    assert state_of(world)["StartedAt"] == started_at
    with never_without_lease(world, new):
        time.sleep(1.5 * LEASE.total_seconds())
    assert len(events(world.driver, "lost")) == 1
    assert len(events(world.driver, "acted")) == 1


@side_by_side(Kea)
def test_a_container_is_restarted_with_another_address(lab: Lab, kind: type[Server]) -> None:
    world, end = acting(lab, kind, "restart")

    new = eventually(lambda: running_end(world, "web"), what="not restarted")

    assert RENUMBERED.first <= new.address <= RENUMBERED.last
    world.await_lease(new)
    assert has_address(world, "web", new)
    assert not has_address(world, "web", end)


@side_by_side(Kea)
def test_a_container_is_stopped(lab: Lab, kind: type[Server]) -> None:
    world, _ = acting(lab, kind, "stop")

    eventually(lambda: state_of(world)["Status"] == "exited", what="not stopped")
    assert world.server.leased() == {}


def state_of(world: World) -> dict[str, str]:
    (container,) = json.loads(world.engine.docker("container", "inspect", "web"))
    state: dict[str, str] = container["State"]
    return state


@side_by_side(Kea)
def test_a_strange_servers_refusal_is_ignored(lab: Lab, kind: type[Server]) -> None:
    world = World(lab, kind, site=LONG_LEASES)
    world.create_network()
    end = world.engine.run("web")
    first = world.await_lease(end)
    machine = lab.machine("rogue", world.switch, "10.99.0.1/16")
    rogue = lab.server(Dhcpd, machine, STRANGE)
    rogue.start()

    with never_without_lease(world, end):
        # D4D starts behind T1, so that it asks all servers, and only the strange one is there
        world.driver.kill()
        world.server.stop()
        time.sleep(T1.total_seconds() + 0.5)
        world.driver.start()
        refusal = f"DHCPNAK on {end.address}"
        eventually(lambda: refusal in rogue.log(), what=rogue.log)
        time.sleep(0.5)
        assert events(world.driver, "lost") == [], world.driver.log()
        world.server.start()
        eventually(
            lambda: world.await_lease(end).expires_at > first.expires_at,
            what=lambda: f"not renewed\n{world.driver.log()}",
            timeout=LONG,
        )

    world.check_kept(end, names=["web"])
    assert events(world.driver, "lost") == [], world.driver.log()
