"""Services on a one-node swarm: the list of networks of a manager lacks our driver's name."""

import json
import os
import shutil
from collections.abc import Iterator
from datetime import timedelta
from ipaddress import IPv4Address

import httpx
import pytest

from lab.d4d_driver import NAME
from lab.dhcp_servers import Dhcpd, Site
from lab.docker_engine import FOR_EVER, IMAGE, Attachment
from lab.lab import Lab
from lab.processes import eventually
from tests.support.scenarios import LONG, World, events

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root")

SITE = Site(lease_time=LONG)
OFTEN = timedelta(seconds=1)
LOOKS = 5


@pytest.fixture
def world() -> Iterator[World]:
    """A swarm's manager with a network of ours for services."""
    with Lab() as lab:
        world = World(lab, Dhcpd, site=SITE, settings={"D4D_RECONCILE": f"{OFTEN.seconds}s"})
        own = str(SITE.subnet[2])
        # no image is pulled, and no network but ours is used: nothing leaves the namespace
        world.engine.docker(
            "swarm", "init", "--advertise-addr", own, "--listen-addr", f"{own}:2377"
        )
        create(world)
        yield world


def create(world: World, *, driver: str = NAME) -> None:
    """The network, as docs/operate/networks.md says."""
    addresses = (f"--subnet={SITE.subnet}", f"--gateway={SITE.router}", "-o", "parent=eth0")
    world.engine.network_create("cfg", "--config-only", f"--ipam-driver={driver}", *addresses)
    options = ("-d", "macvlan", "--scope", "swarm", "--config-from", "cfg", "--attachable")
    world.engine.network_create("sw", *options)


def serve(world: World, replicas: int) -> dict[str, Attachment]:
    """Run a service; its containers' ends by their ids."""
    fixed = ("--detach", "--no-resolve-image", "--stop-signal", "KILL", "--network", "sw")
    words = (*fixed, "--name", "svc", "--replicas", str(replicas), IMAGE, *FOR_EVER)
    world.engine.docker("service", "create", *words)
    return eventually(
        lambda: ends if len(ends := ends_of(world)) == replicas else None,
        what=lambda: f"{ends_of(world)}\n{world.engine.docker('service', 'ps', 'svc')}",
        timeout=timedelta(seconds=60),
    )


def ends_of(world: World) -> dict[str, Attachment]:
    (network,) = json.loads(world.engine.docker("network", "inspect", "sw"))
    return {
        container: Attachment(
            address=IPv4Address(end["IPv4Address"].partition("/")[0]), mac=end["MacAddress"]
        )
        for container, end in (network["Containers"] or {}).items()
    }


def let_it_look(world: World) -> None:
    """Wait until Docker was asked so often that what is missing would be released."""
    seen = looks(world)
    eventually(
        lambda: looks(world) >= seen + LOOKS,
        what=lambda: f"{looks(world)} looks after {seen}\n{world.driver.log()}",
        timeout=timedelta(seconds=60),
    )


def looks(world: World) -> float:
    """How often Docker told its containers."""
    socket = world.driver.environment["D4D_ADMIN_BIND"].removeprefix("unix:")
    with httpx.Client(transport=httpx.HTTPTransport(uds=socket), base_url="http://d4d") as client:
        text = client.get("/metrics").text
    counted = 'd4d_docker_duration_seconds_count{call="attachments",result="ok"} '
    lines = [line for line in text.splitlines() if line.startswith(counted)]
    return float(lines[0].removeprefix(counted)) if lines else 0.0


def test_leases_of_running_services_are_kept_and_those_of_ended_ones_released(
    world: World,
) -> None:
    (network,) = [
        json.loads(line)
        for line in world.engine.docker("network", "ls", "--format", "{{json .}}").splitlines()
        if '"Name":"sw"' in line
    ]
    assert network["Scope"] == "swarm"
    ends = serve(world, 2)

    let_it_look(world)

    for end in ends.values():
        world.await_lease(end)
    assert set(ends_of(world).values()) == set(ends.values())
    assert events(world.driver, "container_missing") == []
    assert events(world.driver, "network_missing") == []

    world.engine.docker("service", "rm", "svc")
    for end in ends.values():
        world.await_release(end.address)
    assert world.driver.exceptions() == []


def test_a_services_release_that_got_lost_is_made_up_for(world: World) -> None:
    one, two = serve(world, 2).values()
    world.driver.kill()
    world.engine.docker("service", "scale", "--detach", "svc=1")
    eventually(
        lambda: len(ends_of(world)) == 1,
        what=lambda: str(ends_of(world)),
        timeout=timedelta(seconds=60),  # Docker tries to deliver the release for 15 s
    )
    (kept,) = ends_of(world).values()
    lost = one if kept == two else two
    world.driver.start()
    world.await_release(lost.address)
    world.await_lease(kept)


def test_a_services_containers_are_adopted_when_the_store_is_lost(world: World) -> None:
    ends = serve(world, 2)
    world.driver.kill()
    shutil.rmtree(world.driver.state_dir)
    world.driver.start()
    for end in ends.values():
        world.await_event("adopted", end.address)
    let_it_look(world)
    for end in ends.values():
        world.await_lease(end)
    assert events(world.driver, "released") == []


def test_a_second_name_of_the_socket_is_as_good_as_the_first() -> None:
    with Lab() as lab:
        world = World(lab, Dhcpd, site=SITE, settings={"D4D_RECONCILE": f"{OFTEN.seconds}s"})
        (world.engine.plugins / "alias.sock").symlink_to(world.driver.socket)
        addresses = (f"--subnet={SITE.subnet}", f"--gateway={SITE.router}", "-o", "parent=eth0")
        world.engine.network_create("sw", "-d", "macvlan", "--ipam-driver=alias", *addresses)
        ends = [world.engine.run(name, network="sw") for name in ("one", "two")]
        let_it_look(world)
        for end in ends:
            world.await_lease(end)
        assert events(world.driver, "network_missing") == []
        world.engine.rm("one", "two")
        for end in ends:
            world.await_release(end.address)
