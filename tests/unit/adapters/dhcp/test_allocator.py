"""Leases from a DHCP server in memory: what is asked, taken, declined, kept and given back."""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection
from dataclasses import replace
from datetime import timedelta
from ipaddress import IPv4Address, IPv4Network, IPv6Network, ip_address
from random import Random

import pytest

from d4d.adapters.dhcp.allocator import DhcpAllocator
from d4d.adapters.dhcp.conflict_detection import ArpMonitor, OnConflict, OwnerOf
from d4d.adapters.dhcp.policy import DhcpPolicy
from d4d.adapters.dhcp.routes import Routes
from d4d.domain.addressing import Address, MacAddress
from d4d.domain.dhcp.messages import Message, MessageType, Unreadable
from d4d.domain.errors import BadRequest, LinkDown, NoAddress, StoreUnavailable
from d4d.domain.events import EventKind
from d4d.domain.leases import Endpoint, Lease, LeaseState
from d4d.domain.pools import Pool, PoolOptions, PoolRequest
from d4d.domain.reservations import Reservation
from d4d.domain.segments import segment_of
from tests.support.allocation import asks
from tests.support.fake_dhcp_server import (
    ROUTER,
    SERVER,
    SUBNET,
    FakeDhcpServer,
    FakeInterfaces,
    interface,
)
from tests.support.fake_ports import FailingStore, RecordingEvents
from tests.support.virtual_time import NOON, FakeClock, settle

VIRTUAL_TIME = True

DISCOVER, REQUEST, DECLINE = MessageType.DISCOVER, MessageType.REQUEST, MessageType.DECLINE
RELEASE, OFFER = MessageType.RELEASE, MessageType.OFFER
WEB = Endpoint(mac=MacAddress.parse("02:42:0a:4d:10:01"), name="web")
DB = Endpoint(mac=MacAddress.parse("02:42:0a:4d:10:02"))
POOL = Pool(subnet=SUBNET, options=PoolOptions(parent="eth0"))
RANGED = replace(POOL, range=IPv4Network("10.77.16.4/31"))


def container(number: int) -> Endpoint:
    return Endpoint(mac=MacAddress(bytes([2, 66, 0, 0, 0, number])))


