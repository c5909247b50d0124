"""A parent that goes down and up, is made anew, or is not there yet: D4D hears again by itself.

On uvloop's event loop, as users run it, and on asyncio's, as a plain hypercorn does.
"""

import os
import time
from datetime import timedelta

import pytest

from lab.dhcp_servers import Dhcpd, Kea, Server, Site
from lab.docker_engine import Attachment
from lab.lab import Lab
from lab.plugin_calls import call
from lab.processes import eventually
from tests.support.scenarios import NewEngine, SideBySide, World, events

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root")

side_by_side = SideBySide()

SITE = Site(lease_time=timedelta(seconds=20))
FLAPS = 3
DOWN = 2.0  # seconds
PATIENCE = timedelta(seconds=60)


def set_parent(world: World, state: str) -> None:
    world.host.namespace.ip("link", "set", "eth0", state)


def flap(world: World) -> None:
    set_parent(world, "down")
    time.sleep(DOWN)
    set_parent(world, "up")


def await_renewal(world: World, end: Attachment) -> None:
    """The server extends the lease from now on, once more."""
    before = world.server.leased()[end.address].expires_at

    def is_extended() -> bool:
        binding = world.server.leased().get(end.address)
        assert binding is not None, f"{end} ran out\n{world.driver.log()}"
        return binding.mac == end.mac and binding.expires_at > before

    eventually(
        is_extended, what=lambda: f"not renewed: {end}\n{world.driver.log()}", timeout=PATIENCE
    )


def check_flaps(world: World) -> None:
    """Leases are renewed after each flap, and a new container gets one."""
    engine = NewEngine(world)
    ends = [engine.run("web", "02:00:00:00:00:01")]
    world.await_lease(ends[0])
    for number in range(FLAPS):
        flap(world)
        ends.append(engine.run(f"after-{number}", f"02:00:00:00:01:0{number}"))
        for end in ends:
            await_renewal(world, end)
    assert events(world.driver, "lost") == []
    assert world.driver.exceptions() == []


@side_by_side(Dhcpd, Kea)
def test_leases_survive_a_parent_that_goes_down_and_up(lab: Lab, kind: type[Server]) -> None:
    check_flaps(World(lab, kind, site=SITE, docker=False))


@side_by_side(Dhcpd)
def test_so_they_do_on_asyncios_event_loop(lab: Lab, kind: type[Server]) -> None:
    check_flaps(World(lab, kind, site=SITE, docker=False, plain=True))


@side_by_side(Dhcpd)
def test_so_they_do_behind_a_relay(lab: Lab, kind: type[Server]) -> None:
    world = World(lab, kind, site=SITE, docker=False, relayed=True)
    engine = NewEngine(world)
    end = engine.run("web", "02:00:00:00:00:01")
    flap(world)
    world.host.namespace.route("default", via=SITE.subnet[3])
    await_renewal(world, end)
    world.await_lease(engine.run("db", "02:00:00:00:00:02"))
    assert events(world.driver, "lost") == []


@side_by_side(Dhcpd)
def test_a_parent_that_is_deleted_and_made_anew_is_heard_again(
    lab: Lab, kind: type[Server]
) -> None:
    world = World(lab, kind, site=SITE, docker=False)
    engine = NewEngine(world)
    end = engine.run("web", "02:00:00:00:00:01")
    world.host.namespace.ip("link", "del", "eth0")
    time.sleep(DOWN)
    world.switch.join(world.host.namespace, str(world.host.namespace.address))
    await_renewal(world, end)
    world.await_lease(engine.run("db", "02:00:00:00:00:02"))
    assert events(world.driver, "lost") == []


@side_by_side(Dhcpd)
def test_a_parent_that_is_down_when_d4d_starts_is_heard_when_it_comes_up(
    lab: Lab, kind: type[Server]
) -> None:
    world = World(lab, kind, site=SITE, docker=False)
    engine = NewEngine(world)
    end = engine.run("web", "02:00:00:00:00:01")
    world.driver.stop()
    set_parent(world, "down")
    world.driver.start()
    time.sleep(DOWN)
    set_parent(world, "up")
    await_renewal(world, end)
    world.await_lease(engine.run("db", "02:00:00:00:00:02"))


@side_by_side(Dhcpd)
def test_a_docker_hosts_containers_keep_their_addresses_over_flaps(
    lab: Lab, kind: type[Server]
) -> None:
    world = World(lab, kind, site=SITE)
    world.create_network()
    end = world.engine.run("web")
    world.await_lease(end)
    for number in range(2):
        flap(world)
        await_renewal(world, end)
        world.await_lease(world.engine.run(f"after-{number}"))
    world.check_kept(end, names=["web"])
    assert events(world.driver, "lost") == []


@side_by_side(Dhcpd)
def test_a_wire_on_which_nothing_is_heard_is_told_and_is_well_again_by_itself(
    lab: Lab, kind: type[Server]
) -> None:
    world = World(lab, kind, site=SITE, docker=False, settings={"D4D_DHCP_DEADLINE": "14s"})
    engine = NewEngine(world)
    end = engine.run("web", "02:00:00:00:00:01")
    world.server.stop()
    body = {"PoolID": engine.pool_id, "Address": "", "Options": {}}
    body["Options"] = {"com.docker.network.endpoint.macaddress": "02:00:00:00:00:02"}
    assert call(world.driver.socket, "IpamDriver.RequestAddress", body).status == 503
    assert call(world.driver.socket, "IpamDriver.RequestAddress", body).status == 503
    (told,) = events(world.driver, "dhcp_link_silent")
    assert "requests since" in told["detail"]
    assert "nothing was heard" in world.driver.readiness()
    world.server.start()
    world.await_lease(engine.run("db", "02:00:00:00:00:02"))
    world.await_lease(end, within=PATIENCE)  # it may have run out, and is asked for again
    assert "nothing was heard" not in world.driver.readiness()
