"""What a container is to DHCP servers, and that it stays so."""

from collections.abc import Iterator
from ipaddress import IPv4Network
from pathlib import Path

import pytest

from d4d.adapters.dhcp.identities import Identities
from d4d.adapters.dhcp.policy import DhcpPolicy
from d4d.adapters.dhcp.routes import Route, Routes
from d4d.adapters.system.state_directory import StateDirectory
from d4d.domain.addressing import MacAddress
from d4d.domain.leases import Endpoint
from d4d.domain.pools import Pool, PoolOptions
from tests.support.fake_dhcp_server import FakeInterfaces, interface

BRIDGE = "br0"
POOL = Pool(subnet=IPv4Network("10.77.0.0/16"), options=PoolOptions(parent=BRIDGE))
MAC, OTHER_MAC = "02:00:00:00:00:0e", "02:00:00:00:00:0a"
WEB = Endpoint(mac=MacAddress.parse("02:42:0a:4d:10:01"), name="web")
WEB_AGAIN = Endpoint(mac=MacAddress.parse("02:42:0a:4d:10:02"), name="web")


class Host:
    """A host whose parent is a bridge, and a driver on it."""

    def __init__(self, directory: Path) -> None:
        self.interfaces = FakeInterfaces([])
        self.bridge_has(MAC)
        self._directory = directory
        self._state = StateDirectory(directory)
        self.start()

    def start(self) -> None:
        self._state.lock()
        routes = Routes(interfaces=self.interfaces, keep_anchor=self._state.anchor)
        self._identities = Identities(routes, DhcpPolicy(host="host-a"))

    def stop(self) -> None:
        self._state.close()

    def bridge_has(self, mac: str) -> None:
        self.interfaces.there[:] = [interface(BRIDGE, "10.77.0.9/16", mac=mac)]

    def client_id(self, endpoint: Endpoint) -> bytes:
        route = Route(parent=BRIDGE)
        identity = self._identities.of(POOL, endpoint, route, is_anothers=lambda _: False)
        assert identity.client_id is not None
        return identity.client_id


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    made = Host(tmp_path)
    yield made
    made.stop()


def test_a_bridge_that_takes_a_ports_mac_does_not_move_the_client_id(host: Host) -> None:
    before = host.client_id(WEB)
    host.bridge_has(OTHER_MAC)
    assert host.client_id(WEB_AGAIN) == before


def test_nor_does_it_while_the_driver_is_down(host: Host) -> None:
    before = host.client_id(WEB)
    host.stop()
    host.bridge_has(OTHER_MAC)
    host.start()
    assert host.client_id(WEB_AGAIN) == before


def test_a_driver_that_is_upgraded_goes_on_with_the_ids_that_it_gave(host: Host) -> None:
    routes = Routes(interfaces=host.interfaces)  # as it was before anchors were kept
    identities = Identities(routes, DhcpPolicy(host="host-a"))
    old = identities.of(POOL, WEB, Route(parent=BRIDGE), is_anothers=lambda _: False)
    assert host.client_id(WEB) == old.client_id