class Recorder:
    """Who hears of the leases (ports.Holder)."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str]] = []
        self.leases: list[Lease] = []

    def changed(self, lease: Lease, kind: EventKind, detail: str) -> None:
        self.told.append((kind.value, str(lease.address)))
        self.leases.append(lease)


class Bench:
    """An allocator on a host with eth0, and the server behind it."""

    def __init__(self, *, window: int = 64) -> None:
        self.server = FakeDhcpServer()
        self.clock = FakeClock()
        self.holder = Recorder()
        self.interfaces = FakeInterfaces([interface("eth0", "10.77.0.9/16")])
        self.events = RecordingEvents()
        self.store = FailingStore()
        self.policy = DhcpPolicy(window=window, host="host-a", conflict_probe=timedelta(0))
        self.allocator = self._new()

    def _new(self) -> DhcpAllocator:
        return DhcpAllocator(
            routes=Routes(interfaces=self.interfaces),
            link=self.server.link,
            watch=_no_watch,
            policy=self.policy,
            events=self.events,
            clock=self.clock,
            random=Random(26),
        )

    async def restart(self) -> None:
        await self.allocator.aclose()
        self.allocator = self._new()

    async def allocate(
        self,
        endpoint: Endpoint = WEB,
        *,
        ip: str | None = None,
        hint: str | None = None,
        taken: Collection[str] = (),
        pool: Pool = POOL,
    ) -> Lease:
        return await self.allocator.allocate(
            asks(
                pool,
                endpoint,
                address=ip_address(ip) if ip else None,
                hint=ip_address(hint) if hint else None,
                taken={ip_address(each) for each in taken},
                reserved=await self.store.reserved(segment_of(pool.id)),
                at=self.clock(),
                owner="host-a",
            )
        )

    async def reserve(
        self, address: str, *, name: str | None = None, mac: MacAddress | None = None
    ) -> None:
        """An operator does so."""
        made = Reservation(
            segment=segment_of(POOL.id),
            address=ip_address(address),
            made_at=self.clock(),
            name=name,
            mac=mac,
        )
        await self.store.reserve(made)

    async def kept(self, endpoint: Endpoint = WEB) -> Lease:
        """A lease as IpamService holds one."""
        lease = await self.allocate(endpoint)
        self.allocator.maintain(lease, self.holder)
        return lease


def _no_watch(parent: str, ours: OwnerOf, on_conflict: OnConflict) -> ArpMonitor:
    raise AssertionError("nobody asked for a probe")


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    made = Bench()
    yield made
    await made.allocator.aclose()


def seconds(bench: Bench) -> float:
    return round((bench.clock() - NOON).total_seconds(), 2)


# What a lease is


async def test_a_lease_says_what_the_server_granted(bench: Bench) -> None:
    lease = await bench.allocate()
    assert lease.pool == POOL.id
    assert lease.address == IPv4Address("10.77.16.1")
    assert lease.state is LeaseState.BOUND
    assert lease.terms is not None
    assert (lease.terms.server, lease.terms.routers) == (SERVER, (ROUTER,))
    assert lease.bound_at is not None
    assert lease.expires_at == lease.bound_at + timedelta(hours=1)
    assert lease.renew_at is not None
    assert lease.bound_at < lease.renew_at < lease.expires_at


async def test_the_server_sees_the_containers_mac_one_client_id_and_its_name(
    bench: Bench,
) -> None:
    lease = await bench.kept()
    await bench.allocator.free(lease)
    assert bench.server.said == ["DISCOVER", "REQUEST", "RELEASE"]
    assert {message.chaddr for message in bench.server.heard} == {WEB.mac}
    (client_id,) = {message.client_id for message in bench.server.heard}
    assert client_id is not None
    assert client_id.startswith(b"\x00d4d:")
    assert lease.client_id == client_id
    assert [message.hostname for message in bench.server.heard[:2]] == ["web", "web"]


async def test_a_container_without_name_is_known_by_its_mac(bench: Bench) -> None:
    lease = await bench.allocate(DB)
    assert lease.client_id == b"\x01" + DB.mac
    assert {message.hostname for message in bench.server.heard} == {None}


# What is asked for and taken


async def test_an_ip_is_asked_for_and_had(bench: Bench) -> None:
    assert (await bench.allocate(ip="10.77.16.5")).address == IPv4Address("10.77.16.5")
    assert bench.server.of_type(DISCOVER)[0].requested == IPv4Address("10.77.16.5")


async def test_an_ip_that_is_refused_names_what_was_offered(bench: Bench) -> None:
    with pytest.raises(NoAddress) as refusal:
        await bench.allocate(ip="10.77.99.9")
    assert "10.77.99.9 can't be had" in str(refusal.value)
    assert "was offered 10.77.16.1 by 10.77.0.1" in str(refusal.value)
    assert seconds(bench) < 2.0, "a second for another server's offer, and no longer"
    assert bench.server.bindings == {}


async def test_a_hint_is_asked_for_and_another_address_will_do(bench: Bench) -> None:
    assert (await bench.allocate(hint="10.77.16.5")).address == IPv4Address("10.77.16.5")
    assert (await bench.allocate(DB, hint="10.77.99.9")).address == IPv4Address("10.77.16.1")


async def test_a_hint_that_is_taken_is_not_asked_for(bench: Bench) -> None:
    await bench.allocate(hint="10.77.16.5", taken=["10.77.16.5"])
    assert bench.server.of_type(DISCOVER)[0].requested is None


async def test_an_ip_range_is_asked_for_address_by_address(bench: Bench) -> None:
    given = {(await bench.allocate(container(n), pool=RANGED)).address for n in (1, 2)}
    assert given == set(RANGED.assignable)


async def test_an_ip_range_that_is_full_is_an_error_soon(bench: Bench) -> None:
    for number in (1, 2):
        await bench.allocate(container(number), pool=RANGED)
    with pytest.raises(NoAddress, match=r"no address of 10\.77\.16\.4/31 can be had.*offered 10"):
        await bench.allocate(container(3), pool=RANGED)
    assert seconds(bench) < 2.0


async def test_an_ip_range_that_the_server_does_not_serve_is_an_error_that_names_its_offer(
    bench: Bench,
) -> None:
    pool = replace(POOL, range=IPv4Network("10.77.99.0/24"))
    with pytest.raises(NoAddress, match=r"offered 10\.77\.16\.1 by 10\.77\.0\.1.*overlap"):
        await bench.allocate(pool=pool)
    assert len(bench.server.of_type(DISCOVER)) <= 16


async def test_an_offer_outside_the_subnet_is_not_taken_and_reported(bench: Bench) -> None:
    bench.server.offers("192.0.2.7", "10.77.16.1")
    lease = await bench.allocate()
    assert lease.address == IPv4Address("10.77.16.1")
    assert ("mismatch", "192.0.2.7") in bench.events.told


async def test_a_taken_address_is_passed_over_and_another_asked_for(bench: Bench) -> None:
    """It is ours: a DHCPDECLINE would have the server take it away from its container."""
    lease = await bench.allocate(taken=["10.77.16.1"])
    assert lease.address == IPv4Address("10.77.16.2")
    assert bench.server.said == ["DISCOVER", "DISCOVER", "REQUEST"]
    assert bench.events.told == []


async def test_a_server_that_offers_only_what_is_taken_is_an_error_soon(bench: Bench) -> None:
    taken = [f"10.77.16.{n}" for n in range(1, 9)]
    with pytest.raises(
        NoAddress, match=r"kept for others: 10\.77\.16\.1 is leased or reserved here"
    ):
        await bench.allocate(taken=taken)
    assert len(bench.server.heard) <= 17
    assert bench.server.declined == []
    assert bench.server.bindings == {}


async def test_what_is_taken_is_looked_up_when_it_is_granted(bench: Bench) -> None:
    """An operator reserves the address while the server is asked."""
    taken: set[Address] = set()
    bench.server.latency = 0.8
    call = asyncio.ensure_future(
        bench.allocator.allocate(asks(POOL, WEB, address=None, hint=None, taken=taken))
    )
    await settle(1.5)
    taken.add(IPv4Address("10.77.16.1"))
    assert (await call).address == IPv4Address("10.77.16.2")
    assert bench.server.said[:3] == ["DISCOVER", "REQUEST", "RELEASE"]
    assert bench.server.declined == []


async def test_an_ip_that_is_taken_when_it_is_granted_is_given_back(bench: Bench) -> None:
    taken: set[Address] = set()
    bench.server.latency = 0.8
    wanted = IPv4Address("10.77.16.1")
    call = asyncio.ensure_future(
        bench.allocator.allocate(asks(POOL, WEB, address=wanted, hint=None, taken=taken))
    )
    await settle(1.5)
    taken.add(wanted)
    with pytest.raises(NoAddress, match=r"10\.77\.16\.1 can't be had: .* leased or reserved here"):
        await call
    assert bench.server.said == ["DISCOVER", "REQUEST", "RELEASE"]


# What an operator reserved


async def test_a_reserved_address_is_asked_for_first_by_its_container(bench: Bench) -> None:
    await bench.reserve("10.77.16.5", name="web")
    await bench.reserve("10.77.16.6", mac=DB.mac)
    assert (await bench.allocate(WEB, hint="10.77.16.2")).address == IPv4Address("10.77.16.5")
    assert (await bench.allocate(DB)).address == IPv4Address("10.77.16.6")
    asked = [str(message.requested) for message in bench.server.of_type(DISCOVER)]
    assert asked == ["10.77.16.5", "10.77.16.6"]


async def test_a_reserved_address_outside_of_the_ip_range_is_had(bench: Bench) -> None:
    await bench.reserve("10.77.16.8", name="web")
    assert (await bench.allocate(WEB, pool=RANGED)).address == IPv4Address("10.77.16.8")


async def test_an_offer_that_is_reserved_for_another_is_passed_over_and_left_to_it(
    bench: Bench,
) -> None:
    await bench.reserve("10.77.16.1", name="web")
    lease = await bench.allocate(DB, hint="10.77.16.1")
    assert lease.address == IPv4Address("10.77.16.2")
    assert bench.server.said == ["DISCOVER", "DISCOVER", "REQUEST"]
    assert seconds(bench) < 0.1
    assert (await bench.allocate(WEB)).address == IPv4Address("10.77.16.1")
    assert bench.server.declined == []


async def test_a_way_is_found_around_many_reservations(bench: Bench) -> None:
    for number in (1, 2, 3, 4, 6):
        await bench.reserve(f"10.77.16.{number}", name=f"web-{number}")
    given = {str((await bench.allocate(container(n))).address) for n in range(3)}
    assert given == {"10.77.16.5", "10.77.16.7", "10.77.16.8"}
    with pytest.raises(
        NoAddress,
        match=r"no address for .* but what is kept for others: 10\.77\.16\.\d is reserved",
    ):
        await bench.allocate(container(4))
    assert seconds(bench) < 1.0
    assert bench.server.declined == []


async def test_an_ip_range_is_asked_without_what_is_reserved_for_others(bench: Bench) -> None:
    await bench.reserve("10.77.16.4", name="web")
    assert (await bench.allocate(DB, pool=RANGED)).address == IPv4Address("10.77.16.5")
    with pytest.raises(NoAddress):
        await bench.allocate(container(3), pool=RANGED)
    assert (await bench.allocate(WEB, pool=RANGED)).address == IPv4Address("10.77.16.4")


async def test_what_is_reserved_for_nobody_is_passed_over(bench: Bench) -> None:
    await bench.reserve("10.77.16.1")
    assert (await bench.allocate(WEB)).address == IPv4Address("10.77.16.2")
    assert bench.server.declined == []


async def test_nothing_is_asked_for_while_nobody_knows_what_is_reserved(bench: Bench) -> None:
    bench.store.is_away = True
    with pytest.raises(StoreUnavailable):
        await bench.allocate()
    assert bench.server.heard == []


# When nothing comes of it


async def test_silence_is_an_error_at_the_deadline_that_says_where_to_look(bench: Bench) -> None:
    bench.server.silent()
    with pytest.raises(NoAddress) as silence:
        await bench.allocate()
    assert str(silence.value) == (
        f"no DHCP server answered {WEB.mac} on eth0 within 25 s (DHCPDISCOVER to any server): "
        "check that a server serves 10.77.0.0/16 there and has addresses left, and that no "
        "switch or firewall keeps UDP ports 67 and 68 from it"
    )
    assert seconds(bench) == 25.0
    assert len(bench.server.said) >= 7, "never more than 4 s behind a server that comes back"
    assert set(bench.server.said) == {"DISCOVER"}
    assert len({message.xid for message in bench.server.heard}) == 1


@pytest.mark.parametrize("away", [10.0, 13.0, 17.0, 20.0])
async def test_a_server_that_is_away_for_a_while_costs_4_seconds_more(
    bench: Bench, away: float
) -> None:
    bench.server.silent()
    call = asyncio.ensure_future(bench.allocate())
    await settle(away)
    bench.server.speaks()
    await call
    assert seconds(bench) <= away + 4.1


async def test_where_a_fifth_of_the_frames_is_lost_every_container_starts() -> None:
    random, lost = Random(7), 0
    for _ in range(200):
        bench = Bench()
        bench.server.loses(lambda: random.random() < 0.2)
        try:
            await bench.allocate()
        except NoAddress:
            lost += 1
        await bench.allocator.aclose()
    assert lost == 0


USELESS: list[tuple[Callable[[Message], Message], str]] = [
    (lambda answer: answer._replace(yiaddr=IPv4Address(0)), "it offers no address"),
    (lambda answer: answer._replace(client_id=b"\x00other"), "for another client identifier"),
    (lambda answer: answer._replace(type=MessageType.NAK), "a DHCPDISCOVER was sent"),
    (lambda answer: answer._replace(type=MessageType.ACK), "a DHCPDISCOVER was sent"),
]


@pytest.mark.parametrize(("garble", "why"), USELESS)
async def test_a_useless_answer_is_not_called_silence(
    bench: Bench, garble: Callable[[Message], Message], why: str
) -> None:
    bench.server.garbles(garble)
    with pytest.raises(NoAddress) as caught:
        await bench.allocate()
    text = str(caught.value)
    assert "no DHCP server answered" not in text
    assert "but it was not silent there: 10.77.0.1 answered with a DHCP" in text
    assert f"that D4D can't use: {why}" in text or why in text
    (event,) = bench.events.all
    assert (event.kind, event.address) == (EventKind.MISMATCH, SERVER)
    assert why in event.detail
    assert event.endpoint == WEB


async def test_a_reply_that_cannot_be_read_is_not_called_silence(bench: Bench) -> None:
    bench.server.silent()
    call = asyncio.ensure_future(bench.allocate())
    await settle(0.1)
    asked = bench.server.heard[0]
    reply = Unreadable(xid=asked.xid, chaddr=asked.chaddr, reason="no type", source=SERVER)
    for _ in range(5000):
        bench.server.links[0].arrive(reply)
    with pytest.raises(NoAddress, match=r"10\.77\.0\.1 answered with a reply that D4D can't read"):
        await call
    assert len(bench.events.all) == 1


async def test_useless_answers_that_are_forged_by_the_thousand_are_a_few_events(
    bench: Bench,
) -> None:
    bench.server.latency = 0.8
    call = asyncio.ensure_future(bench.allocate())
    await settle(0.5)
    asked = bench.server.heard[0]
    for number in range(5000):
        forged = Message(type=OFFER, xid=asked.xid, chaddr=asked.chaddr, source=SERVER + number)
        bench.server.links[0].arrive(forged)
    await call
    assert 1 <= len(bench.events.all) <= 8


async def test_an_acknowledgement_of_no_use_is_named(bench: Bench) -> None:
    def garble(answer: Message) -> Message:
        is_ack = answer.type is MessageType.ACK
        return answer._replace(lease_time=timedelta(0)) if is_ack else answer

    bench.server.garbles(garble)
    with pytest.raises(NoAddress) as caught:
        await bench.allocate()
    assert "offered 10.77.16.1" in str(caught.value)
    assert "answered with a DHCPACK that D4D can't use: a lease time of 0 s" in str(caught.value)


async def test_another_server_than_the_named_one_is_told_of_in_the_error_alone(
    bench: Bench,
) -> None:
    """That there are others is what DHCP_SERVER is for; that the named one is silent is news."""
    other = IPv4Address("10.77.0.2")
    routes = Routes(interfaces=bench.interfaces, servers=(other,))
    bench.allocator._ways._routes = routes
    with pytest.raises(NoAddress, match=r"10\.77\.0\.2 alone is heard"):
        await bench.allocate()
    assert bench.events.all == []


async def test_another_address_than_was_offered_is_taken(bench: Bench) -> None:
    """As udhcpc and dhclient do."""
    granted = IPv4Address("10.77.16.7")

    def garble(answer: Message) -> Message:
        is_ack = answer.type is MessageType.ACK
        return answer._replace(yiaddr=granted) if is_ack else answer

    bench.server.garbles(garble)
    lease = await bench.allocate()
    assert lease.address == granted


async def test_a_renewal_that_is_answered_with_what_is_of_no_use_says_so_once(
    bench: Bench,
) -> None:
    await bench.kept()
    bench.server.garbles(lambda answer: answer._replace(lease_time=timedelta(0)))
    await settle(3700.0)
    (event,) = (each for each in bench.events.all if each.kind is EventKind.MISMATCH)
    assert "a lease time of 0 s (option 51)" in event.detail
    assert ("lost", "10.77.16.1") in bench.holder.told


async def test_a_server_that_offers_and_never_acknowledges_is_named(bench: Bench) -> None:
    bench.server.silent(REQUEST)
    with pytest.raises(NoAddress, match=r"10\.77\.0\.1 on eth0 offered 10\.77\.16\.1 .*did not"):
        await bench.allocate()
    assert bench.server.said[-1] == "RELEASE", "the server may have committed its offer"


async def test_a_server_that_refuses_its_own_offer_does_not_make_a_storm(bench: Bench) -> None:
    bench.server.naks()
    with pytest.raises(NoAddress) as refusal:
        await bench.allocate()
    assert len(bench.server.heard) < 60
    assert str(refusal.value) == (
        f"DHCP server 10.77.0.1 on eth0 offered 10.77.16.1 to {WEB.mac}, but 10.77.0.1 refused it "
        f"in requesting (DHCPNAK), and gave nothing else within 25 s: see its log, and whether two "
        f"servers have one range"
    )


async def test_a_dead_link_is_an_error_at_once(bench: Bench) -> None:
    bench.server.goes_down()
    with pytest.raises(LinkDown, match="ENETDOWN"):
        await bench.allocate()
    assert seconds(bench) < 0.1
    await settle(300.0)
    assert bench.server.heard == []


async def test_a_call_that_is_cut_short_leaves_nothing(bench: Bench) -> None:
    bench.server.latency = 0.8
    call = asyncio.ensure_future(bench.allocate())
    await settle(1.5)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert bench.server.said[-1] == "RELEASE"
    heard = len(bench.server.heard)
    await settle(300.0)
    assert len(bench.server.heard) == heard


async def test_a_call_that_is_cut_short_says_what_the_server_did(bench: Bench) -> None:
    bench.server.silent()
    call = asyncio.ensure_future(bench.allocate())
    await settle(3.0)
    call.cancel()
    with pytest.raises(asyncio.CancelledError) as cut:
        await call
    assert "no DHCP server answered" in cut.value.__notes__[0]
    assert "within 3 s" in cut.value.__notes__[0]


async def test_a_call_that_is_cut_short_in_the_line_says_so() -> None:
    bench = Bench(window=1)
    bench.server.silent()
    first = asyncio.ensure_future(bench.allocate())
    other = asyncio.ensure_future(bench.allocate(DB))
    await settle(1.0)
    other.cancel()
    with pytest.raises(asyncio.CancelledError) as cut:
        await other
    assert cut.value.__notes__ == ["its turn: 1 others were asking DHCP servers (D4D_DHCP_WINDOW)"]
    first.cancel()
    await settle()


async def test_an_attempt_that_failed_is_not_gone_on_with(bench: Bench) -> None:
    bench.server.silent()
    with pytest.raises(NoAddress):
        await bench.allocate()
    heard = len(bench.server.heard)
    await settle(3600.0)
    assert len(bench.server.heard) == heard


# Many at once


async def test_no_more_than_the_window_are_in_flight() -> None:
    bench = Bench(window=3)
    bench.server.latency = 0.8
    in_flight: set[bytes] = set()
    most = 0
    hear = bench.server.hear

    def counted(message: object) -> object:
        nonlocal most
        answer = hear(message)  # type: ignore[arg-type]  # passed on as it came
        in_flight.add(bench.server.heard[-1].chaddr)
        most = max(most, len(in_flight))
        return answer

    async def one(number: int) -> None:
        await bench.allocate(container(number))
        in_flight.discard(container(number).mac)

    bench.server.hear = counted  # type: ignore[method-assign, assignment]  # it only counts
    await asyncio.gather(*map(one, range(1, 9)))
    assert most == 3
    assert len(bench.server.bindings) == 8
    await bench.allocator.aclose()


async def test_a_mac_is_served_by_one_exchange_at_a_time(bench: Bench) -> None:
    bench.server.latency = 0.8
    both = await asyncio.gather(bench.allocate(DB), bench.allocate(DB))
    assert {lease.address for lease in both} == {IPv4Address("10.77.16.1")}
    assert bench.server.said == ["DISCOVER", "REQUEST"] * 2


async def test_a_client_id_is_served_by_one_exchange_at_a_time(bench: Bench) -> None:
    bench.server.latency = 0.8
    again = replace(WEB, mac=DB.mac)
    await asyncio.gather(bench.allocate(WEB), bench.allocate(again))
    assert bench.server.said == ["DISCOVER", "REQUEST"] * 2


async def test_the_deadline_begins_with_ones_turn() -> None:
    bench = Bench(window=1)
    bench.server.silent()
    results = await asyncio.gather(
        *(bench.allocate(container(n)) for n in (1, 2)), return_exceptions=True
    )
    assert [type(result) for result in results] == [NoAddress, NoAddress]
    assert seconds(bench) == 50.0
    await bench.allocator.aclose()


# Pools


async def test_a_survey_learns_the_router_and_takes_no_address(bench: Bench) -> None:
    pool = await bench.allocator.open(PoolRequest(subnet=SUBNET))
    assert pool == Pool(subnet=SUBNET, gateway=ROUTER, options=PoolOptions(parent="eth0"))
    assert bench.server.said == ["DISCOVER"]
    assert bench.server.bindings == {}


async def test_a_survey_learns_the_subnet(bench: Bench) -> None:
    pool = await bench.allocator.open(PoolRequest(options=PoolOptions(parent="eth0")))
    assert pool.subnet == SUBNET


async def test_a_survey_without_answer_is_no_error_where_the_subnet_is_given(
    bench: Bench,
) -> None:
    bench.server.silent()
    pool = await bench.allocator.open(PoolRequest(subnet=SUBNET))
    assert pool.gateway is None
    assert seconds(bench) == 6.0


async def test_a_survey_without_answer_is_an_error_where_the_subnet_is_to_be_learnt(
    bench: Bench,
) -> None:
    bench.server.silent()
    with pytest.raises(NoAddress, match="no DHCP server on eth0 said which subnet it serves"):
        await bench.allocator.open(PoolRequest(options=PoolOptions(parent="eth0")))


async def test_a_router_outside_the_subnet_is_no_gateway(bench: Bench) -> None:
    bench.server.offers("192.168.59.7")
    pool = await bench.allocator.open(
        PoolRequest(subnet=IPv4Network("192.168.59.0/24"), options=PoolOptions(parent="eth0"))
    )
    assert pool.gateway is None


def forged(bench: Bench, **said: object) -> None:
    """An offer of another server comes in, faster than the server's own."""
    asked = bench.server.heard[-1]
    offer = Message(
        type=OFFER,
        xid=asked.xid,
        chaddr=asked.chaddr,
        server_id=IPv4Address("10.77.0.66"),
        yiaddr=IPv4Address("172.16.0.5"),
        subnet_mask=IPv4Address("255.255.0.0"),
        lease_time=timedelta(hours=1),
    )
    bench.server.links[-1].arrive(offer._replace(**said))  # type: ignore[arg-type]  # by name


