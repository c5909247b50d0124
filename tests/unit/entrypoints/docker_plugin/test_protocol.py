"""The checklist of Docker's plugin protocol, point by point, in the bodies that engines send."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from ipaddress import IPv4Address
from pathlib import Path

import httpx
import pytest

from d4d.domain.errors import NoAddress, StoreUnavailable
from d4d.domain.leases import LeaseState
from d4d.entrypoints.docker_plugin.app import create_calls_app, driver_of, expect
from tests.support.fake_dockerd import Docker, started
from tests.support.fake_ports import LINK_DOWN
from tests.support.virtual_time import settle

VIRTUAL_TIME = True

REQUEST_POOL = (
    '{"AddressSpace":"d4d-local","Pool":"192.168.60.0/24","SubPool":"","Options":%s,"V6":false}\n'
)
POOL = "192.168.60.0/24"
GATEWAY = (
    f'{{"PoolID":"{POOL}","Address":"192.168.60.1",'
    '"Options":{"RequestAddressType":"com.docker.network.gateway"}}\n'
)
GATEWAY_NOT_GIVEN = (
    f'{{"PoolID":"{POOL}","Address":"",'
    '"Options":{"RequestAddressType":"com.docker.network.gateway"}}\n'
)
AUXILIARY = f'{{"PoolID":"{POOL}","Address":"192.168.60.70","Options":null}}\n'
CONTAINER = (
    f'{{"PoolID":"{POOL}","Address":"",'
    '"Options":{"com.docker.network.endpoint.macaddress":"02:42:b9:d4:03:fb"}}\n'
)
NAMED_CONTAINER = (
    f'{{"PoolID":"{POOL}","Address":"",'
    '"Options":{"com.docker.network.endpoint.macaddress":"0e:a2:bc:e5:f4:cd",'
    '"com.docker.network.endpoint.name":"pbc1"}}\n'
)
CONTAINER_WITHOUT_MAC = f'{{"PoolID":"{POOL}","Address":"","Options":null}}\n'
RELEASE_POOL = f'{{"PoolID":"{POOL}"}}\n'


def with_ip(address: str, mac: str = "02:42:b9:d4:03:aa") -> str:
    return (
        f'{{"PoolID":"{POOL}","Address":"{address}",'
        f'"Options":{{"com.docker.network.endpoint.macaddress":"{mac}"}}}}\n'
    )


def release(address: str) -> str:
    return f'{{"PoolID":"{POOL}","Address":"{address}"}}\n'


@pytest.fixture
async def docker(tmp_path: Path) -> AsyncIterator[Docker]:
    async with started(Docker(tmp_path)) as engine:
        yield engine


@pytest.fixture
async def network(docker: Docker) -> Docker:
    await docker.ask("RequestPool", REQUEST_POOL % "{}")
    return docker


# 1. HTTP


@pytest.mark.parametrize("host", ["", "plugin.moby.localhost", "%2Frun%2Fdocker"])
async def test_1_any_host_is_served(docker: Docker, host: str) -> None:
    response = await docker.post("Plugin.Activate", Host=host)
    assert response.status_code == 200


async def test_1_every_answer_announces_that_the_connection_closes(docker: Docker) -> None:
    for call, body in [
        ("Plugin.Activate", ""),
        ("IpamDriver.RequestPool", REQUEST_POOL % "{}"),
        ("IpamDriver.RequestPool", ""),
        ("IpamDriver.NoSuchCall", "{}"),
    ]:
        response = await docker.post(call, body)
        assert response.headers["connection"] == "close"
        assert response.headers["content-type"] == "application/vnd.docker.plugins.v1.1+json"
        assert int(response.headers["content-length"]) == len(response.content)


async def test_1_no_close_is_announced_where_connections_are_kept_until_the_end() -> None:
    ending = asyncio.Event()
    app = create_calls_app(closes=ending.is_set)
    expect(app).set_exception(StoreUnavailable("away"))
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url="http://plugin"
    ) as client:
        for call in ("Plugin.Activate", "IpamDriver.RequestPool", "IpamDriver.NoSuchCall"):
            assert "connection" not in (await client.post(f"/{call}")).headers
        ending.set()
        for call in ("Plugin.Activate", "IpamDriver.RequestPool", "IpamDriver.NoSuchCall"):
            assert (await client.post(f"/{call}")).headers["connection"] == "close"


async def test_1_a_call_of_which_only_a_part_came_is_not_served(network: Docker) -> None:
    messages: Iterator[dict[str, object]] = iter(
        [
            {"type": "http.request", "body": CONTAINER.encode()[:20], "more_body": True},
            {"type": "http.disconnect"},
        ]
    )

    async def receive() -> dict[str, object]:
        return next(messages)

    async def send(message: object) -> None:
        raise AssertionError(f"{message} went to nobody")

    scope = {"type": "http", "method": "POST", "path": "/IpamDriver.RequestAddress"}
    await network.app(scope, receive, send)
    assert network.allocator.asked == []


async def test_1_a_body_may_come_in_parts(network: Docker) -> None:
    async def parts() -> AsyncIterator[bytes]:
        yield CONTAINER.encode()[:20]
        yield CONTAINER.encode()[20:]

    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(network.app), base_url="http://plugin"
    ) as client:
        answer = await client.post("/IpamDriver.RequestAddress", content=parts())
    assert answer.json()["Address"] == "192.168.60.1/24"


async def test_1_a_slow_call_keeps_no_other_waiting(network: Docker) -> None:
    network.allocator.allocate_takes = 20.0
    slow = asyncio.ensure_future(network.ask("RequestAddress", CONTAINER))
    await settle(1.0)
    began = network.clock()
    await network.post("Plugin.Activate")
    await network.ask("ReleaseAddress", release("192.168.60.9"))
    await network.ask("RequestPool", REQUEST_POOL.replace("60", "61") % "{}")
    assert network.clock() - began < timedelta(seconds=1)
    assert (await slow)["Address"] == "192.168.60.1/24"


async def test_1_a_call_that_there_is_not_is_refused_in_both_keys(docker: Docker) -> None:
    assert "no such call" in await docker.fail("NoSuchCall", "{}", 404)
    assert "no such call" in await docker.fail("../VolumeDriver.Create", "{}", 404)


async def test_1_a_get_is_refused(docker: Docker) -> None:
    response = await docker.get("Plugin.Activate")
    assert response.status_code == 405
    assert response.json()["Err"] == response.json()["Error"]


# 2. Constants


@pytest.mark.parametrize(
    ("call", "answer"),
    [
        ("Plugin.Activate", {"Implements": ["IpamDriver"]}),
        (
            "IpamDriver.GetCapabilities",
            {"RequiresMACAddress": True, "RequiresRequestReplay": False},
        ),
        (
            "IpamDriver.GetDefaultAddressSpaces",
            {"LocalDefaultAddressSpace": "d4d-local", "GlobalDefaultAddressSpace": "d4d-global"},
        ),
    ],
)
async def test_2_the_first_three_calls_are_constants(
    docker: Docker, call: str, answer: dict[str, object]
) -> None:
    docker.store.is_away = True
    docker.allocator.allocate_fails = docker.allocator.free_fails = LINK_DOWN
    response = await docker.post(call)
    assert (response.status_code, response.json()) == (200, answer)


# 3. Pools outlive the driver


async def test_3_what_docker_was_told_is_stored_by_then(network: Docker) -> None:
    await network.ask("RequestAddress", GATEWAY)
    await network.ask("RequestAddress", CONTAINER)
    contents = await network.store.inner.load("host-a")
    assert [record.pool.id for record in contents.pools] == [POOL]
    assert [str(each.address) for each in contents.pools[0].reservations] == ["192.168.60.1"]
    assert [str(lease.address) for lease in contents.leases] == ["192.168.60.2"]


async def test_3_an_unknown_pool_id_is_rebuilt(docker: Docker) -> None:
    assert (await docker.ask("RequestAddress", GATEWAY))["Address"] == "192.168.60.1/24"
    assert (await docker.ask("RequestAddress", CONTAINER))["Address"] == "192.168.60.2/24"


async def test_3_a_pool_id_of_another_driver_is_refused_clearly(docker: Docker) -> None:
    body = CONTAINER.replace(POOL, "pb-ipam2-local/192.168.60.0/24/192.168.60.64/28")
    error = await docker.fail("RequestAddress", body, 404)
    assert "is none of ours" in error
    assert "remove the network and create it again" in error


async def test_3_the_pool_id_says_all_that_the_pool_is(docker: Docker) -> None:
    docker.allocator.router = IPv4Address("192.168.60.254")
    body = (
        '{"AddressSpace":"d4d-local","Pool":"192.168.60.0/24","SubPool":"192.168.60.64/28",'
        '"Options":{"parent":"eth0","server":"192.168.60.2","mode":"relay"},"V6":false}\n'
    )
    answer = await docker.ask("RequestPool", body)
    assert answer["PoolID"] == (
        "192.168.60.0/24?range=192.168.60.64/28&gateway=192.168.60.254"
        "&parent=eth0&server=192.168.60.2&mode=relay"
    )


# 4. RequestPool and ReleasePool


@pytest.mark.parametrize("options", ["null", "{}"])
async def test_4_options_may_be_null_or_empty(docker: Docker, options: str) -> None:
    answer = await docker.ask("RequestPool", REQUEST_POOL % options)
    assert answer == {"PoolID": POOL, "Pool": POOL, "Data": {}}


async def test_4_host_bits_are_cut_off(docker: Docker) -> None:
    body = (REQUEST_POOL % "{}").replace("192.168.60.0/24", "192.168.60.77/24")
    assert (await docker.ask("RequestPool", body))["Pool"] == POOL


async def test_4_a_network_without_subnet_gets_the_one_that_is_served(docker: Docker) -> None:
    body = '{"AddressSpace":"d4d-local","Pool":"","SubPool":"","Options":{},"V6":false}\n'
    answer = await docker.ask("RequestPool", body)
    assert answer["Pool"] == "192.168.59.0/24"


async def test_4_a_learnt_router_is_told_in_cidr(docker: Docker) -> None:
    docker.allocator.router = IPv4Address("192.168.60.254")
    answer = await docker.ask("RequestPool", REQUEST_POOL % "{}")
    assert answer["Data"] == {"com.docker.network.gateway": "192.168.60.254/24"}
    await docker.ask("ReleaseAddress", release("192.168.60.254"))


async def test_4_an_ipv6_pool_is_taken_for_one(docker: Docker) -> None:
    body = (
        '{"AddressSpace":"d4d-local","Pool":"fd00:61::/64","SubPool":"","Options":{},"V6":true}\n'
    )
    await docker.ask("RequestPool", body)
    asked = docker.allocator.opened[-1]
    assert (str(asked.subnet), asked.version) == ("fd00:61::/64", 6)


async def test_4_a_pool_is_counted(network: Docker) -> None:
    assert (await network.ask("RequestPool", REQUEST_POOL % "{}"))["PoolID"] == POOL
    await network.ask("RequestAddress", GATEWAY)
    await network.ask("RequestAddress", GATEWAY)
    await network.ask("ReleasePool", RELEASE_POOL)
    assert "reserved" in await network.fail("RequestAddress", with_ip("192.168.60.1"), 409)


async def test_4_the_last_release_of_a_pool_drops_gateway_and_auxiliaries(
    network: Docker,
) -> None:
    """A create that fails in an auxiliary address releases the pool alone."""
    await network.ask("RequestAddress", GATEWAY)
    await network.ask("RequestAddress", AUXILIARY)
    assert await network.ask("ReleasePool", RELEASE_POOL) == {}
    await network.ask("RequestPool", REQUEST_POOL % "{}")
    await network.ask("RequestAddress", with_ip("192.168.60.1", "02:42:b9:d4:03:01"))
    await network.ask("RequestAddress", with_ip("192.168.60.70", "02:42:b9:d4:03:02"))


async def test_4_release_of_an_unknown_pool_succeeds(docker: Docker) -> None:
    assert await docker.ask("ReleasePool", RELEASE_POOL) == {}
    assert await docker.ask("ReleasePool", '{"PoolID":"LocalDefault/172.17.0.0/16"}\n') == {}
    assert await docker.ask("ReleasePool", '{"PoolID":""}\n') == {}


async def test_4_overlapping_pools_are_refused(network: Docker) -> None:
    body = (REQUEST_POOL % "{}").replace("192.168.60.0/24", "192.168.60.0/25")
    assert "overlaps" in await network.fail("RequestPool", body, 409)


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ('"192.168.60.0/24"', '"192.168.60.0"', "--subnet '192.168.60.0' has no prefix length"),
        ('"192.168.60.0/24"', '"192.168.999.0/24"', "--subnet '192.168.999.0/24' is no CIDR"),
        ('"SubPool":""', '"SubPool":"10.0.0.0/8"', "--ip-range 10.0.0.0/8 is not within"),
        ('"SubPool":""', '"SubPool":"x"', "--ip-range 'x' has no prefix length"),
        ("{}", '{"foo":"bar"}', "unknown --ipam-opt 'foo': known are parent"),
        ("{}", '{"mode":"l3"}', "unknown mode 'l3'"),
        ("{}", '{"server":"dhcp1"}', "DHCP server 'dhcp1' is no IP address"),
    ],
)
async def test_4_a_pool_that_cannot_be_is_refused_in_the_users_words(
    docker: Docker, old: str, new: str, why: str
) -> None:
    body = (REQUEST_POOL % "{}").replace(old, new)
    assert why in await docker.fail("RequestPool", body, 400)


# 5. RequestAddress


async def test_5_gateway_and_auxiliary_may_coincide_and_repeat(network: Docker) -> None:
    """--gateway=G --aux-address DefaultGatewayIPv4=G"""
    auxiliary = AUXILIARY.replace("192.168.60.70", "192.168.60.1")
    for body in (GATEWAY, auxiliary, GATEWAY, auxiliary):
        answer = await network.ask("RequestAddress", body)
        assert answer == {"Address": "192.168.60.1/24", "Data": {}}


async def test_5_gateway_and_auxiliary_may_be_outside_the_ip_range(docker: Docker) -> None:
    body = (REQUEST_POOL % "{}").replace('"SubPool":""', '"SubPool":"192.168.60.64/28"')
    pool = str((await docker.ask("RequestPool", body))["PoolID"])
    for asked in (GATEWAY, AUXILIARY.replace("192.168.60.70", "192.168.60.99")):
        await docker.ask("RequestAddress", asked.replace(POOL, pool))
    answer = await docker.ask("RequestAddress", CONTAINER.replace(POOL, pool))
    assert answer["Address"] == "192.168.60.64/24"


async def test_5_an_ip_of_another_container_is_refused(network: Docker) -> None:
    await network.ask("RequestAddress", NAMED_CONTAINER)
    error = await network.fail("RequestAddress", with_ip("192.168.60.1"), 409)
    assert error.startswith("192.168.60.1 is leased to pbc1 (0e:a2:bc:e5:f4:cd)")


async def test_5_an_auxiliary_address_that_a_container_has_is_refused(network: Docker) -> None:
    """Docker would release it with the network, or when creating that fails later."""
    await network.ask("RequestAddress", CONTAINER)
    auxiliary = AUXILIARY.replace("192.168.60.70", "192.168.60.1")
    error = await network.fail("RequestAddress", auxiliary, 409)
    assert error.startswith("auxiliary address 192.168.60.1 is leased to 02:42:b9:d4:03:fb")


async def test_5_a_gateway_that_is_not_given_is_learnt(network: Docker) -> None:
    network.allocator.router = IPv4Address("192.168.60.254")
    answer = await network.ask("RequestAddress", GATEWAY_NOT_GIVEN)
    assert answer["Address"] == "192.168.60.254/24"


async def test_5_a_gateway_that_nobody_names_is_refused_with_what_to_do(network: Docker) -> None:
    assert "--gateway" in await network.fail("RequestAddress", GATEWAY_NOT_GIVEN, 503)


async def test_5_an_engine_that_sends_no_mac_is_told_to_restart(network: Docker) -> None:
    error = await network.fail("RequestAddress", CONTAINER_WITHOUT_MAC, 400)
    assert "Restart dockerd" in error


async def test_5_the_name_of_a_new_engine_is_kept(network: Docker) -> None:
    await network.ask("RequestAddress", NAMED_CONTAINER)
    (lease,) = (await network.store.inner.load("host-a")).leases
    assert str(lease.endpoint) == "pbc1 (0e:a2:bc:e5:f4:cd)"


# 6. ReleaseAddress


async def test_6_release_is_idempotent(network: Docker) -> None:
    await network.ask("RequestAddress", CONTAINER)
    for _ in range(3):
        assert await network.ask("ReleaseAddress", release("192.168.60.1")) == {}
        await settle()
    assert [str(address) for address in network.allocator.freed] == ["192.168.60.1"]


async def test_6_what_nobody_has_is_released_too(docker: Docker) -> None:
    for body in (
        release("192.168.60.254"),
        release("10.1.2.3"),
        '{"PoolID":"LocalDefault/172.17.0.0/16","Address":"172.17.0.2"}\n',
        '{"PoolID":"","Address":"172.17.0.2"}\n',
    ):
        assert await docker.ask("ReleaseAddress", body) == {}


async def test_6_a_gateway_that_is_an_auxiliary_too_is_counted(network: Docker) -> None:
    await network.ask("RequestAddress", GATEWAY)
    await network.ask("RequestAddress", AUXILIARY.replace("192.168.60.70", "192.168.60.1"))
    await network.ask("ReleaseAddress", release("192.168.60.1"))
    assert "reserved" in await network.fail("RequestAddress", with_ip("192.168.60.1"), 409)
    await network.ask("ReleaseAddress", release("192.168.60.1"))
    await network.ask("RequestAddress", with_ip("192.168.60.1"))


async def test_6_a_release_succeeds_while_the_store_is_away(network: Docker) -> None:
    await network.ask("RequestAddress", CONTAINER)
    network.store.is_away = True
    assert await network.ask("ReleaseAddress", release("192.168.60.1")) == {}


async def test_6_a_release_undoes_one_request(network: Docker) -> None:
    """A second container of the same MAC, which Docker then refuses by itself."""
    await network.ask("RequestAddress", CONTAINER)
    await network.ask("RequestAddress", CONTAINER)
    assert await network.ask("ReleaseAddress", release("192.168.60.1")) == {}
    await settle()
    assert network.allocator.freed == []


# 7. The address in the answer


async def test_7_an_address_has_its_subnets_prefix_length(network: Docker) -> None:
    answer = await network.ask("RequestAddress", CONTAINER)
    assert answer == {"Address": "192.168.60.1/24", "Data": {}}


async def test_7_no_container_gets_gateway_auxiliary_network_or_broadcast(
    docker: Docker,
) -> None:
    pool = "192.168.60.0/29"
    body = (REQUEST_POOL % "{}").replace(POOL, pool)
    await docker.ask("RequestPool", body)
    await docker.ask("RequestAddress", GATEWAY.replace(POOL, pool))
    auxiliary = AUXILIARY.replace(POOL, pool).replace("192.168.60.70", "192.168.60.3")
    await docker.ask("RequestAddress", auxiliary)
    given = []
    for number in range(4):
        container = CONTAINER.replace(POOL, pool).replace(":fb", f":0{number}")
        given.append((await docker.ask("RequestAddress", container))["Address"])
    assert given == [f"192.168.60.{n}/29" for n in (2, 4, 5, 6)]
    docker_says = await docker.fail("RequestAddress", CONTAINER.replace(POOL, pool), 503)
    assert docker_says == "none left"


@pytest.mark.parametrize("address", ["192.168.60.0", "192.168.60.255", "192.168.61.9"])
async def test_7_an_ip_that_no_host_may_have_is_refused(network: Docker, address: str) -> None:
    assert address in await network.fail("RequestAddress", with_ip(address), 400)


# 8. Malformed bodies


CALLS = ("RequestPool", "ReleasePool", "RequestAddress", "ReleaseAddress")


@pytest.mark.parametrize("body", ["", "\n", "  \r\n"])
@pytest.mark.parametrize("call", CALLS)
async def test_8_an_empty_body_is_refused_and_leaves_nothing(
    network: Docker, call: str, body: str
) -> None:
    """dockerd repeats a request whose connection broke, and then without its body."""
    await network.ask("RequestAddress", GATEWAY)
    before = await network.store.inner.load("host-a")
    network.store.writes.clear()
    assert "Try again" in await network.fail(call, body, 400)
    assert await network.store.inner.load("host-a") == before
    assert network.store.writes == []
    assert network.allocator.allocated == []


@pytest.mark.parametrize(
    "body",
    [
        "{",
        "null",
        "[]",
        '"PoolID"',
        "\x00",
        '{"PoolID":7,"Address":"192.168.60.9"}',
        '{"PoolID":"192.168.60.0/24","Address":"192.168.60.9","Options":"x"}x',
    ],
)
@pytest.mark.parametrize("call", CALLS[1:])
async def test_8_a_malformed_body_is_refused(docker: Docker, call: str, body: str) -> None:
    assert "malformed request" in await docker.fail(call, body, 400)


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (with_ip("192.168.60"), "address '192.168.60' is no IP address"),
        (with_ip("192.168.60.9/24"), "address '192.168.60.9/24' is no IP address"),
        (with_ip("", "02:42:b9:d4:03"), "MAC address '02:42:b9:d4:03' is malformed"),
        (with_ip("", "ff:ff:ff:ff:ff:ff"), "is no host's: it is a group or zero address"),
        (AUXILIARY.replace("null", '{"a":1}'), "malformed request: Options.a"),
    ],
)
async def test_8_a_value_that_is_none_is_refused_by_its_text(
    network: Docker, body: str, why: str
) -> None:
    assert why in await network.fail("RequestAddress", body, 400)


async def test_8_keys_that_nobody_knows_are_ignored(network: Docker) -> None:
    body = CONTAINER.replace('"Address":""', '"Address":"","Later":{"x":1}')
    assert (await network.ask("RequestAddress", body))["Address"] == "192.168.60.1/24"


async def test_8_an_error_that_nobody_thought_of_is_answered_too(network: Docker) -> None:
    network.allocator.allocate_fails = RuntimeError("a bug")
    error = await network.fail("RequestAddress", CONTAINER, 500)
    assert error == "D4D failed, see its log: RuntimeError('a bug')"


# 9. Deadlines, and what is not there


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (NoAddress("no DHCP server answered"), "no DHCP server answered"),
        (LINK_DOWN, str(LINK_DOWN)),
    ],
)
async def test_9_why_there_is_no_address_is_told(
    network: Docker, error: Exception, text: str
) -> None:
    network.allocator.allocate_fails = error
    assert await network.fail("RequestAddress", CONTAINER, 503) == text


async def test_9_a_store_that_is_away_is_told_and_the_lease_freed(network: Docker) -> None:
    network.store.is_away = True
    error = await network.fail("RequestAddress", CONTAINER, 503)
    assert error == "the store is away"
    assert network.allocator.asked == [], "no server is asked for what can't be kept"


async def test_9_a_release_waits_for_no_server(network: Docker) -> None:
    await network.ask("RequestAddress", CONTAINER)
    network.allocator.free_takes = 60.0
    began = network.clock()
    await network.ask("ReleaseAddress", release("192.168.60.1"))
    assert network.clock() - began < timedelta(seconds=0.01)


# 10. Reuse


async def test_10_a_freed_address_waits_for_its_own_container(network: Docker) -> None:
    await network.ask("RequestAddress", NAMED_CONTAINER)
    await network.ask("ReleaseAddress", release("192.168.60.1"))
    await settle()
    back = NAMED_CONTAINER.replace("0e:a2:bc:e5:f4:cd", "0e:a2:bc:e5:f4:ce")
    await network.ask("RequestAddress", back)
    assert network.allocator.asked[-1][2] == IPv4Address("192.168.60.1")


async def test_10_what_is_freed_is_remembered(network: Docker) -> None:
    await network.ask("RequestAddress", CONTAINER)
    await network.ask("ReleaseAddress", release("192.168.60.1"))
    await settle()
    (lease,) = (await network.store.inner.load("host-a")).leases
    assert lease.state is LeaseState.FREED


# Starting and stopping


async def test_an_app_that_is_stopped_frees_nothing_and_closes_its_parts(tmp_path: Path) -> None:
    docker = Docker(tmp_path)
    async with started(docker):
        await docker.ask("RequestPool", REQUEST_POOL % "{}")
        await docker.ask("RequestAddress", CONTAINER)
    assert docker.allocator.is_closed
    assert docker.allocator.freed == []


async def test_two_drivers_do_not_share_a_state_directory(tmp_path: Path) -> None:
    async with started(Docker(tmp_path)):
        with pytest.raises(StoreUnavailable, match=r"another D4D .* uses the state directory"):
            async with started(Docker(tmp_path)):
                raise AssertionError("it started")
    async with started(Docker(tmp_path)):
        pass  # the first has let go of it


# 10. Callers that go away


async def test_10_what_a_caller_that_went_away_was_to_hear_is_given_back(network: Docker) -> None:
    calls = driver_of(network.app)
    before = {str(address) for _, address in network.allocator.kept}
    body = CONTAINER.encode()
    answer, status = await calls.answer("/IpamDriver.RequestAddress", body)
    assert status == 200
    await calls.unheard("/IpamDriver.RequestAddress", body, answer)
    await settle()
    assert {str(address) for _, address in network.allocator.kept} == before
    assert [str(each) for each in network.allocator.freed] == [answer["Address"].partition("/")[0]]


async def test_10_a_second_answer_that_was_not_heard_ends_no_lease(network: Docker) -> None:
    calls = driver_of(network.app)
    heard = await network.ask("RequestAddress", CONTAINER)
    answer, _ = await calls.answer("/IpamDriver.RequestAddress", CONTAINER.encode())
    await calls.unheard("/IpamDriver.RequestAddress", CONTAINER.encode(), answer)
    await settle()
    assert answer["Address"] == heard["Address"]
    assert network.allocator.freed == []
