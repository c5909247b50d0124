"""The DHCP client against real servers, in ways that they are found in."""

import asyncio
import os
import random
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address

import pytest

from d4d.adapters.dhcp.exchange import Exchange
from d4d.adapters.dhcp.link.layer2 import Layer2Link
from d4d.adapters.dhcp.session import Session
from d4d.domain.addressing import MacAddress
from d4d.domain.dhcp.client import Client
from d4d.domain.dhcp.effects import Grant
from d4d.domain.dhcp.messages import Identity
from d4d.domain.dhcp.states import State
from lab.dhcp_servers import Dhcpd, Dnsmasq, Server, Site
from lab.lab import Lab
from lab.network import Namespace, inside
from tests.support.event_loops import each_loop
from tests.support.event_loops import run as on_loop

assert each_loop  # each test runs once for each loop

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root")

SERVER = IPv4Address("10.77.0.1")
OTHER = IPv4Address("10.77.0.9")
HOURS = timedelta(hours=2)
PATIENCE = 25.0


def now() -> datetime:
    return datetime.now(UTC)


class Bench:
    """One client on a host, driven as the allocator does."""

    def __init__(self) -> None:
        mac = MacAddress(bytes([0x02, *random.randbytes(5)]))
        self.client = Client(Identity(chaddr=mac, client_id=b"\x01" + mac), random=random.random)
        self.session = Session(
            lambda wants, deliver: Layer2Link("eth0", wants=wants, deliver=deliver), clock=now
        )
        self.exchange = Exchange(self.session, self.client, now=now)

    async def acquire(self) -> Grant:
        async with asyncio.timeout(PATIENCE):
            grant = await self.exchange.run(self.client.start, linger=None)
        assert grant is not None
        return grant

    async def renew(self) -> Grant:
        self.session.perform(self.client, self.client.renew(now()))
        async with asyncio.timeout(PATIENCE):
            while self.client.state is not State.BOUND:  # noqa: ASYNC110 - no event of the client's
                await asyncio.sleep(0.01)
        assert self.client.grant is not None
        return self.client.grant


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab() as lab:
        yield lab


def serve(lab: Lab, kind: type[Server], site: Site) -> tuple[Namespace, Server]:
    """A host without an address, and the server on its wire."""
    switch = lab.switch()
    server = lab.server(kind, lab.machine("server", switch, f"{SERVER}/16"), site)
    host = lab.machine("host", switch, "10.77.0.2/16")
    server.start()
    return host, server


def on(host: Namespace, life: Callable[[Bench], Awaitable[None]]) -> None:
    async def whole() -> None:
        bench = Bench()
        try:
            await life(bench)
        finally:
            bench.session.close()

    with inside(host.full_name):
        on_loop(whole())


def test_dnsmasq_that_sends_option_54_twice_is_leased_from_and_renewed(lab: Lab) -> None:
    """``--dhcp-option=54,ADDR`` adds one to its own."""
    site = Site(lease_time=HOURS, lines=(f"dhcp-option-force=54,{OTHER}",))
    host, server = serve(lab, Dnsmasq, site)

    async def life(bench: Bench) -> None:
        grant = await bench.acquire()
        assert grant.terms.server in (SERVER, OTHER)
        assert grant.address in server.leased()
        again = await bench.renew()
        assert again.address == grant.address

    on(host, life)


def test_dnsmasqs_default_route_in_option_121_is_the_way_out(lab: Lab) -> None:
    way_out = IPv4Address("10.77.0.253")
    site = Site(lease_time=HOURS, lines=(f"dhcp-option=121,0.0.0.0/0,{way_out}",))
    host, _ = serve(lab, Dnsmasq, site)

    async def life(bench: Bench) -> None:
        grant = await bench.acquire()
        assert grant.terms.routers == (site.router,)
        assert grant.terms.default_routers == (way_out,)

    on(host, life)


@pytest.mark.parametrize("kind", [Dhcpd, Dnsmasq])
def test_a_server_that_pings_before_it_offers_is_not_flooded(lab: Lab, kind: type[Server]) -> None:
    """One transaction: what comes again while the server pings costs it no other address."""
    host, server = serve(lab, kind, Site(lease_time=HOURS, ping_check=True))

    async def life(bench: Bench) -> None:
        grant = await bench.acquire()
        assert set(server.leased()) == {grant.address}

    on(host, life)
    asked = [line for line in server.log().splitlines() if "DHCPDISCOVER" in line]
    offered = [line for line in server.log().splitlines() if "DHCPOFFER" in line]
    assert 1 <= len(asked) <= 4
    assert len(offered) <= len(asked)