async def test_a_survey_hears_more_than_the_first_server(bench: Bench) -> None:
    bench.server.latency = 0.2
    opening = asyncio.ensure_future(bench.allocator.open(PoolRequest(subnet=SUBNET)))
    await settle(0.1)
    forged(bench)
    assert (await opening).gateway == ROUTER


async def test_two_servers_of_different_subnets_are_refused_by_name(bench: Bench) -> None:
    bench.server.latency = 0.2
    request = PoolRequest(options=PoolOptions(parent="eth0"))
    opening = asyncio.ensure_future(bench.allocator.open(request))
    await settle(0.1)
    forged(bench)
    with pytest.raises(BadRequest) as caught:
        await opening
    assert "10.77.0.66 172.16.0.0/16" in str(caught.value)
    assert "10.77.0.1 10.77.0.0/16" in str(caught.value)


async def test_a_mask_of_one_address_is_no_subnet(bench: Bench) -> None:
    bench.server.garbles(lambda each: each._replace(subnet_mask=IPv4Address("255.255.255.255")))
    with pytest.raises(BadRequest, match=r"offers 10\.77\.16\.1 with the subnet mask 255\.255\."):
        await bench.allocator.open(PoolRequest(options=PoolOptions(parent="eth0")))


async def test_a_survey_that_hears_what_it_can_not_use_says_so(bench: Bench) -> None:
    bench.server.garbles(lambda answer: answer._replace(yiaddr=IPv4Address(0)))
    with pytest.raises(
        NoAddress, match=r"But 10\.77\.0\.1 answered with a DHCPOFFER that D4D can't"
    ):
        await bench.allocator.open(PoolRequest(options=PoolOptions(parent="eth0")))


