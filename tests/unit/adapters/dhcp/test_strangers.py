"""What strangers on the wire can cause: so many DHCPDECLINEs, messages and events, and no more."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from ipaddress import IPv4Address, ip_address
from random import Random

import pytest

from d4d.adapters.dhcp.allocator import DhcpAllocator
from d4d.adapters.dhcp.conflict_detection import OnConflict, OwnerOf
from d4d.adapters.dhcp.policy import DhcpPolicy
from d4d.adapters.dhcp.routes import Routes
from d4d.adapters.dhcp.strangers import Allowed, Budget, Strangers
from d4d.domain.addressing import MacAddress
from d4d.domain.dhcp.messages import Message, MessageType
from d4d.domain.errors import NoAddress
from d4d.domain.leases import Endpoint, Lease
from d4d.domain.pools import Pool, PoolOptions
from tests.support.allocation import asks
from tests.support.fake_dhcp_server import SERVER, SUBNET, FakeDhcpServer, FakeInterfaces, interface
from tests.support.fake_ports import RecordingEvents
from tests.support.virtual_time import NOON, FakeClock, settle

VIRTUAL_TIME = True

DISCOVER, OFFER, DECLINE = MessageType.DISCOVER, MessageType.OFFER, MessageType.DECLINE
POOL = Pool(subnet=SUBNET, options=PoolOptions(parent="eth0"))
STRANGER = MacAddress.parse("02:00:00:00:66:66")
FIRST = IPv4Address("10.77.16.1")


def container(number: int) -> Endpoint:
    return Endpoint(mac=MacAddress(bytes([2, 66, 0, 0, number >> 8, number & 255])))


def stranger(number: int) -> MacAddress:
    return MacAddress(bytes([2, 0, 0, 0, 0x66, number]))


class Neighbours:
    """Who answers ARP on eth0 (conflicts.Watch)."""

    def __init__(self) -> None:
        self.at: Callable[[IPv4Address], MacAddress | None] = lambda _: None
        self.probed: list[IPv4Address] = []

    def use(self, **addresses: MacAddress) -> None:
        """``_77=mac`` is a host that has 10.77.16.77."""
        has = {IPv4Address(f"10.77.16.{name[1:]}"): mac for name, mac in addresses.items()}
        self.at = has.get

    async def probe(
        self, address: IPv4Address, *, chaddr: MacAddress, wait: timedelta
    ) -> MacAddress | None:
        self.probed.append(address)
        mac = self.at(address)
        await asyncio.sleep(0.001 if mac else wait.total_seconds())
        return mac

    def open_soon(self) -> None: ...

    def close(self) -> None: ...


class Bench:
    """An allocator that probes, on a host with eth0, and the server behind it."""

    def __init__(self) -> None:
        self.server = FakeDhcpServer()
        self.neighbours = Neighbours()
        self.clock = FakeClock()
        self.events = RecordingEvents()

        def watch(parent: str, ours: OwnerOf, on_conflict: OnConflict) -> Neighbours:
            return self.neighbours

        self.allocator = DhcpAllocator(
            routes=Routes(interfaces=FakeInterfaces([interface("eth0", "10.77.0.9/16")])),
            link=self.server.link,
            watch=watch,
            policy=DhcpPolicy(host="host-a", conflict_probe=timedelta(milliseconds=50)),
            events=self.events,
            clock=self.clock,
            random=Random(26),
        )

    async def allocate(self, number: int = 1, *, ip: str | None = None) -> Lease:
        return await self.allocator.allocate(
            asks(
                POOL,
                container(number),
                address=ip_address(ip) if ip else None,
                hint=None,
                taken=set(),
            )
        )

    async def refusal(self, number: int = 1, *, ip: str | None = None) -> str:
        with pytest.raises(NoAddress) as refused:
            await self.allocate(number, ip=ip)
        return str(refused.value)

    @property
    def seconds(self) -> float:
        return (self.clock() - NOON).total_seconds()

    @property
    def kinds(self) -> Counter[str]:
        return Counter(kind for kind, _ in self.events.told)


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    made = Bench()
    yield made
    await made.allocator.aclose()


# One address


async def test_an_address_in_use_is_declined_and_another_had_after_a_pause(bench: Bench) -> None:
    bench.neighbours.use(_1=STRANGER)
    lease = await bench.allocate()
    assert lease.address == IPv4Address("10.77.16.2")
    assert bench.server.said == ["DISCOVER", "REQUEST", "DECLINE", "DISCOVER", "REQUEST"]
    assert bench.server.declined == [FIRST]
    assert bench.events.told == [("conflict", str(FIRST)), ("declined", str(FIRST))]
    assert all(f"{STRANGER} answers ARP for it" in each.detail for each in bench.events.all)
    assert 1.0 <= bench.seconds < 2.0


async def test_an_address_that_is_offered_again_after_its_decline_ends_the_try(
    bench: Bench,
) -> None:
    """A reservation in the server, or its only address."""
    bench.server.offers("10.77.16.77")
    bench.neighbours.use(_77=STRANGER)
    assert await bench.refusal() == (
        f"DHCP server {SERVER} on eth0 offered 10.77.16.77 to {container(1).mac} again after it "
        f"was declined, as one does that has it reserved for {container(1).mac} or has no other "
        f"left. But {STRANGER} on eth0 answers ARP for 10.77.16.77: take the host with that MAC "
        f"address off 10.77.16.77, or change the reservation or the range in the server"
    )
    said = ["DISCOVER", "REQUEST", "DECLINE", "DISCOVER"]
    assert bench.server.said in (said, [*said, "DISCOVER"]), "another server may be a bit slower"
    assert bench.kinds == {"conflict": 1, "declined": 1}
    assert bench.seconds < 5.0
    heard = len(bench.server.heard)
    await settle(600.0)
    assert len(bench.server.heard) == heard


async def test_another_servers_better_offer_is_awaited_after_a_repeated_one(bench: Bench) -> None:
    bench.server.offers("10.77.16.77")
    bench.neighbours.use(_77=STRANGER)
    call = asyncio.ensure_future(bench.allocate())
    await settle(1.5)
    bench.server.offers("10.77.16.5")
    bench.server.links[0].broadcast(bench.server.heard[-1])  # another server hears it, too
    assert (await call).address == IPv4Address("10.77.16.5")


async def test_a_reservation_that_is_in_use_is_declined_twice_in_many_calls(bench: Bench) -> None:
    bench.server.offers("10.77.16.77")
    bench.neighbours.use(_77=STRANGER)
    texts = [await bench.refusal() for _ in range(20)]
    assert len(bench.server.declined) == 2
    assert "It was released, not declined: D4D declines 2 addresses on eth0 for" in texts[-1]
    assert "the reservation of 10.77.16.77" in texts[-1]
    assert bench.server.bindings == {}
    assert len(bench.server.heard) < 20 * 8


async def test_what_was_declined_may_be_declined_again_when_time_has_passed(bench: Bench) -> None:
    bench.server.offers("10.77.16.77")
    bench.neighbours.use(_77=STRANGER)
    for _ in range(3):
        await bench.refusal()
    assert len(bench.server.declined) == 2
    await settle(610.0)
    await bench.refusal()
    assert len(bench.server.declined) == 3


async def test_an_ip_that_is_in_use_is_declined_once(bench: Bench) -> None:
    bench.neighbours.use(_5=STRANGER)
    text = await bench.refusal(ip="10.77.16.5")
    assert f"is in use, and was declined: 10.77.16.5 ({STRANGER} answers ARP for it)" in text
    assert bench.server.said == ["DISCOVER", "REQUEST", "DECLINE"]
    assert bench.seconds < 1.0, "nothing follows, and nobody waits for it"


async def test_a_pause_that_the_deadline_cuts_short_says_what_was_declined(bench: Bench) -> None:
    bench.server.latency = 6.0
    bench.neighbours.use(_1=stranger(1), _2=stranger(2), _3=stranger(3))
    assert "is in use, and was declined: 10.77.16.1" in await bench.refusal()
    assert bench.seconds == 25.0


# Many addresses


async def test_declining_has_an_end_and_a_pace(bench: Bench) -> None:
    bench.neighbours.use(**{f"_{n}": stranger(n) for n in range(1, 9)})
    text = await bench.refusal()
    assert "is in use, and was declined: 10.77.16.1 " in text
    assert text.endswith("Take these addresses out of the server's range")
    assert len(bench.server.declined) == 5
    assert 15.0 <= bench.seconds < 20.0, "1, 2, 4 and 8 s between them"
    assert bench.server.bindings == {}


async def test_a_parent_has_a_budget_however_many_macs_answer(bench: Bench) -> None:
    """Who forges each answer with another MAC uses up no range."""
    bench.server.free = [IPv4Address(f"10.77.17.{n}") for n in range(1, 255)]
    macs = iter(range(10**6))
    bench.neighbours.at = lambda _: MacAddress((0x020000000000 + next(macs)).to_bytes(6, "big"))
    texts = [await bench.refusal(number) for number in range(60)]
    assert len(bench.server.declined) <= 8 + bench.seconds / 600
    assert "It was released, not declined: D4D declines 8 addresses on eth0" in texts[-1]
    assert bench.server.bindings == {}


# One MAC for many addresses


async def test_a_router_with_proxy_arp_costs_no_address(bench: Bench) -> None:
    bench.neighbours.at = lambda _: STRANGER
    for number in range(60):
        text = await bench.refusal(number)
    assert bench.server.declined == []
    assert bench.server.bindings == {}
    assert bench.server.said == ["DISCOVER", "REQUEST", "RELEASE"] * 60
    assert bench.kinds == {"conflict": 60}
    assert text.startswith("10.77.16.1, which DHCP server 10.77.0.1 gave to 02:42:00:00:00:3b, can")
    assert f"{STRANGER} on eth0 answers ARP for it, and for 10.77.16." in text
    assert "turn proxy ARP off on that router" in text
    assert "D4D_CONFLICT_PROBE=0s" in text


async def test_an_ip_behind_proxy_arp_is_not_declined(bench: Bench) -> None:
    bench.neighbours.at = lambda _: STRANGER
    assert "proxy ARP" in await bench.refusal(ip="10.77.16.5")
    assert bench.server.said == ["DISCOVER", "REQUEST", "RELEASE"]


async def test_a_host_with_two_addresses_is_gone_around_and_not_declined(bench: Bench) -> None:
    bench.neighbours.use(_1=STRANGER, _3=STRANGER)
    lease = await bench.allocate()
    assert lease.address not in (FIRST, IPv4Address("10.77.16.3"))
    assert bench.server.declined == []
    assert bench.server.said[:3] == ["DISCOVER", "REQUEST", "RELEASE"]
    assert bench.kinds == {"conflict": 1}


async def test_a_host_with_addresses_far_apart_is_known_by_the_second(bench: Bench) -> None:
    bench.server.free = [IPv4Address(f"10.77.16.{n}") for n in (1, 200, 201)]
    bench.neighbours.use(_1=STRANGER, _200=STRANGER)
    lease = await bench.allocate()
    assert bench.server.declined == [FIRST]
    assert lease.address == IPv4Address("10.77.16.201")


async def test_a_mac_that_left_an_address_does_not_count_for_two(bench: Bench) -> None:
    bench.neighbours.use(_1=STRANGER)
    await bench.allocate(1)
    bench.server.free = [IPv4Address("10.77.16.200"), IPv4Address("10.77.16.201")]
    bench.neighbours.use(_200=STRANGER)
    await bench.allocate(2)
    assert bench.server.declined == [FIRST, IPv4Address("10.77.16.200")]


async def test_part_of_a_range_behind_a_router_is_gone_around_within_bounds(bench: Bench) -> None:
    bench.server.free = [IPv4Address(f"10.77.16.{n}") for n in range(8, 32)]
    bench.neighbours.at = lambda address: STRANGER if int(address) & 0xFF < 16 else None
    lease = await bench.allocate()
    assert int(lease.address) & 0xFF >= 16
    assert bench.server.declined == []
    assert len(bench.server.heard) < 40


# What else is said to us without end


def forged_offers(bench: Bench, count: int) -> None:
    """From so many servers, of as many addresses of another network."""
    asked = bench.server.of_type(DISCOVER)[-1]
    for number in range(count):
        offer = Message(
            type=OFFER,
            xid=asked.xid,
            chaddr=asked.chaddr,
            server_id=IPv4Address("10.77.2.0") + number % 250,
            yiaddr=IPv4Address("172.16.0.1") + number,
            lease_time=timedelta(hours=1),
        )
        bench.server.links[-1].arrive(offer)


async def test_forged_offers_make_few_events(bench: Bench) -> None:
    bench.server.latency = 2.0
    call = asyncio.ensure_future(bench.allocate())
    await settle(0.5)
    forged_offers(bench, 5000)
    assert (await call).address == FIRST
    assert 1 <= bench.kinds["mismatch"] <= 4


async def test_forged_offers_of_the_same_make_one_event(bench: Bench) -> None:
    bench.server.latency = 2.0
    call = asyncio.ensure_future(bench.allocate())
    await settle(0.5)
    for _ in range(300):
        forged_offers(bench, 1)
    await call
    assert bench.kinds["mismatch"] == 1


async def test_a_server_that_goes_on_refusing_its_offers_is_asked_seldom(bench: Bench) -> None:
    bench.server.naks()
    await bench.refusal()
    assert len(bench.server.heard) <= 2 * 9
    assert bench.server.declined == []


# The budget by itself


def test_a_budget_is_used_up_and_grows_again() -> None:
    budget = Budget(2, every=10.0)

    def takes(now: float) -> bool:
        if budget.has_any(now):
            budget.take()
            return True
        return False

    assert [takes(now) for now in (0, 0, 0, 9.9, 10, 10, 1000, 1000, 1000)] == [
        True,
        True,
        False,
        False,
        True,
        False,
        True,
        True,
        False,
    ]  # fmt: skip - an instant and its answer stand in one order


def test_strangers_are_remembered_within_bounds() -> None:
    strangers = Strangers()
    for number in range(5000):
        mac = MacAddress(number.to_bytes(6, "big"))
        strangers.heard(mac, FIRST + number)
        strangers.may_decline(mac, float(number))
    assert len(strangers) <= 257
    mac = MacAddress(b"\2\0\0\0\0\1")
    for number in range(100):
        strangers.heard(mac, FIRST + number)
    assert len(strangers.controls(mac, FIRST, SUBNET)) <= 4 + 6


@pytest.mark.parametrize("subnet", ["10.77.16.0/30", "10.77.16.0/31", "10.77.16.0/24"])
def test_controls_are_hosts_of_the_subnet(subnet: str) -> None:
    network = type(SUBNET)(subnet)
    for address in network.hosts():
        controls = Strangers().controls(STRANGER, address, network)
        assert address not in controls
        assert set(controls) <= set(network.hosts())
    assert Strangers().may_decline(STRANGER, 0.0) is Allowed.YES
