"""Networks on a bridge of the host's: what Docker makes of each answer, seen on the bridge.

An answer is judged by what is on the host afterwards: its address, and its default route.
"""

import os
import re
import shlex
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from ipaddress import IPv4Network, ip_network
from pathlib import Path

import pytest

from d4d.adapters.network.interfaces import Interfaces
from d4d.entrypoints.cli.schemas import DoctorResponse, FindingSchema
from lab.dhcp_servers import Dhcpd, Site
from lab.docker_engine import Attachment
from lab.lab import Host, Lab
from lab.network import Namespace
from lab.processes import LabError
from lab.standard_site import DRIVER, SITE, Lan, await_no_lease, await_release, leased_to

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root")

ROOT = Path(__file__).parents[3]
HOST = "10.77.0.3"
SUBNET = f"--subnet={SITE.subnet}"
PARENT = "--ipam-opt=parent=br0"
BRIDGE = ("-d", "bridge", DRIVER, "-o", "com.docker.network.bridge.name=br0")
MACVLAN = ("-d", "macvlan", DRIVER, "-o", "parent=br0")
ROUTER = f"--gateway={SITE.router}"
WAY_OUT = f"--aux-address=DefaultGatewayIPv4={SITE.router}"
_OURS = {
    "192.168.59.0/24": str(SITE.subnet),
    "192.168.59.202": HOST,
    "192.168.59.1": str(SITE.router),
}
"""For each address of the documentation, the lab's."""
_THEIRS = re.compile("|".join(map(re.escape, _OURS)))
_COMMAND = re.compile(r"docker network create(?:[^`\n\\]|\\\n)*")


class OnBridge:
    """A Docker host whose address, and default route, are on br0."""

    def __init__(self, lan: Lan) -> None:
        self.lan = lan
        self.host: Host = lan.lab.host("host2", lan.switch, f"{HOST}/16")
        self.namespace: Namespace = self.host.namespace
        bridge_up(self.namespace, f"{HOST}/16")
        self.namespace.ip("route", "add", "default", "via", str(SITE.router))
        self.before = self.state()

    def state(self) -> tuple[list[str], list[str]]:
        """The addresses of br0, and the host's routes by it."""
        addresses = self.namespace.ip("-4", "-o", "addr", "show", "dev", "br0").splitlines()
        routes = self.namespace.ip("route", "show").splitlines()
        return [line.split()[3] for line in addresses], sorted(map(str.strip, routes))

    def create(self, *options: str, name: str = "lan") -> None:
        self.host.engine.network_create(name, *options)

    def refused(self, *options: str) -> str:
        """What D4D says to that command, which must change nothing on the host."""
        with pytest.raises(LabError) as refusal:
            self.create(*options)
        assert self.state() == self.before
        assert self.host.engine.docker("network", "ls", "-q", "--filter", "name=lan") == ""
        return str(refusal.value)

    def reaches(self, name: str = "one") -> Attachment:
        """Run a container on the network: it has an address, and reaches the router by it."""
        end = self.host.engine.run(name)
        leased_to(self.lan.server, end)
        route = self.host.engine.exec(name, "ip", "route")
        assert f"default via {SITE.router} dev eth0" in route
        self.host.engine.ping(name, SITE.router)
        return end

    def put_right(self) -> None:
        """Give br0 its address, and the host its route, whatever they are."""
        if self.state() != self.before:
            self.namespace.ip("addr", "flush", "dev", "br0")
            self.namespace.ip("addr", "add", f"{HOST}/16", "brd", "+", "dev", "br0")
            self.namespace.ip("route", "replace", "default", "via", str(SITE.router))

    def is_well(self) -> None:
        """The host is on its LAN as it was."""
        assert self.state() == self.before
        self.namespace.ping(SITE.router)