@pytest.mark.parametrize("routers", [(), (ROUTER,)])
async def test_a_default_route_of_option_121_comes_before_option_3(
    bench: Bench, routers: tuple[IPv4Address, ...]
) -> None:
    """RFC 3442."""
    other = IPv4Address("10.77.0.253")
    routes = ((IPv4Network("0.0.0.0/0"), other), (IPv4Network("10.0.0.0/8"), ROUTER))
    bench.server.garbles(lambda each: each._replace(routers=routers, static_routes=routes))
    assert (await bench.allocator.open(PoolRequest(subnet=SUBNET))).gateway == other


async def test_a_faster_stranger_does_not_decide_about_an_ip_range(bench: Bench) -> None:
    bench.server.latency = 0.05

    def after_a_strangers(answer: Message) -> Message:
        if answer.type is OFFER:
            asyncio.get_running_loop().call_soon(forged, bench)
        return answer

    bench.server.garbles(after_a_strangers)
    lease = await bench.allocate(pool=RANGED)
    assert lease.address in IPv4Network("10.77.16.4/31")


async def test_ipv6_is_refused_with_what_to_leave_out(bench: Bench) -> None:
    for request in (PoolRequest(version=6), PoolRequest(subnet=IPv6Network("fd00:61::/64"))):
        with pytest.raises(BadRequest, match="create the network without --ipv6"):
            await bench.allocator.open(request)


