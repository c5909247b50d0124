"""The host's interfaces in a network namespace: one look for all who ask, and never an old one."""

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from d4d.adapters.network.interfaces import Interface, Interfaces, find_interfaces
from lab.network import inside
from tests.integration.dhcp.test_layer2_link import cable, namespaces, run

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root")


class Host:
    """A host of interfaces, and how often they were looked at."""

    def __init__(self, namespace: str) -> None:
        self.namespace = namespace
        self.looks = 0
        self.interfaces = Interfaces(self._look)

    def _look(self) -> list[Interface]:
        self.looks += 1
        return find_interfaces()

    def ip(self, command: str) -> None:
        run("ip", "-n", self.namespace, *command.split())

    def named(self, name: str) -> Interface | None:
        return next((each for each in self.interfaces.all() if each.name == name), None)


@pytest.fixture
def host() -> Iterator[Host]:
    with namespaces("host", "far") as (name, far):
        cable(name, "eth0", far, "eth0")
        with inside(name):
            yield Host(name)


def test_two_hundred_that_wait_for_a_parent_are_served_by_one_look(host: Host) -> None:
    host.interfaces.all()
    before = host.looks
    for _ in range(200):
        for _ in range(13):
            assert host.named("eth7") is None
    assert host.looks - before < 10  # of 2,600; eth0 has only just come up


Check = Callable[[Interface | None], bool]


@pytest.mark.parametrize(
    ("command", "name", "check"),
    [
        ("link add eth7 type veth peer name there", "eth7", lambda it: it is not None),
        ("link del eth0", "eth0", lambda it: it is None),
        ("link set eth0 down", "eth0", lambda it: not it.is_up),
        ("link set eth0 address 02:00:00:77:00:99", "eth0", lambda it: it.mac.hex()[-4:] == "0099"),
        ("addr add 10.77.0.9/16 dev eth0", "eth0", lambda it: len(it.addresses) == 1),
        ("addr add 2001:db8::9/64 dev eth0 nodad", "eth0", lambda it: len(it.addresses6) == 1),
    ],
)
def test_what_changed_is_seen_by_the_next_who_asks(
    host: Host, command: str, name: str, check: Check
) -> None:
    assert not check(host.named(name) if name == "eth7" else host.named("eth0"))
    host.ip(command)
    assert check(host.named(name))


def test_what_changed_while_more_happened_than_is_remembered_is_seen(host: Host) -> None:
    host.interfaces.all()
    batch = "link set eth0 alias a\nlink set eth0 alias b\n" * 2000
    subprocess.run(("ip", "-n", host.namespace, "-batch", "-"), input=batch.encode(), check=True)
    host.ip("link set eth0 address 02:00:00:77:00:99")
    seen = host.named("eth0")
    assert seen is not None
    assert str(seen.mac) == "02:00:00:77:00:99"
    before = host.looks
    for _ in range(10):
        host.interfaces.all()
    assert host.looks - before <= 2  # once for what stood behind the error


def test_a_veth_is_no_network_card(host: Host) -> None:
    seen = host.named("eth0")
    assert seen is not None
    assert seen.mac is not None
    assert seen.hardware_mac is None


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_its_socket_goes_with_it(host: Host) -> None:
    interfaces = Interfaces()
    before = descriptors()
    interfaces.all()
    assert descriptors() == before + 1
    del interfaces
    assert descriptors() == before