def findings(host: Host) -> dict[str, FindingSchema]:
    """What the doctor finds on the host, by its code."""
    words: list[str | Path] = [host.driver.program, "doctor", "--json", "--timeout", "700ms"]
    done = subprocess.run(
        [str(word) for word in host.namespace.command(words)],
        env=host.driver.environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    answer = DoctorResponse.model_validate_json(done.stdout)
    return {each.code: each for check in answer.checks for each in check.findings}


def bridge_up(namespace: Namespace, address: str | None) -> None:
    """Make eth0 a port of a bridge that has its MAC, and the address."""
    for words in (
        ("link", "add", "br0", "type", "bridge"),
        ("link", "set", "br0", "address", namespace.mac()),
        ("link", "set", "eth0", "master", "br0"),
        ("addr", "flush", "dev", "eth0"),
        ("link", "set", "br0", "up"),
    ):
        namespace.ip(*words)
    if address is not None:
        namespace.ip("addr", "add", address, "brd", "+", "dev", "br0")


@pytest.fixture(scope="module")
def shared() -> Iterator[OnBridge]:
    with Lab() as lab:
        lan = Lan(lab, Dhcpd)
        lan.server.start()
        made = OnBridge(lan)
        made.host.start()
        yield made


@pytest.fixture
def world(shared: OnBridge) -> Iterator[OnBridge]:
    yield shared
    shared.host.engine.tidy()
    await_no_lease(shared.lan.server)
    try:
        shared.is_well()
    finally:
        shared.put_right()  # so that one test's failure is not the next one's
    assert shared.host.driver.exceptions() == []


@pytest.mark.parametrize(
    "options",
    [
        (*BRIDGE, SUBNET, PARENT),
        (*BRIDGE, SUBNET),
        (*BRIDGE, SUBNET, PARENT, WAY_OUT),
        (*BRIDGE, SUBNET, PARENT, "--ip-range=10.77.64.0/24"),
        (*BRIDGE, PARENT),
        (*BRIDGE, SUBNET, "--ipam-opt=allocator=range"),
        (*BRIDGE, SUBNET, PARENT, "--ipam-opt=allocator=range"),
        (*BRIDGE, SUBNET, "--ipam-opt=mode=relay", "--ipam-opt=server=10.77.0.1"),
        (*MACVLAN, SUBNET, PARENT),
        (*MACVLAN, PARENT),
    ],
    ids=" ".join,
)
def test_without_a_gateway_the_network_is_refused_and_the_host_keeps_its_address(
    world: OnBridge, options: tuple[str, ...]
) -> None:
    text = world.refused(*options)
    assert "no --gateway is given, and br0 is a bridge of this host" in text
    assert "-d macvlan -o parent=br0" in text
    assert f"--gateway={HOST} --aux-address=DefaultGatewayIPv4=" in text


def test_the_commands_of_the_refusal_are_ones_that_work(world: OnBridge) -> None:
    text = world.refused(*BRIDGE, SUBNET, PARENT)
    commands = re.findall(r"`docker (network create .*?) NAME`", text)
    assert len(commands) == 2
    for command in commands:
        world.host.engine.docker(*shlex.split(command), "lan")
        end = world.reaches()
        world.is_well()
        world.host.engine.rm("one")
        await_release(world.lan.server, end)
        world.host.engine.network_rm("lan")
        world.is_well()


def test_ipv6_of_the_range_allocator_is_refused_and_the_host_keeps_its_address(
    world: OnBridge,
) -> None:
    own = "fd00:61::3"
    ip = world.namespace.ip
    for which in ("all", "br0"):
        world.namespace.run(["sysctl", "-qw", f"net.ipv6.conf.{which}.disable_ipv6=0"])
    ip("addr", "add", f"{own}/64", "dev", "br0", "nodad")
    ipv6 = ("--ipv6", "--subnet=fd00:61::/64", "--ipam-opt=allocator=range")
    try:
        text = world.refused(*BRIDGE, SUBNET, f"--gateway={HOST}", *ipv6)
        assert f"--gateway={own} --aux-address=DefaultGatewayIPv6=fd00:61::1" in text
        assert f" {own}/64 " in ip("-6", "-o", "addr", "show", "dev", "br0")

        world.create(*BRIDGE, SUBNET, f"--gateway={HOST}", *ipv6, f"--gateway={own}")

        assert f" {own}/64 " in ip("-6", "-o", "addr", "show", "dev", "br0")
    finally:
        world.host.engine.tidy()
        ip("-6", "addr", "flush", "dev", "br0")


def documented(page: str, section: str) -> list[list[str]]:
    """The ``docker network create`` commands of a section, in this lab's words."""
    text = (ROOT / page).read_text()
    body = text[text.index(section) :]
    body = body[: body.find("\n## ", len(section))]
    found = []
    for command in _COMMAND.findall(body):
        words = shlex.split(command.replace("\\\n", " "))[1:]
        found.append([_THEIRS.sub(lambda match: _OURS[match[0]], word) for word in words])
    return found


@pytest.mark.parametrize("number", [0, 1])
def test_the_commands_of_the_documentation_leave_the_host_on_its_lan(
    world: OnBridge, number: int
) -> None:
    commands = documented("docs/operate/networks.md", "## Bridges")
    assert [each[3] for each in commands] == ["macvlan", "bridge"]
    world.host.engine.docker(*commands[number])
    world.is_well()
    end = world.reaches()
    world.is_well()
    world.lan.gateway.ping(end.address)
    found = findings(world.host)
    assert not {"gateway-mismatch", "bridge-way-out", "bridge-took-router"} & found.keys()
    assert "mismatch" not in world.host.driver.log(), "no lease says that the router is wrong"
    world.host.engine.rm("one")
    world.host.engine.network_rm("lan")
    world.is_well()


def test_a_given_gateway_goes_to_macvlan_as_ever(world: OnBridge) -> None:
    world.create(*MACVLAN, SUBNET, PARENT, ROUTER)
    world.reaches()
    world.is_well()


def test_the_host_as_the_containers_way_out_is_left_as_it_is_and_told(world: OnBridge) -> None:
    world.create(*BRIDGE, SUBNET, PARENT, f"--gateway={HOST}")
    world.is_well()
    found = findings(world.host)
    assert f"names the router {SITE.router}" in found["bridge-way-out"].found
    assert "gateway-mismatch" not in found


@contextmanager
def off_its_lan(world: OnBridge, *options: str) -> Iterator[None]:
    """Docker takes the host's address away, as D4D can't tell; put back at the end."""
    world.create(*BRIDGE, SUBNET, PARENT, *options)
    try:
        yield
    finally:
        world.host.engine.tidy()
        world.put_right()


def test_a_bridge_that_took_the_router_is_found_and_the_way_back_is_one(world: OnBridge) -> None:
    with off_its_lan(world, ROUTER):
        assert world.state()[0] == [f"{SITE.router}/16"], "the host is off its LAN"
        finding = findings(world.host)["bridge-took-router"]
        assert finding.severity == "error"
        assert f"br0 has the address {SITE.router} (Docker's network lan" in finding.found
        assert f"{world.lan.gateway.mac()} answers for it, too" in finding.found
        world.host.engine.network_rm("lan")
        assert "bridge-took-router" in findings(world.host), "it stays so without the network"
        for command in re.findall(r"`ip (.*?)`", finding.remedy):
            world.namespace.ip(*command.replace("HOST", HOST).split())
        assert "bridge-took-router" not in findings(world.host)
        world.namespace.ping(SITE.router)


def test_a_bridge_whose_router_is_off_is_a_question(world: OnBridge) -> None:
    world.lan.gateway.ip("link", "set", "eth0", "down")
    try:
        with off_its_lan(world, ROUTER):
            found = findings(world.host)
            assert "bridge-took-router" not in found
            assert "this host has no default route" in found["bridge-is-router"].found
            assert found["bridge-is-router"].remedy.startswith("if this host is the router")
    finally:
        world.lan.gateway.ip("link", "set", "eth0", "up")


def test_a_host_that_is_the_router_is_left_alone() -> None:
    """Its bridge has the address by right, it goes out elsewhere, and nobody else answers."""
    with Lab() as lab:
        inner, outer = lab.switch(), lab.switch("outer")
        lab.machine("upstream", outer, "192.0.2.1/24")
        machine = lab.machine("server", inner, f"{SITE.subnet[1]}/16")
        lab.server(Dhcpd, machine, SITE).start()
        host = lab.host("host1", inner, f"{SITE.router}/16")
        bridge_up(host.namespace, f"{SITE.router}/16")
        outer.join(host.namespace, "192.0.2.2/24", interface="eth1")
        host.namespace.ip("route", "add", "default", "via", "192.0.2.1")
        host.start()
        host.engine.network_create("lan", *BRIDGE, SUBNET, PARENT, f"--gateway={SITE.router}")
        found = findings(host)
        assert not {code for code in found if code.startswith(("bridge-", "gateway-"))}
        text = host.namespace.ip("-4", "-o", "addr", "show", "dev", "br0")
        assert f" {SITE.router}/16 " in text


def test_which_interfaces_are_bridges_is_the_kernels_word() -> None:
    """Those that Docker's bridge driver takes: no bond, no VLAN on a bridge, no port of one."""
    with Lab() as lab:
        machine = lab.machine("host", lab.switch(), "10.77.0.2/16")
        bridge_up(machine, "10.77.0.2/16")
        for words in (
            ("link", "add", "link", "br0", "name", "shim", "type", "macvlan", "mode", "bridge"),
            ("link", "add", "veth0", "type", "veth", "peer", "name", "veth1"),
            ("link", "add", "br1", "type", "bridge"),
            ("addr", "add", "10.78.0.2/16", "dev", "shim"),
        ):
            machine.ip(*words)
        for words in (
            ("link", "add", "link", "br0", "name", "br0.20", "type", "vlan", "id", "20"),
            ("link", "add", "bond0", "type", "bond"),
        ):
            with suppress(LabError):  # a kernel may have none of these
                machine.ip(*words)
        there = machine.within(Interfaces().all)
        assert {each.name for each in there if each.is_bridge} == {"br0", "br1"}

        def bridge_of(parent: str | None, subnet: str) -> str | None:
            found = machine.within(partial(Interfaces().bridge_of, parent, ip_network(subnet)))
            return found.name if found else None

        assert bridge_of("br0", "10.77.0.0/16") == "br0"
        assert bridge_of("eth0", "10.77.0.0/16") == "br0", "a port: its bridge is in the subnet"
        assert bridge_of(None, "10.77.64.0/24") == "br0"
        assert bridge_of("br1", "10.79.0.0/16") == "br1"
        assert bridge_of("shim", "10.78.0.0/16") is None
        assert bridge_of("br0.20", "10.79.0.0/16") is None
        assert bridge_of("bond0", "10.79.0.0/16") is None
        assert bridge_of("veth0", "10.79.0.0/16") is None
        assert bridge_of("gone", "10.79.0.0/16") is None


_OTHER = IPv4Network("10.79.0.0/16")
ELSEWHERE = Site(
    subnet=_OTHER,
    first=_OTHER[256],
    last=_OTHER[1000],
    router=_OTHER[254],
    dns=_OTHER[1],
    lease_time=SITE.lease_time,
)


def test_the_readmes_command_without_subnet_works_where_it_says_so(world: OnBridge) -> None:
    """On an interface where the host has no address; on one where it has, it is refused."""
    (command,) = (
        words
        for words in documented("README.md", "## Run it on your Docker host")
        if not any(word.startswith("--subnet") for word in words)
    )
    lab, namespace = world.lan.lab, world.namespace
    switch = lab.switch("only-containers")
    lab.machine("router2", switch, f"{ELSEWHERE.router}/16")
    server = lab.server(Dhcpd, lab.machine("server2", switch, f"{_OTHER[1]}/16"), ELSEWHERE)
    server.start()
    switch.join(namespace, interface="eth1")
    words = [word.replace("enp0s9", "eth1") for word in command]
    name = words[-1]
    try:
        namespace.ip("addr", "add", f"{_OTHER[7]}/16", "dev", "eth1")
        with pytest.raises(LabError, match=f"give --subnet={_OTHER}"):
            world.host.engine.docker(*words)
        namespace.ip("addr", "flush", "dev", "eth1")

        world.host.engine.docker(*words)

        end = world.host.engine.run("one", network=name)
        leased_to(server, end)
        assert f"default via {ELSEWHERE.router}" in world.host.engine.exec("one", "ip", "route")
        world.host.engine.ping("one", ELSEWHERE.router)
    finally:
        world.host.engine.tidy()
        namespace.ip("link", "del", "eth1")
