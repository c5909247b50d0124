from ipaddress import ip_address, ip_network

import pytest

from d4d.domain.addressing import Address, Subnet
from d4d.domain.errors import BadRequest
from d4d.domain.pools import Pool, PoolOptions, PoolRecord
from d4d.service_layer.pool_registry import PoolRegistry

LAN = ip_network("192.168.59.0/24")


def subnet_at(network_address: Address) -> Subnet | None:
    """The host has one interface, in 192.168.59.0/24."""
    return LAN if network_address == LAN.network_address else None


@pytest.fixture
def table() -> PoolRegistry:
    return PoolRegistry(allocators={}, default_allocator="dhcp", subnet_at=subnet_at)


def test_the_seeds_pool_id_is_the_subnet_of_the_interface_with_that_address(
    table: PoolRegistry,
) -> None:
    assert table.parse("192.168.59.0") == Pool(subnet=LAN)


def test_a_bare_address_of_no_interface_is_no_pool(table: PoolRegistry) -> None:
    with pytest.raises(BadRequest, match="no prefix length"):
        table.parse("192.168.60.0")
    assert table.find("192.168.60.0") is None


def test_the_seeds_pool_id_finds_the_pool_that_is_used_by_now(table: PoolRegistry) -> None:
    holdings = table.add(PoolRecord(pool=Pool(subnet=LAN), users=1))
    assert table.find("192.168.59.0") is holdings


def test_a_pool_is_found_though_another_router_was_learnt_for_it(table: PoolRegistry) -> None:
    options = PoolOptions(parent="eth0")
    before = Pool(subnet=LAN, gateway=ip_address("192.168.59.1"), options=options)
    now = Pool(subnet=LAN, gateway=ip_address("192.168.59.254"), options=options)
    holdings = table.add(PoolRecord(pool=now, users=1))
    assert table.find(before.id) is holdings
    assert table.find(Pool(subnet=LAN, options=PoolOptions(parent="eth1")).id) is None
