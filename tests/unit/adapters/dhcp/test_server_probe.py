"""A probe hears every server, takes nothing, and says why it could not ask."""

import random
from datetime import timedelta
from ipaddress import IPv4Address

import pytest

from d4d.adapters.dhcp.routes import Route, Routes
from d4d.adapters.dhcp.server_probe import ProbeResult, ServerProbe
from d4d.domain.addressing import MacAddress
from d4d.domain.dhcp.messages import MessageType
from d4d.domain.errors import BadRequest
from d4d.domain.policies import Mode
from tests.support.fake_dhcp_server import ROUTER, SERVER, FakeDhcpServer, FakeInterfaces, interface

VIRTUAL_TIME = True
PARENT = Route(parent="eth0")


@pytest.fixture
def server() -> FakeDhcpServer:
    return FakeDhcpServer()


def probe_of(server: FakeDhcpServer, *, mode: Mode = Mode.AUTO, servers: str = "") -> ServerProbe:
    routes = Routes(
        interfaces=FakeInterfaces([interface("eth0", "10.77.0.2/16")]),
        servers=(IPv4Address(servers),) if servers else (),
        mode=mode,
    )
    return ServerProbe(routes=routes, link=server.link, random=random.Random(1))


async def ask(server: FakeDhcpServer, seconds: float = 1) -> ProbeResult:
    return await probe_of(server).ask(PARENT, timedelta(seconds=seconds))


async def test_what_is_offered_is_told_and_nothing_is_taken(server: FakeDhcpServer) -> None:
    probed = await ask(server)
    (offer,) = probed.offers
    assert (offer.address, offer.terms.server) == (server.free[0], SERVER)
    assert offer.terms.routers == (ROUTER,)
    assert offer.server_mac == MacAddress.parse("02:00:00:00:00:01")
    assert offer.after == timedelta(seconds=server.latency)
    assert server.said == ["DISCOVER"]
    assert server.bindings == {}
    assert [link.is_closed for link in server.links] == [True]


async def test_it_asks_again_and_a_server_is_told_once(server: FakeDhcpServer) -> None:
    probed = await ask(server, seconds=5)
    assert [message.secs for message in server.heard] == [0, 2, 4]
    assert len({message.xid for message in server.heard}) == 1
    assert len(probed.offers) == 1


async def test_an_answer_of_no_use_is_no_silence(server: FakeDhcpServer) -> None:
    server.garbles(lambda answer: answer._replace(yiaddr=IPv4Address(0)))
    probed = await ask(server, seconds=5)
    assert probed.offers == ()
    (useless,) = probed.useless
    assert useless == (
        "10.77.0.1 answered with a DHCPOFFER that D4D can't use: "
        "it offers no address (yiaddr is 0.0.0.0)"
    )


async def test_nobody_answers(server: FakeDhcpServer) -> None:
    server.silent()
    assert await ask(server) == ProbeResult(parent="eth0")


async def test_a_link_that_is_down_is_an_error(server: FakeDhcpServer) -> None:
    server.goes_down()
    probed = await ask(server)
    assert (probed.offers, probed.error) == ((), "eth0: can't send: Network is down (ENETDOWN)")
    assert [link.is_closed for link in server.links] == [True]


async def test_a_parent_that_is_gone_is_an_error(server: FakeDhcpServer) -> None:
    probed = await probe_of(server).ask(Route(parent="eth9"), timedelta(seconds=1))
    assert "no interface 'eth9'" in str(probed.error)


async def test_it_asks_in_nobodys_name_and_always_in_the_same(server: FakeDhcpServer) -> None:
    probe = probe_of(server)
    await probe.ask(PARENT, timedelta(seconds=1))
    await probe.ask(PARENT, timedelta(seconds=1))
    first, second = server.of_type(MessageType.DISCOVER)
    assert first.chaddr == second.chaddr
    assert first.chaddr[0] & 0b11 == 0b10  # locally administered, not a group's
    assert first.client_id == b"\x01" + first.chaddr
    assert first.hostname is None
    assert first.xid != second.xid


def test_it_relays_where_the_settings_do(server: FakeDhcpServer) -> None:
    assert probe_of(server).relayed(None) is None
    assert probe_of(server, servers="10.77.0.1").relayed(None) is None
    relayed = probe_of(server, servers="10.88.0.1").relayed("eth0")
    assert relayed is not None
    assert str(relayed) == "10.77.0.2 -> 10.88.0.1"
    with pytest.raises(BadRequest, match="needs to know the DHCP server"):
        probe_of(server, mode=Mode.RELAY).relayed(None)
