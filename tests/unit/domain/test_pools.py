"""Pools that print and parse back, and what they contain."""

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from d4d.domain.addressing import parse_address, parse_subnet
from d4d.domain.errors import BadRequest
from d4d.domain.policies import Mode
from d4d.domain.pools import Pool, PoolOptions, PoolRequest, parse_servers

SUBNET = IPv4Network("192.168.59.0/24")
RANGE = IPv4Network("192.168.59.16/28")
V6 = IPv6Network("2001:db8::/64")

# Ids


def test_a_pool_prints_as_its_subnet_and_all_that_serves_it() -> None:
    assert Pool(subnet=SUBNET).id == "192.168.59.0/24"
    pool = Pool(
        subnet=SUBNET,
        range=RANGE,
        gateway=IPv4Address("192.168.59.1"),
        options=PoolOptions(
            parent="enp0s8",
            allocator="dhcp",
            server=(IPv4Address("192.168.59.203"), IPv4Address("192.168.59.204")),
            mode=Mode.RELAY,
        ),
    )
    assert pool.id == (
        "192.168.59.0/24?range=192.168.59.16/28&gateway=192.168.59.1"
        "&parent=enp0s8&allocator=dhcp&server=192.168.59.203,192.168.59.204&mode=relay"
    )
    assert Pool.parse(pool.id) == pool


v4_subnets = st.builds(
    lambda number, length: ip_network((number, length), strict=False),
    st.integers(0, 2**32 - 1),
    st.integers(0, 32),
)
v4 = st.integers(0, 2**32 - 1).map(IPv4Address)
v6 = st.integers(0, 2**128 - 1).map(IPv6Address)
options = st.builds(
    PoolOptions,
    parent=st.none() | st.text(min_size=1),
    allocator=st.none() | st.text(min_size=1),
    server=st.none() | st.lists(v4.filter(int), max_size=3).map(tuple),
    mode=st.none() | st.sampled_from(Mode),
)


@given(
    subnet=v4_subnets | st.just(V6),
    range_=st.none() | v4_subnets,
    gateway=st.none() | v4 | v6,
    options=options,
)
def test_any_pool_parses_back_from_its_id(
    subnet: IPv4Network | IPv6Network,
    range_: IPv4Network | None,
    gateway: IPv4Address | IPv6Address | None,
    options: PoolOptions,
) -> None:
    pool = Pool(subnet=subnet, range=range_, gateway=gateway, options=options)
    assert Pool.parse(pool.id) == pool
    assert pool.id.isascii()


@pytest.mark.parametrize(
    ("pool_id", "said"),
    [
        ("", "pool id '' has no prefix length"),
        ("LocalDefault/192.168.59.0/24", "pool id .* is no CIDR"),
        ("192.168.59.0/24?colour=red", "unknown --ipam-opt 'colour'"),
        ("192.168.59.0/24?mode=telepathy", "unknown mode 'telepathy': known are auto, l2, relay"),
        ("192.168.59.0/24?gateway=here", "gateway 'here' is no IP address"),
        ("192.168.59.0/24?range=192.168.59.16", "range .* has no prefix length"),
    ],
)
def test_an_id_that_is_none_of_ours_is_refused(pool_id: str, said: str) -> None:
    with pytest.raises(BadRequest, match=said):
        Pool.parse(pool_id)


# Options


def test_options_are_read_as_docker_sends_them() -> None:
    read = PoolOptions.parse(
        {"parent": "eth0.100", "server": " 10.0.0.1, 10.0.0.2", "mode": "l2", "allocator": ""}
    )
    servers = (IPv4Address("10.0.0.1"), IPv4Address("10.0.0.2"))
    assert read == PoolOptions(parent="eth0.100", server=servers, mode=Mode.L2)
    assert PoolOptions.parse({}) == PoolOptions()


def test_a_misspelt_option_is_refused_with_the_known_ones() -> None:
    with pytest.raises(
        BadRequest, match="unknown --ipam-opt 'parnet': known are parent, allocator, server, mode"
    ):
        PoolOptions.parse({"parnet": "eth0"})


def test_any_server_is_not_the_same_as_no_word_about_servers() -> None:
    any_server = PoolOptions.parse({"server": "0.0.0.0"})
    assert any_server.server == ()
    assert any_server.as_text() == {"server": "0.0.0.0"}
    assert Pool.parse(Pool(subnet=SUBNET, options=any_server).id).options == any_server
    assert PoolOptions().as_text() == {}


def test_servers_are_read_as_the_seed_wrote_them() -> None:
    assert parse_servers("192.168.59.203") == (IPv4Address("192.168.59.203"),)
    assert parse_servers("0.0.0.0") == ()
    assert parse_servers("") == ()