async def test_a_survey_on_a_dead_link_is_not_gone_on_with(bench: Bench) -> None:
    bench.server.goes_down()
    with pytest.raises(LinkDown):
        await bench.allocator.open(PoolRequest(subnet=SUBNET))
    bench.server.comes_up()
    await settle(300.0)
    assert bench.server.heard == []


# Kept alive


async def test_a_lease_is_renewed_at_t1_for_as_long_as_it_is_held(bench: Bench) -> None:
    lease = await bench.kept()
    await settle(3 * 3600.0)
    assert {kind for kind, _ in bench.holder.told} == {"renewed"}
    assert 5 <= len(bench.holder.told) <= 8
    assert set(bench.server.said[2:]) == {"REQUEST"}
    newest = bench.holder.leases[-1]
    assert newest.expires_at is not None
    assert newest.expires_at > bench.clock()
    assert newest.generation == lease.generation


async def test_a_renewal_that_changes_what_docker_was_told_is_reported_once(bench: Bench) -> None:
    await bench.kept()
    other = IPv4Address("10.77.0.253")
    bench.server.garbles(lambda answer: answer._replace(routers=(other,), dns_servers=(SERVER,)))
    await settle(4 * 3600.0)
    assert [kind for kind, _ in bench.holder.told].count("renewed") >= 4
    (event,) = bench.events.all
    assert event.kind is EventKind.MISMATCH
    assert event.detail.startswith(
        "10.77.0.1 changed the router 10.77.0.254 to 10.77.0.253, the DNS server none to 10.77.0.1"
    )


