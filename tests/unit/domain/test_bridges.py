"""On a bridge of the host's nobody but the user says which gateway a network has.

What Docker does with an answer is tested in tests/integration/test_bridges.py.
"""

from collections.abc import AsyncIterator
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Interface, IPv6Address, IPv6Interface, ip_network

import pytest

from d4d.adapters.network.interfaces import Interface
from d4d.domain.bridges import Bridge
from d4d.domain.errors import BadRequest
from d4d.domain.pools import Pool, PoolOptions, PoolRecord
from d4d.entrypoints.docker_plugin.messages import pool_answer
from tests.support.driver_harness import Driver
from tests.support.fake_dhcp_server import FakeInterfaces, interface

VIRTUAL_TIME = True

NET = "10.77.0.0/16"
ROUTER, HOST = IPv4Address("10.77.0.254"), "10.77.0.3"
BR0 = interface("br0", f"{HOST}/16", index=3, is_bridge=True)
BARE = interface("br0", index=3, is_bridge=True)
ELSEWHERE = interface("br0", "192.168.1.2/24", index=3, is_bridge=True)
ETH1 = interface("eth1", index=4)
MACVLAN = (
    f"docker network create -d macvlan -o parent=br0 --subnet={NET} --ipam-opt parent=br0 "
    f"--gateway={ROUTER} --ipam-driver=talkingdata NAME"
)
BRIDGED = (
    f"docker network create -d bridge -o com.docker.network.bridge.name=br0 --subnet={NET} "
    f"--ipam-opt parent=br0 --gateway={HOST} --aux-address=DefaultGatewayIPv4={ROUTER} "
    f"--ipam-driver=talkingdata NAME"
)


@pytest.fixture
async def driver() -> AsyncIterator[Driver]:
    """Of a host with a bridge, whose DHCP server names a router."""
    made = Driver()
    made.allocator.router = ROUTER
    made.interfaces.there = [BR0, ETH1]
    async with made:
        yield made


def on(driver: Driver, *interfaces: Interface) -> None:
    driver.interfaces.there = list(interfaces)


def handed_out(pool: str) -> bool:
    """Whether Docker would hear of a gateway in the answer to RequestPool."""
    return bool(pool_answer(Pool.parse(pool))["Data"]) or "gateway" in pool


async def test_a_learnt_gateway_is_in_no_answer_on_a_bridge(driver: Driver) -> None:
    assert not handed_out(await driver.pool(NET, parent="br0"))
    with pytest.raises(BadRequest) as refusal:
        await driver.gateway(await driver.pool(NET, parent="br0"))
    text = str(refusal.value)
    assert text.startswith("no --gateway is given, and br0 is a bridge of this host")
    assert f"would put the gateway {ROUTER} on br0 in place of this host's {HOST}" in text
    assert f"`{MACVLAN}`" in text
    assert f"`{BRIDGED}`" in text


async def test_a_given_gateway_is_had_as_ever(driver: Driver) -> None:
    pool = await driver.pool(NET, parent="br0")
    assert await driver.gateway(pool, str(ROUTER)) == f"{ROUTER}/16"
    assert await driver.gateway(pool, HOST) == f"{HOST}/16"
    assert await driver.auxiliary(pool, str(ROUTER)) == f"{ROUTER}/16"


async def test_a_router_that_is_an_auxiliary_address_is_no_mismatch(driver: Driver) -> None:
    """So a network of the bridge driver is made; the advice would be the outage."""
    pool = await driver.pool(NET, parent="br0")
    await driver.gateway(pool, HOST)
    driver.allocator.terms_routers = (ROUTER,)
    await driver.auxiliary(pool, str(ROUTER))
    await driver.run(pool, "02:42:0a:4d:10:01")
    assert "mismatch" not in [event.kind.value for event in driver.events.all]


async def test_where_no_subnet_is_given_no_gateway_can_be_and_the_pool_is_refused(
    driver: Driver,
) -> None:
    driver.allocator.learns = ip_network(NET)
    with pytest.raises(BadRequest, match="no --gateway is given") as refusal:
        await driver.pool(None, parent="br0")
    assert MACVLAN in str(refusal.value)
    assert driver.ipam.pools == []


@pytest.mark.parametrize(
    ("there", "options"),
    [
        ([BARE], {"parent": "br0"}),
        ([ELSEWHERE], {"parent": "br0"}),
        ([BR0], {}),  # as of the range allocator, and of a relay, whose pools name no parent
        ([BR0, ETH1], {"parent": "eth1"}),
        ([ETH1, BR0], {"parent": "br0.20"}),
        ([interface("br0", f"{HOST}/24", is_bridge=True)], {}),
    ],
    ids=["bare", "elsewhere", "no parent", "another parent", "vlan on it", "narrower"],
)
async def test_a_bridge_that_the_network_may_stand_on_is_seen(
    driver: Driver, there: list[Interface], options: dict[str, str]
) -> None:
    on(driver, *there)
    pool = await driver.pool(NET, **options)
    assert not handed_out(pool)
    with pytest.raises(BadRequest, match="br0 is a bridge of this host"):
        await driver.gateway(pool)


