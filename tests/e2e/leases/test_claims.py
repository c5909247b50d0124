"""Docker's releases of what it could not use after all, while a container has the same address."""

import os
import time
from collections.abc import Iterator
from datetime import timedelta

import pytest

from lab.d4d_driver import NAME
from lab.dhcp_servers import Dhcpd, Site
from lab.docker_engine import Attachment
from lab.lab import Lab
from lab.packet_capture import capture
from lab.processes import LabError, eventually
from tests.support.scenarios import LONG, World, events

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root")

SHORT = Site(lease_time=timedelta(seconds=8))
SITE = Site(lease_time=LONG)
MAC = "02:42:0a:4d:77:01"
OFTEN = {"D4D_RECONCILE": "1s"}
NEVER = {"D4D_RECONCILE": "0s"}
SAYS = "DHCP-Message (53), length 1: "


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab() as lab:
        yield lab


def check_released_only_when_gone(world: World, name: str, end: Attachment) -> None:
    """The container's lease is the server's still, and ends when the container does."""
    assert world.server.releases() == []
    world.await_lease(end)
    world.check_kept(end, names=[name])
    world.engine.rm(name)
    world.await_release(end.address)


def test_a_second_container_of_the_same_mac_does_not_end_the_firsts_lease(lab: Lab) -> None:
    world = World(lab, Dhcpd, site=SHORT, settings=OFTEN)
    world.create_network()
    first = world.run_with_mac("first", MAC)
    with capture(world.host.namespace, "udp port 67 or udp port 68") as wire:
        with pytest.raises(LabError):  # Docker: the MAC address is in use
            world.run_with_mac("second", MAC)
        renewed = world.await_lease(first).expires_at
        eventually(  # the release would have gone out long before
            lambda: world.await_lease(first).expires_at > renewed,
            what=lambda: f"it is not renewed\n{world.driver.log()}",
            timeout=timedelta(seconds=20),
        )
        said = wire.logged()
        assert f"{SAYS}Request" in said
        assert f"{SAYS}Release" not in said
    check_released_only_when_gone(world, "first", first)
    assert world.driver.exceptions() == []


def test_what_was_answered_twice_is_kept_over_a_restart_of_the_driver(lab: Lab) -> None:
    world = World(lab, Dhcpd, site=SITE, settings=NEVER)
    world.create_network()
    first = world.run_with_mac("first", MAC)
    with pytest.raises(LabError):
        world.run_with_mac("second", MAC)
    world.driver.kill()
    world.driver.start()
    with pytest.raises(LabError):
        world.engine.start_container("second")
    world.engine.rm("second")
    time.sleep(1)
    world.await_lease(first)
    assert world.server.releases() == []


@pytest.mark.parametrize("driver", ["macvlan", "bridge"])
def test_an_auxiliary_address_that_a_container_has_is_refused(lab: Lab, driver: str) -> None:
    world = World(lab, Dhcpd, site=SITE, settings=OFTEN)
    world.create_network()
    web = world.engine.run("web")
    addresses = (f"--subnet={SITE.subnet}", f"--gateway={SITE.router}", "-o", "parent=eth0")
    words = ("-d", driver, f"--ipam-driver={NAME}", *addresses)
    with pytest.raises(LabError, match=f"auxiliary address {web.address} is leased to"):
        world.engine.network_create("second", *words, "--aux-address", f"x={web.address}")
    time.sleep(2)  # what Docker makes of it, and two looks
    assert len(world.driver.cli("pools").splitlines()) >= 1
    check_released_only_when_gone(world, "web", web)


def test_an_address_or_gateway_that_a_container_has_is_refused_without_a_release(
    lab: Lab,
) -> None:
    world = World(lab, Dhcpd, site=SITE, settings=OFTEN)
    world.create_network()
    web = world.engine.run("web")
    with pytest.raises(LabError, match=f"{web.address} is leased to"):
        world.engine.run("thief", "--ip", str(web.address))
    words = ("-d", "macvlan", f"--ipam-driver={NAME}", f"--subnet={SITE.subnet}")
    with pytest.raises(LabError, match=f"gateway {web.address} is leased to"):
        world.engine.network_create("second", *words, f"--gateway={web.address}")
    time.sleep(2)
    check_released_only_when_gone(world, "web", web)


def test_a_stale_endpoint_of_who_had_the_address_before_does_not_end_its_holders_lease(
    lab: Lab,
) -> None:
    """dockerd crashed with the container; an operator gave its address back meanwhile."""
    world = World(lab, Dhcpd, site=SITE, settings=NEVER)
    world.create_network()
    stale = world.run_with_mac("stale", MAC)
    world.engine.stop_container("stale")
    world.await_release(stale.address)
    stale = world.run_with_mac("again", MAC)
    world.driver.d4d("release", str(stale.address), "--yes")
    world.await_release(stale.address)
    holder = world.run_with_mac("holder", "02:42:0a:4d:77:02")
    if holder.address != stale.address:
        world.engine.rm("holder")
        holder = world.engine.run("next", "--ip", str(stale.address))
    before = len(world.server.releases())
    world.engine.rm("again")
    time.sleep(1)
    assert len(world.server.releases()) == before, events(world.driver, "released")
    world.await_lease(holder)


def test_stale_endpoints_of_a_crash_are_released_as_ever(lab: Lab) -> None:
    world = World(lab, Dhcpd, site=SITE, settings=NEVER)
    world.create_network()
    fixed = world.run_with_mac("fixed", MAC)
    plain = world.engine.run("plain")
    world.engine.kill()
    world.engine.start()
    world.await_release(fixed.address)
    world.await_release(plain.address)
    again = world.engine.start_container("fixed")
    assert again.mac == MAC
    world.await_lease(again)
    world.engine.rm("fixed")
    world.await_release(again.address)
    assert world.driver.exceptions() == []
