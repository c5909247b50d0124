"""Which way the DHCP servers of a pool are reached."""

from ipaddress import IPv4Address, IPv4Network

import pytest

from d4d.adapters.dhcp.routes import Route, Routes
from d4d.domain.errors import BadRequest
from d4d.domain.policies import Mode
from d4d.domain.pools import PoolOptions
from tests.support.fake_dhcp_server import FakeInterfaces, interface

NET = IPv4Network("10.77.0.0/16")
ELSEWHERE = IPv4Network("192.168.59.0/24")
ON_LINK, FAR = IPv4Address("10.77.0.1"), IPv4Address("10.88.0.1")

HOST = FakeInterfaces(
    [
        interface("eth0", "10.77.0.9/16", index=2),
        interface("eth1", index=3, mac=None),
        interface("eth2", "10.99.0.9/24", index=4),
    ]
)


def routes(
    *,
    servers: tuple[IPv4Address, ...] = (),
    mode: Mode = Mode.AUTO,
    parent: str | None = None,
    listen_addr: IPv4Address | None = None,
) -> Routes:
    return Routes(
        interfaces=HOST, servers=servers, mode=mode, parent=parent, listen_addr=listen_addr
    )


def way(made: Routes, subnet: IPv4Network | None = NET, **options: str) -> Route:
    resolved = made.resolve(PoolOptions.parse(options), subnet)
    return made.route(resolved, subnet)


# The parent


def test_the_parent_is_the_interface_that_stands_in_the_subnet() -> None:
    assert way(routes()) == Route(parent="eth0")


def test_the_networks_parent_wins_over_the_settings_and_that_over_the_subnet() -> None:
    assert way(routes(parent="eth2")).parent == "eth2"
    assert way(routes(parent="eth2"), parent="eth1").parent == "eth1"


def test_the_resolved_options_say_the_parent() -> None:
    assert routes().resolve(PoolOptions(), NET) == PoolOptions(parent="eth0")


def test_a_parent_that_is_not_there_is_refused_with_those_that_are() -> None:
    with pytest.raises(BadRequest, match=r"no interface 'eth9' .* it has eth0, eth1, eth2"):
        way(routes(), parent="eth9")


def test_a_subnet_that_no_interface_stands_in_needs_a_parent() -> None:
    with pytest.raises(BadRequest, match=r"name it with --ipam-opt parent=eth0, .*D4D_PARENT"):
        way(routes(), ELSEWHERE)
    assert way(routes(), ELSEWHERE, parent="eth1") == Route(parent="eth1")


def test_without_subnet_and_parent_nothing_can_be_learnt() -> None:
    with pytest.raises(BadRequest, match="neither --subnet nor a parent is known"):
        way(routes(), None)
    assert way(routes(parent="eth0"), None) == Route(parent="eth0")


# Layer 2, or relay


def test_a_server_on_the_wire_is_asked_there() -> None:
    assert way(routes(servers=(ON_LINK,))) == Route(parent="eth0", servers=(ON_LINK,))


def test_a_server_behind_a_router_is_asked_as_a_relay() -> None:
    route = way(routes(servers=(FAR,)))
    assert route == Route(parent="eth0", servers=(FAR,), giaddr=IPv4Address("10.77.0.9"))
    assert route.is_relay
    assert str(route) == "10.77.0.9 -> 10.88.0.1"


def test_one_server_on_the_wire_is_enough_for_layer_2() -> None:
    assert not way(routes(servers=(FAR, ON_LINK))).is_relay


def test_the_networks_server_wins_also_where_it_is_any() -> None:
    assert way(routes(servers=(FAR,)), server="10.77.0.1").servers == (ON_LINK,)
    assert way(routes(servers=(FAR,)), server="0.0.0.0") == Route(parent="eth0")


def test_the_mode_can_be_forced() -> None:
    assert way(routes(servers=(ON_LINK,), mode=Mode.RELAY)).is_relay
    assert not way(routes(servers=(FAR,), mode=Mode.L2)).is_relay
    assert way(routes(servers=(ON_LINK,)), mode="relay").is_relay
    assert not way(routes(servers=(FAR,), mode=Mode.RELAY), mode="l2").is_relay


def test_a_relay_must_know_its_server() -> None:
    with pytest.raises(BadRequest, match="mode=relay needs to know the DHCP server"):
        way(routes(mode=Mode.RELAY))


def test_a_relay_needs_no_parent() -> None:
    route = way(routes(servers=(FAR,)), ELSEWHERE)
    assert route == Route(
        parent=None,
        servers=(FAR,),
        giaddr=IPv4Address("192.0.2.9"),  # what the kernel would send from
        link_selection=ELSEWHERE.network_address,
    )


def test_a_relay_speaks_from_the_listen_address_and_selects_the_subnet() -> None:
    route = way(routes(servers=(FAR,), listen_addr=IPv4Address("10.99.0.9")))
    assert route.giaddr == IPv4Address("10.99.0.9")
    assert route.link_selection == NET.network_address


def test_a_relay_speaks_from_its_parents_address_where_none_is_in_the_subnet() -> None:
    route = way(routes(servers=(FAR,)), ELSEWHERE, parent="eth2")
    assert route.giaddr == IPv4Address("10.99.0.9")


# What is unique of this host


def test_the_anchor_is_the_parents_mac_or_the_relays_address() -> None:
    made = routes()
    assert made.anchor(Route(parent="eth0")) == bytes.fromhex("02000000000e")
    assert made.anchor(Route(parent=None, giaddr=ON_LINK)) == ON_LINK.packed
    assert made.anchor(Route(parent="eth1", giaddr=ON_LINK)) == ON_LINK.packed
    assert made.anchor(Route(parent="eth1")) == b""