async def test_a_server_that_is_away_is_late_then_lost_then_found_again(bench: Bench) -> None:
    await bench.kept()
    bench.server.silent()
    await settle(2 * 3600.0)
    bench.server.speaks()
    await settle(900.0)
    kinds = [kind for kind, _ in bench.holder.told]
    assert kinds[0] == "late"
    assert kinds[-2:] == ["lost", "recovered"]


async def test_a_link_that_is_down_at_t1_is_survived(bench: Bench) -> None:
    await bench.kept()
    await settle(1000.0)
    bench.server.goes_down()
    await settle(1500.0)
    bench.server.comes_up()
    await settle(3600.0)
    assert "renewed" in {kind for kind, _ in bench.holder.told}
    assert "lost" not in {kind for kind, _ in bench.holder.told}


async def test_a_stored_lease_is_kept_without_a_word_before_t1(bench: Bench) -> None:
    lease = await bench.kept()
    await bench.restart()
    heard = len(bench.server.heard)
    bench.allocator.maintain(lease, bench.holder)
    await settle(600.0)
    assert len(bench.server.heard) == heard
    await settle(1800.0)
    assert ("renewed", "10.77.16.1") in bench.holder.told


async def test_a_stored_lease_is_confirmed_at_once_if_asked_to(bench: Bench) -> None:
    lease = await bench.kept()
    await bench.restart()
    bench.allocator.maintain(lease, bench.holder, confirm=True)
    await settle(1.0)
    assert bench.server.said[2:] == ["REQUEST"]
    assert bench.holder.told == [("renewed", "10.77.16.1")]