@pytest.mark.parametrize(
    "there",
    [
        [interface("eth1", f"{HOST}/16")],
        [interface("eth1"), interface("br9", "192.168.1.2/24", is_bridge=True)],
        [],
    ],
    ids=["no bridge", "a bridge of another network", "nothing"],
)
async def test_where_no_bridge_is_concerned_the_router_is_the_gateway(
    driver: Driver, there: list[Interface]
) -> None:
    on(driver, *there)
    pool = await driver.pool(NET, parent="eth1")
    assert handed_out(pool)
    assert await driver.gateway(pool) == f"{ROUTER}/16"


async def test_a_pool_of_before_hands_its_gateway_out_no_more(driver: Driver) -> None:
    """A D4D that learnt routers on bridges stored them, and Docker has them in pool ids."""
    old = Pool(subnet=ip_network(NET), gateway=ROUTER, options=PoolOptions(parent="br0"))
    await driver.store.save_pool(PoolRecord(pool=old, users=1), driver.owner)
    await driver.restart()

    new = await driver.pool(NET, parent="br0")

    assert not handed_out(new)
    for pool_id in (new, old.id):
        with pytest.raises(BadRequest, match=f"the gateway {ROUTER} on br0"):
            await driver.gateway(pool_id)
    one = await driver.run(new, "02:42:0a:4d:10:01")
    two = await driver.run(old.id, "02:42:0a:4d:10:02")
    assert one != two, "both ids are of one pool"
    await driver.ipam.release_pool(new)
    (record,) = driver.ipam.pools
    assert (record.pool, record.users) == (old, 1)


async def test_a_pool_that_is_rebuilt_from_its_id_hands_none_out_either(driver: Driver) -> None:
    pool = f"{NET}?gateway={ROUTER}&parent=br0"
    with pytest.raises(BadRequest, match="no --gateway is given"):
        await driver.gateway(pool)


async def test_an_interface_that_is_made_a_bridge_is_one_from_then_on(driver: Driver) -> None:
    on(driver, interface("br0", f"{HOST}/16"))
    pool = await driver.pool(NET, parent="br0")
    assert await driver.gateway(pool) == f"{ROUTER}/16"
    on(driver, BR0)
    with pytest.raises(BadRequest, match="br0 is a bridge"):
        await driver.gateway(pool)


async def test_what_is_not_known_is_asked_for(driver: Driver) -> None:
    driver.allocator.router = None
    on(driver, BARE)
    with pytest.raises(BadRequest) as refusal:
        await driver.gateway(await driver.pool(NET, parent="br0"))
    text = str(refusal.value)
    assert "ROUTER is the site's router, HOST is this host's own address on br0" in text
    assert "--gateway=HOST --aux-address=DefaultGatewayIPv4=ROUTER" in text
    assert "would put the gateway on br0 in place of what address it has" in text


async def test_what_was_asked_for_is_in_the_commands(driver: Driver) -> None:
    pool = await driver.pool(NET, "10.77.64.0/24", parent="br0", server="10.77.0.1", mode="l2")
    with pytest.raises(BadRequest) as refusal:
        await driver.gateway(pool)
    for option in ("--ip-range=10.77.64.0/24", "--ipam-opt server=10.77.0.1", "--ipam-opt mode=l2"):
        assert str(refusal.value).count(option) == 2


async def test_ipv6_is_no_other_matter(driver: Driver) -> None:
    """Docker takes the host's IPv6 address away in the same way, and shares nothing of IPv4's."""
    first, own = IPv6Address("fd00:61::1"), IPv6Interface("fd00:61::3/64")
    driver.allocator.router = first
    on(driver, replace(BR0, addresses6=(own,)))
    pool = await driver.pool("fd00:61::/64")
    assert not handed_out(pool)
    with pytest.raises(BadRequest) as refusal:
        await driver.gateway(pool)
    text = str(refusal.value)
    assert f"would put the gateway {first} on br0 in place of this host's {own.ip}" in text
    assert f"--gateway={own.ip} --aux-address=DefaultGatewayIPv6={first}" in text
    assert text.count("--ipv6 --subnet=fd00:61::/64") == 2
    on(driver, BR0)
    assert handed_out(await driver.pool("fd00:62::/64")), "br0 has no address there"


def test_a_host_that_is_the_router_is_told_so() -> None:
    bridge = Bridge(name="br0", address=IPv4Interface(f"{ROUTER}/16"))
    with pytest.raises(BadRequest) as refusal:
        bridge.refuse(Pool(subnet=ip_network(NET)), router=ROUTER, driver="d4d")
    text = str(refusal.value)
    assert "lose" not in text
    assert "DefaultGatewayIPv4" not in text
    assert text.count(f"--gateway={ROUTER} --ipam-driver=d4d") == 2


def test_of_several_bridges_the_parent_goes_first() -> None:
    there = FakeInterfaces([BR0, interface("br1", "10.77.0.4/16", is_bridge=True)])
    found = there.bridge_of("br1", ip_network(NET))
    assert found == Bridge(name="br1", address=IPv4Interface("10.77.0.4/16"))
