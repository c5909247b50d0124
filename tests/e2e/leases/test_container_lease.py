"""Docker, D4D and DHCP servers, all real: what a container gets, and what the server knows."""

import json
import os
import re
import shlex
from concurrent.futures import ThreadPoolExecutor
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import pytest

from lab.docker_engine import IMAGE
from lab.processes import LabError, eventually
from lab.standard_site import MACVLAN, RELEASE, SITE, Lan, await_no_lease, await_release, leased_to

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root")


def has_all_capabilities() -> bool:
    ours = re.search(r"CapBnd:\s*(\w+)", Path("/proc/self/status").read_text())
    last = int(Path("/proc/sys/kernel/cap_last_cap").read_text())
    assert ours is not None
    return int(ours[1], 16) == (2 << last) - 1


# Root without some capability, as in a container, can start no privileged containers.
PRIVILEGED = "--privileged" if has_all_capabilities() else ""
ASKED = IPv4Address("10.77.40.7")
SEED_CREATE = (
    f"docker network create -d macvlan --subnet={SITE.subnet} --gateway={SITE.router} "
    f'--ipam-driver=talkingdata --aux-address="DefaultGatewayIPv4={SITE.router}" '
    "-o parent=eth0 macvlan"
)
# The seed's own --name 1 is too short for Docker: it wants two characters.
SEED_RUN = (
    f"docker run -d --name c1 --net macvlan {PRIVILEGED} {IMAGE} "
    "sh -c 'while true;do echo test;sleep 90;done'"
)


def test_the_seeds_own_commands_give_a_container_that_the_server_knows(lan: Lan) -> None:
    engine, server = lan.engine, lan.server
    engine.docker(*shlex.split(SEED_CREATE)[1:])
    assert server.leased() == {}  # the gateway is reserved, not leased

    engine.docker(*shlex.split(SEED_RUN)[1:])

    end = engine.inspect("c1", network="macvlan")
    assert SITE.first <= end.address <= SITE.last
    assert end.mac in engine.exec("c1", "ip", "link", "show", "eth0")
    assert f"inet {end.address}/{SITE.subnet.prefixlen} " in engine.exec("c1", "ip", "addr")
    assert f"default via {SITE.router} dev eth0" in engine.exec("c1", "ip", "route")
    engine.ping("c1", SITE.router)
    leased_to(server, end)
    assert list(server.leased()) == [end.address]

    engine.docker("stop", "-t", "0", "c1")
    await_release(server, end)
    assert any(end.mac in line for line in server.releases())
    engine.docker("rm", "c1")
    engine.network_rm("macvlan")
    assert server.leased() == {}


def test_an_address_asked_for_by_ip_is_granted_or_refused_but_never_another(lan: Lan) -> None:
    lan.create()

    first = lan.engine.run("first", f"--ip={ASKED}")

    assert first.address == ASKED
    leased_to(lan.server, first)
    with pytest.raises(LabError, match=rf"{ASKED} is .*leased.*choose an address that is free"):
        lan.engine.run("second", f"--ip={ASKED}")
    assert list(lan.server.leased()) == [ASKED]
    lan.engine.rm("first", "second")
    await_release(lan.server, first)
    assert lan.engine.run("third", f"--ip={ASKED}").address == ASKED


def test_an_address_that_the_server_does_not_give_is_refused_and_the_offer_named(lan: Lan) -> None:
    lan.create()
    outside = SITE.last + 1000

    with pytest.raises(LabError, match=rf"{outside} can't be had: .* was offered 10\.77\.\d+\.\d+"):
        lan.engine.run("outside", f"--ip={outside}")

    assert lan.server.leased() == {}


def test_an_address_leased_to_a_strange_machine_is_refused(lan: Lan) -> None:
    lan.create()
    machine = lan.lab.machine("stranger", lan.switch)
    client = lan.lab.client(machine, hostname="stranger")
    held = client.acquire()
    try:
        with pytest.raises(LabError, match=rf"{held} can't be had: .* was offered 10\.77\."):
            lan.engine.run("late", f"--ip={held}")
        assert lan.server.leased()[held].mac == machine.mac()
    finally:
        client.release()
        machine.close()


def test_addresses_come_from_the_ip_range_but_one_asked_for_may_lie_outside(lan: Lan) -> None:
    inside = IPv4Network("10.77.64.16/28")
    lan.create(f"--ip-range={inside}")

    ends = [lan.engine.run(f"c{number}") for number in range(3)]
    asked = lan.engine.run("asked", f"--ip={ASKED}")

    assert all(end.address in inside for end in ends), ends
    assert len({end.address for end in ends}) == len(ends)
    assert asked.address == ASKED
    for end in (*ends, asked):
        leased_to(lan.server, end)
    assert len(lan.server.leased()) == len(ends) + 1  # nothing was taken and thrown away


def test_an_ip_range_outside_the_servers_is_refused_within_the_deadline(lan: Lan) -> None:
    lan.create("--ip-range=10.77.200.0/24")

    with pytest.raises(LabError, match=r"no address of 10\.77\.200\.0/24 can be had: .*offered"):
        lan.engine.run("none")

    assert lan.server.leased() == {}


def test_without_gateway_the_servers_router_is_learnt(lan: Lan) -> None:
    lan.engine.network_create("lan", *MACVLAN, f"--subnet={SITE.subnet}")

    lan.engine.run("one")

    # Docker 20.10 shows the gateway here, and in the network only where it was given.
    (container,) = json.loads(lan.engine.docker("container", "inspect", "one"))
    assert container["NetworkSettings"]["Networks"]["lan"]["Gateway"] == str(SITE.router)
    assert f"default via {SITE.router} dev eth0" in lan.engine.exec("one", "ip", "route")
    lan.engine.ping("one", SITE.router)


def test_without_subnet_it_is_learnt_too(lan: Lan) -> None:
    address = str(lan.host.namespace.address)
    # Docker takes no subnet that the driver chose where the host has a route into it.
    lan.host.namespace.ip("addr", "del", address, "dev", "eth0")
    try:
        lan.engine.network_create("lan", *MACVLAN, "--ipam-opt=parent=eth0")
        end = lan.engine.run("one")
        (network,) = json.loads(lan.engine.docker("network", "inspect", "lan"))
        (config,) = network["IPAM"]["Config"]
        assert IPv4Network(config["Subnet"]) == SITE.subnet
        assert config["Gateway"].split("/")[0] == str(SITE.router)
        leased_to(lan.server, end)
        assert f"default via {SITE.router} dev eth0" in lan.engine.exec("one", "ip", "route")
        lan.engine.rm("one")
        await_release(lan.server, end)
    finally:
        lan.host.namespace.ip("addr", "add", address, "brd", "+", "dev", "eth0")


def test_a_container_that_can_not_start_gives_its_lease_back(lan: Lan) -> None:
    lan.create()
    before = len(lan.server.releases())

    with pytest.raises(LabError, match="no such file"):
        lan.engine.run("broken", command=("/nonexistent",))

    eventually(lambda: len(lan.server.releases()) > before, what="no RELEASE came", timeout=RELEASE)
    await_no_lease(lan.server)


def test_containers_started_at_once_have_an_address_each(lan: Lan) -> None:
    lan.create()
    names = [f"c{number}" for number in range(5)]

    with ThreadPoolExecutor(len(names)) as pool:
        ends = list(pool.map(lan.engine.run, names))

    assert len({end.address for end in ends}) == len(names)
    for end in ends:
        leased_to(lan.server, end)
    lan.engine.ping("c0", ends[-1].address)
    lan.engine.rm(*names)
    await_release(lan.server, *ends)
