"""One session drives all clients of a link: one timer, and nothing left behind."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from functools import partial
from ipaddress import IPv4Address
from random import Random

import pytest

from d4d.adapters.dhcp.exchange import Exchange
from d4d.adapters.dhcp.routes import Route
from d4d.adapters.dhcp.session import Begin, Session
from d4d.domain.addressing import MacAddress
from d4d.domain.dhcp.client import Client
from d4d.domain.dhcp.effects import Bound, Effect, Effects, Grant
from d4d.domain.dhcp.messages import Identity, Message, MessageType
from d4d.domain.errors import LinkDown
from d4d.domain.leases import RenewalForm, Terms
from tests.support.fake_dhcp_server import SERVER, FakeDhcpServer
from tests.support.virtual_time import NOON, FakeClock, settle

VIRTUAL_TIME = True


class Bench:
    def __init__(self) -> None:
        self.server = FakeDhcpServer()
        self.server.free = [IPv4Address(f"10.77.16.{n}") for n in range(1, 251)]
        self.clock = FakeClock()
        self.session = Session(partial(self.server.link, Route(parent="eth0")), clock=self.clock)
        self.heard: list[Effect] = []
        self._random = Random(26)

    def client(self, number: int = 1) -> Client:
        mac = MacAddress(bytes([2, 66, 0, 0, 0, number]))
        return Client(Identity(chaddr=mac), random=self._random.random)

    async def bound(self, number: int = 1) -> Client:
        client = self.client(number)
        exchange = Exchange(self.session, client, now=self.clock)
        assert await exchange.run(client.start, linger=None) is not None
        self.session.follow(client, self.heard.append)
        return client

    @property
    def bound_again(self) -> int:
        return sum(isinstance(effect, Bound) for effect in self.heard)


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    made = Bench()
    yield made
    made.session.close()


@contextmanager
def counted_timers() -> Iterator[set[asyncio.TimerHandle]]:
    """The timers that were set and not yet cancelled."""
    loop = asyncio.get_running_loop()
    alive: set[asyncio.TimerHandle] = set()
    call_at = loop.call_at

    def counted(*args: object, **kwargs: object) -> asyncio.TimerHandle:
        handle = call_at(*args, **kwargs)  # type: ignore[arg-type]  # passed on as it came
        alive.add(handle)
        return handle

    loop.call_at = counted  # type: ignore[method-assign]  # it only counts
    try:
        yield alive
    finally:
        loop.call_at = call_at  # type: ignore[method-assign]  # as it was


def stored(expires: timedelta) -> Grant:
    return Grant(
        address=IPv4Address("10.77.16.1"),
        terms=Terms(server=SERVER, lease_time=expires),
        bound_at=NOON,
        renew_at=NOON + expires / 2,
        rebind_at=NOON + expires * 0.875,
        expires_at=NOON + expires,
        form=RenewalForm.SELECTING,
    )


async def test_thousands_of_renewals_leave_nothing_behind(bench: Bench) -> None:
    for number in range(1, 101):
        await bench.bound(number)
    await settle(29 * 3600.0)
    assert bench.bound_again >= 5000
    assert len(bench.session) == 100
    assert len(bench.session._heap) <= 2 * 100 + 64
    assert len(bench.session._wakes) == 100
    assert bench.session._awaited == {}
    assert bench.session._xids == {}


async def test_all_leases_share_one_timer(bench: Bench) -> None:
    with counted_timers() as timers:
        for number in range(1, 101):
            await bench.bound(number)
        await asyncio.sleep(0.1)
        now = asyncio.get_running_loop().time()
        waiting = [each for each in timers if not each.cancelled() and each.when() > now]
    assert len(waiting) == 1


async def test_what_was_answered_wakes_nobody_but_once_for_all_of_it(bench: Bench) -> None:
    with counted_timers() as timers:
        for number in range(1, 101):
            await bench.bound(number)
        began = asyncio.get_running_loop().time()
        await settle(60.0)
        fired = [each.when() for each in timers if not each.cancelled()]
    assert len([when for when in fired if began < when < began + 60.0]) <= 1


async def test_an_earlier_deadline_is_not_missed_behind_a_later_one(bench: Bench) -> None:
    late, early = await bench.bound(1), await bench.bound(2)
    told: list[str] = []
    now = bench.session._clock()

    def tell(name: str) -> Begin:
        def begin(_: datetime) -> Effects:
            told.append(name)
            return []

        return begin

    for client, name, seconds in ((late, "late", 20), (early, "early", 10)):
        bench.session._begins[client] = tell(name)
        bench.session._wake_at(client, now + timedelta(seconds=seconds))
    await settle(15.0)
    assert told == ["early"]
    await settle(10.0)
    assert told == ["early", "late"]


async def test_what_is_dropped_is_forgotten(bench: Bench) -> None:
    client = await bench.bound()
    bench.session.drop(client)
    bench.session.drop(client)
    await settle(4 * 3600.0)
    assert bench.server.said == ["DISCOVER", "REQUEST"]
    assert len(bench.session) == 0
    assert bench.session._wakes == {}


async def test_an_answer_to_a_client_that_was_dropped_goes_nowhere(bench: Bench) -> None:
    client = bench.client()
    bench.server.latency = 1.0
    bench.session.follow(client, bench.heard.append)
    bench.session.perform(client, client.start(bench.clock()))
    await settle(0.5)
    bench.session.drop(client)
    await settle(5.0)
    assert bench.heard == []
    assert bench.session._awaited == {}


async def test_an_answer_that_nobody_waits_for_is_not_wanted(bench: Bench) -> None:
    client = await bench.bound()
    assert not bench.session._wants(client.xid)


async def test_clients_begin_in_turn_sixteen_at_a_time(bench: Bench) -> None:
    clients = [bench.client(n) for n in range(1, 101)]
    for client in clients:
        bench.session.follow(client, bench.heard.append)
        bench.session.begin_in_turn(
            client, partial(client.resume, stored(timedelta(hours=1)), confirm=True)
        )
    await settle(0.01)
    assert len(bench.server.heard) == 16
    await settle(0.05)
    assert len(bench.server.heard) == 32
    await settle(1.0)
    assert len(bench.server.heard) >= 100


async def test_a_dead_link_is_an_error_for_who_waits_and_survived_by_who_does_not(
    bench: Bench,
) -> None:
    client = await bench.bound()
    bench.server.goes_down()
    with pytest.raises(LinkDown):
        bench.session.perform(client, client.renew(bench.clock()))
    await settle(600.0)
    bench.server.comes_up()
    await settle(3600.0)
    assert bench.bound_again >= 1


async def test_after_a_jump_of_the_clock_every_client_is_asked_for_in_turn(bench: Bench) -> None:
    """The timer runs by another clock than leases do, and knows of no jump."""
    for number in range(1, 101):
        await bench.bound(number)
    await settle(60.0)
    heard = len(bench.server.heard)
    bench.clock.jump(timedelta(hours=2))
    await settle(60.0)
    assert len(bench.server.heard) == heard
    bench.session.disturbed(bench.clock())
    await settle(0.01)
    assert len(bench.server.heard) - heard == 16
    await settle(2.0)
    assert bench.bound_again == 100


async def test_after_a_jump_back_nobody_waits_for_the_old_time_to_come(bench: Bench) -> None:
    client = await bench.bound()
    bench.server.silent()
    bench.session.perform(client, client.renew(bench.clock()))
    bench.clock.jump(timedelta(days=-9))
    bench.server.speaks()
    bench.session.disturbed(bench.clock())
    await settle(1.0)
    assert bench.bound_again == 1


async def test_a_jump_of_the_clock_begins_who_has_not_begun(bench: Bench) -> None:
    client = bench.client()
    bench.session.follow(client, bench.heard.append)
    begin = partial(client.resume, stored(timedelta(hours=1)), confirm=True)
    bench.session.begin_in_turn(client, begin)
    bench.clock.jump(timedelta(days=-9))
    bench.session.disturbed(bench.clock())
    await settle(1.0)
    assert bench.server.said == ["REQUEST"]


async def test_what_a_client_accepts_is_told_to_the_link_and_nothing_else(bench: Bench) -> None:
    """A link learns from it where a server is; anybody can answer to an xid that he reads."""
    client = bench.client()
    accepts = lambda address: address == IPv4Address("10.77.16.9")  # noqa: E731 - one line's worth
    bench.session.follow(client, bench.heard.append)
    bench.session.perform(client, client.start(bench.clock(), accepts=accepts))
    asked = bench.server.heard[-1]
    said = Message(
        type=MessageType.OFFER,
        xid=asked.xid,
        chaddr=asked.chaddr,
        server_id=SERVER,
        yiaddr=IPv4Address("10.77.16.9"),
        lease_time=timedelta(hours=1),
    )
    deliver = bench.session._deliver
    assert not deliver(said._replace(xid=asked.xid ^ 1))
    assert not deliver(said._replace(chaddr=MacAddress(bytes(6))))
    assert not deliver(said._replace(yiaddr=IPv4Address("10.77.16.8")))
    assert not deliver(said._replace(type=MessageType.NAK))
    assert not deliver(said._replace(client_id=b"\x00another"))
    assert deliver(said)
    granted = said._replace(type=MessageType.ACK)
    assert not deliver(granted._replace(server_id=SERVER + 1))
    assert not deliver(said)
    assert deliver(granted)
    assert not deliver(granted)


async def test_a_long_sleep_of_the_host_wakes_every_client(bench: Bench) -> None:
    for number in range(1, 41):
        await bench.bound(number)
    bench.clock.jump(timedelta(minutes=55))
    await settle(3600.0)
    assert bench.bound_again >= 40


async def test_the_end_stops_the_timer_and_closes_the_link(bench: Bench) -> None:
    await bench.bound()
    bench.session.close()
    await settle(4 * 3600.0)
    assert bench.server.said == ["DISCOVER", "REQUEST"]
    assert bench.server.links[0].is_closed


# An exchange


async def test_an_exchange_waits_for_a_better_offer_only_so_long(bench: Bench) -> None:
    client = bench.client()
    exchange = Exchange(bench.session, client, now=bench.clock)
    began = bench.clock()
    nothing = partial(client.start, accepts=lambda _: False)
    assert await exchange.run(nothing, linger=1.0) is None
    assert bench.clock() - began < timedelta(seconds=1.1)
    assert [str(refused.address) for refused in exchange.refused] == ["10.77.16.1"]


async def test_an_exchange_takes_a_better_offer_while_it_lingers(bench: Bench) -> None:
    client = bench.client()
    exchange = Exchange(bench.session, client, now=bench.clock)
    wanted = IPv4Address("10.77.16.7")
    running = asyncio.ensure_future(
        exchange.run(partial(client.start, accepts=wanted.__eq__), linger=1.0)
    )
    await settle(0.5)
    bench.server.offers("10.77.16.7")
    bench.server.links[0].broadcast(bench.server.heard[0])  # another server's offer
    grant = await running
    assert grant is not None
    assert grant.address == wanted


async def test_an_exchange_remembers_few_of_many_useless_offers(bench: Bench) -> None:
    bench.server.silent()
    client = bench.client()
    exchange = Exchange(bench.session, client, now=bench.clock)
    nothing = partial(client.start, accepts=lambda _: False)
    running = asyncio.ensure_future(exchange.run(nothing, linger=1.0))
    await settle(0.5)
    bench.server.speaks()
    for number in range(2000):
        bench.server.offers(f"10.77.{16 + number // 250}.{number % 250}")
        bench.server.links[0].broadcast(bench.server.heard[0])
    assert await running is None
    assert len(exchange.refused) == 32
    assert bench.clock() - NOON < timedelta(seconds=2)


async def test_an_abandoned_exchange_releases_what_it_asked_for(bench: Bench) -> None:
    bench.server.silent(MessageType.REQUEST)
    client = bench.client()
    exchange = Exchange(bench.session, client, now=bench.clock)
    running = asyncio.ensure_future(exchange.run(client.start, linger=None))
    await settle(0.5)
    assert exchange.offered is not None
    exchange.abandon()
    running.cancel()
    assert bench.server.said == ["DISCOVER", "REQUEST", "RELEASE"]
    assert len(bench.session) == 0