async def test_a_lost_lease_is_reclaimed_at_once_after_a_restart(bench: Bench) -> None:
    lease = (await bench.kept()).denied()
    await bench.restart()
    bench.server.silent()
    bench.allocator.maintain(lease, bench.holder)
    await settle(1.0)
    assert bench.server.said[2:] == ["DISCOVER"]
    assert bench.server.heard[-1].requested == lease.address
    assert bench.holder.told == []
    bench.server.speaks()
    await settle(60.0)
    assert bench.holder.told == [("recovered", "10.77.16.1")]
    assert bench.holder.leases[-1].state is LeaseState.BOUND


async def test_a_lost_lease_of_an_earlier_process_is_not_released(bench: Bench) -> None:
    """Another may have it by now."""
    lease = (await bench.kept()).denied()
    await bench.restart()
    await bench.allocator.free(lease)
    assert "RELEASE" not in bench.server.said


async def test_many_stored_leases_are_confirmed_in_a_trickle(bench: Bench) -> None:
    bench.server.free = [IPv4Address(f"10.77.16.{n}") for n in range(1, 201)]
    leases = [replace(await bench.allocate(container(n)), generation=n) for n in range(1, 201)]
    await bench.restart()
    bench.server.heard.clear()
    for lease in leases:
        bench.allocator.maintain(lease, bench.holder, confirm=True)
    await settle(0.2)
    assert 16 <= len(bench.server.heard) <= 100
    await settle(2.0)
    assert len(bench.holder.told) == 200