@pytest.mark.parametrize(
    ("text", "said"),
    [("dhcp.local", "'dhcp.local' is no IP address"), ("10.0.0.1,fe80::1", "'fe80::1' is no IPv4")],
)
def test_a_server_that_is_no_ipv4_address_is_refused(text: str, said: str) -> None:
    with pytest.raises(BadRequest, match=said):
        parse_servers(text)


# Requests


def test_a_subnet_may_be_given_by_any_of_its_addresses() -> None:
    assert parse_subnet("192.168.59.7/24", what="--subnet") == SUBNET


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("192.168.59.0", "has no prefix length: write it as 192.168.59.0/24"),
        ("192.168.59.0/33", "--subnet '192.168.59.0/33' is no CIDR"),
        ("x/24", "--subnet 'x/24' is no CIDR"),
    ],
)
def test_a_subnet_that_is_none_is_refused(text: str, said: str) -> None:
    with pytest.raises(BadRequest, match=said):
        parse_subnet(text, what="--subnet")


def test_an_address_is_read_or_refused() -> None:
    assert parse_address("2001:db8::1", what="--ip") == IPv6Address("2001:db8::1")
    with pytest.raises(BadRequest, match=r"--ip '192\.168\.59\.0/24' is no IP address"):
        parse_address("192.168.59.0/24", what="--ip")


def test_a_range_within_its_subnet_is_taken() -> None:
    assert PoolRequest(subnet=SUBNET, range=RANGE).range == RANGE
    assert PoolRequest(subnet=SUBNET, range=SUBNET).range == SUBNET
    assert PoolRequest(subnet=V6, range=IPv6Network("2001:db8::/80")).subnet == V6


@pytest.mark.parametrize(
    "range_", [IPv4Network("192.168.60.0/28"), IPv4Network("192.168.0.0/16"), V6]
)
def test_a_range_outside_its_subnet_is_refused(range_: IPv4Network | IPv6Network) -> None:
    with pytest.raises(BadRequest, match=r"is not within --subnet 192\.168\.59\.0/24"):
        PoolRequest(subnet=SUBNET, range=range_)


def test_a_range_without_a_subnet_is_refused() -> None:
    with pytest.raises(BadRequest, match="needs a --subnet"):
        PoolRequest(range=RANGE)


# What a pool contains


def test_addresses_come_from_the_range_if_there_is_one() -> None:
    assert Pool(subnet=SUBNET).assignable == SUBNET
    assert Pool(subnet=SUBNET, range=RANGE).assignable == RANGE


def test_a_pool_contains_its_subnet_also_outside_its_range() -> None:
    pool = Pool(subnet=SUBNET, range=RANGE)
    assert IPv4Address("192.168.59.200") in pool
    assert IPv4Address("192.168.60.1") not in pool
    assert IPv6Address("2001:db8::1") not in pool


@pytest.mark.parametrize(
    ("subnet", "address", "is_edge"),
    [
        ("192.168.59.0/24", "192.168.59.0", True),
        ("192.168.59.0/24", "192.168.59.255", True),
        ("192.168.59.0/24", "192.168.59.1", False),
        ("192.168.59.0/30", "192.168.59.3", True),
        ("192.168.59.0/31", "192.168.59.0", False),
        ("192.168.59.0/31", "192.168.59.1", False),
        ("192.168.59.9/32", "192.168.59.9", False),
        ("2001:db8::/64", "2001:db8::", True),
        ("2001:db8::/64", "2001:db8::ffff:ffff:ffff:ffff", False),
        ("2001:db8::/127", "2001:db8::", False),
    ],
)
def test_an_edge_is_what_no_host_may_have(subnet: str, address: str, is_edge: bool) -> None:
    assert Pool(subnet=ip_network(subnet)).is_edge(ip_address(address)) is is_edge


def test_pools_of_one_parent_overlap_where_their_subnets_do() -> None:
    pool = Pool(subnet=SUBNET, options=PoolOptions(parent="eth0"))
    wider = Pool(subnet=IPv4Network("192.168.0.0/16"), options=PoolOptions(parent="eth0"))
    beside = Pool(subnet=IPv4Network("192.168.60.0/24"), options=PoolOptions(parent="eth0"))
    assert pool.overlaps(wider)
    assert wider.overlaps(pool)
    assert not pool.overlaps(beside)
    assert not pool.overlaps(Pool(subnet=V6, options=PoolOptions(parent="eth0")))


def test_pools_of_different_parents_do_not_overlap() -> None:
    pool = Pool(subnet=SUBNET, options=PoolOptions(parent="eth0"))
    assert not pool.overlaps(Pool(subnet=SUBNET, options=PoolOptions(parent="eth1")))


def test_an_address_is_told_with_its_subnets_prefix_length() -> None:
    assert Pool(subnet=SUBNET, range=RANGE).cidr(IPv4Address("192.168.59.17")) == "192.168.59.17/24"