async def test_a_stored_lease_waits_for_an_interface_that_is_not_there_yet(bench: Bench) -> None:
    lease = await bench.kept()
    await bench.restart()
    there, bench.interfaces.there = bench.interfaces.there, []
    bench.allocator.maintain(lease, bench.holder, confirm=True)
    await settle(60.0)
    assert bench.holder.told == []
    bench.interfaces.there = there
    await settle(10.0)
    assert bench.holder.told == [("renewed", "10.77.16.1")]


async def test_a_lease_that_waits_for_its_interface_is_waited_for_until_the_end(
    bench: Bench,
) -> None:
    lease = await bench.kept()
    await bench.restart()
    there, bench.interfaces.there = bench.interfaces.there, []
    bench.allocator.maintain(lease, bench.holder, confirm=True)
    await bench.allocator.aclose()
    bench.interfaces.there = there
    heard, links = len(bench.server.heard), len(bench.server.links)
    await settle(60.0)
    assert (len(bench.server.heard), len(bench.server.links)) == (heard, links)


async def test_a_lease_that_waits_for_its_interface_can_be_forgotten(bench: Bench) -> None:
    lease = await bench.kept()
    await bench.restart()
    there, bench.interfaces.there = bench.interfaces.there, []
    bench.allocator.maintain(lease, bench.holder, confirm=True)
    bench.allocator.forget(lease)
    bench.interfaces.there = there
    heard = len(bench.server.heard)
    await settle(60.0)
    assert len(bench.server.heard) == heard


# Given back


async def test_a_freed_lease_is_released_by_its_own_mac_and_client_id(bench: Bench) -> None:
    lease = await bench.kept()
    await bench.allocator.free(lease)
    (release,) = bench.server.of_type(RELEASE)
    assert (release.chaddr, release.client_id) == (WEB.mac, lease.client_id)
    assert (release.ciaddr, release.server_id) == (lease.address, SERVER)
    assert bench.server.bindings == {}
    await settle(3 * 3600.0)
    assert bench.server.said[-1] == "RELEASE"


async def test_a_lease_of_an_earlier_process_is_freed_too(bench: Bench) -> None:
    lease = await bench.kept()
    await bench.restart()
    await bench.allocator.free(lease)
    (release,) = bench.server.of_type(RELEASE)
    assert (release.chaddr, release.client_id) == (WEB.mac, lease.client_id)


async def test_a_release_that_could_not_be_sent_can_be_sent_again(bench: Bench) -> None:
    lease = await bench.kept()
    bench.server.goes_down()
    with pytest.raises(LinkDown):
        await bench.allocator.free(lease)
    bench.server.comes_up()
    await bench.allocator.free(lease)
    assert len(bench.server.of_type(RELEASE)) == 1


async def test_an_older_generation_does_not_free_what_was_got_anew(bench: Bench) -> None:
    old = await bench.kept()
    new = replace(await bench.allocate(), generation=2)
    bench.allocator.maintain(new, bench.holder)
    await bench.allocator.free(old)
    assert bench.server.of_type(RELEASE) == []
    await settle(3600.0)
    assert bench.holder.told


async def test_free_waits_for_an_exchange_of_the_same_mac(bench: Bench) -> None:
    lease = await bench.kept(DB)
    bench.server.latency = 0.8
    call = asyncio.ensure_future(bench.allocate(DB, ip="10.77.16.5"))
    await settle(0.5)
    await bench.allocator.free(lease)
    assert bench.server.said[2:] == ["DISCOVER", "REQUEST", "RELEASE"]
    assert (await call).address == IPv4Address("10.77.16.5")


async def test_a_forgotten_lease_is_neither_renewed_nor_released(bench: Bench) -> None:
    lease = await bench.kept()
    bench.allocator.forget(lease)
    await settle(3 * 3600.0)
    assert bench.server.said == ["DISCOVER", "REQUEST"]


async def test_the_end_closes_the_links_and_says_nothing(bench: Bench) -> None:
    await bench.kept()
    await bench.allocator.aclose()
    await settle(3 * 3600.0)
    assert bench.server.said == ["DISCOVER", "REQUEST"]
    assert [link.is_closed for link in bench.server.links] == [True]


async def test_pools_of_one_parent_share_a_link(bench: Bench) -> None:
    await bench.allocate(container(1))
    await bench.allocate(container(2), pool=RANGED)
    assert len(bench.server.links) == 1
