"""What Docker was told stays the container's, and nobody else's, until Docker gives it back.

Each test is a way in which it once did not: over the real allocator, with a server that forgets, a
store that lies, a host that sleeps.
"""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from ipaddress import IPv4Address, ip_address, ip_network

import pytest

from d4d.adapters.range_allocator import RangeAllocator
from d4d.adapters.stores.memory.store import MemoryLeaseStore
from d4d.adapters.system.clock_jumps import ClockJumps
from d4d.domain.addressing import Address, MacAddress
from d4d.domain.dhcp.messages import MessageType
from d4d.domain.errors import AddressInUse, BadRequest, StoreAway
from d4d.domain.lease_states import Standing, Use
from d4d.domain.leases import Lease, LeaseState
from d4d.domain.pools import PoolId, PoolRecord, PoolRequest
from d4d.domain.ports.disturbances import LinkChange, LinkChanged
from d4d.domain.ports.docker import Attachment, DockerNetwork, NetworkSubnet
from d4d.domain.stored import StoreContents
from d4d.service_layer.disturbance_watch import DisturbanceWatch
from d4d.service_layer.reconciler import Reconciler
from tests.support.allocation import asks
from tests.support.dhcp_site import DB, PARENT, POOL, WEB, A, B, Site
from tests.support.fake_dhcp_server import SERVER, SUBNET, FakeInterfaces, interface
from tests.support.fake_ports import FailingStore
from tests.support.virtual_time import FakeClock, FakeClocks, settle

VIRTUAL_TIME = True

MINUTE = timedelta(minutes=1)
RELEASE, REQUEST, DECLINE = "RELEASE", MessageType.REQUEST, "DECLINE"


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    async with Site() as made:
        yield made


def requests_of(site: Site, mac: str) -> int:
    return sum(str(message.chaddr) == mac for message in site.server.of_type(REQUEST))


async def first_after(site: Site, mac: str, *, within: float) -> None:
    """A request of ``mac`` comes within so many seconds."""
    before = requests_of(site, mac)
    await settle(within)
    assert requests_of(site, mac) > before, f"nothing was asked for {mac} within {within:g} s"


# Who asks


async def test_a_name_that_was_given_to_another_container_takes_nothing_over(site: Site) -> None:
    """docker rename web old; docker run --name web; docker stop web: before a name is learnt."""
    old = await site.run(POOL, A, "web")
    new = await site.run(POOL, B, "web")
    assert old != new
    first, second = (site.lease(each) for each in (old, new))
    assert first.client_id != second.client_id
    await site.release(POOL, new)
    await settle(1.0)
    assert site.lease(old).state is LeaseState.BOUND
    assert [str(m.ciaddr) for m in site.server.of_type(MessageType.RELEASE)] == [new]


async def test_a_container_on_two_networks_of_one_pool_has_two_leases(site: Site) -> None:
    one, other = await site.run(POOL, A, "web"), await site.run(POOL, B, "web")
    await site.release(POOL, one)  # docker network disconnect
    await settle(1.0)
    assert site.lease(other).is_live
    assert site.lease(one).use is Use.FREED
    assert IPv4Address(other) in site.server.bindings


async def test_a_container_that_was_given_back_has_its_address_under_a_new_mac(site: Site) -> None:
    address = await site.run(POOL, A, "web")
    await site.release(POOL, address)
    assert await site.run(POOL, B, "web") == address


async def test_a_name_comes_back_where_docker_showed_that_no_container_has_the_old_lease(
    site: Site,
) -> None:
    """dockerd was killed: it never released, and starts the container with a new MAC."""
    address = await site.run(POOL, A, "web")
    docker = reconciler(site, Docker(LAN))
    await docker.run()
    assert site.ipam.leasing.missing == frozenset(), "it is too young to be missing"
    await settle(300.0)
    await docker.run()
    assert await site.run(POOL, B, "web") == address
    assert [str(each.endpoint.mac) for each in site.leases] == [B]


# What a server may have heard


async def test_what_a_server_may_have_heard_of_is_taken_back_with_its_word_only(
    site: Site,
) -> None:
    """D4D was killed after a RELEASE and before that was stored; another machine got it."""
    address = await site.run(POOL, A, "web")
    await settle(60.0)
    await site.release(POOL, address)
    site.store.away_for = {"update"}
    await settle(5.0)
    assert RELEASE in site.server.said
    await site.crash()
    site.store.away_for = set()
    (stored,) = await site.stored()
    assert stored.use is Use.RELEASED
    site.server.bindings[IPv4Address(address)] = b"another machine"
    assert await site.run(POOL, A, "web") != address


async def test_a_release_that_could_not_be_sent_is_still_taken_back_at_once(site: Site) -> None:
    address = await site.run(POOL, A, "web")
    site.server.goes_down()
    await site.release(POOL, address)
    await settle(3.0)
    site.server.comes_up()
    heard = len(site.server.heard)
    assert await site.run(POOL, A, "web") == address
    assert len(site.server.heard) == heard


async def test_a_lost_lease_that_is_held_does_not_come_back_as_bound() -> None:
    """D4D_ON_LOST=reconnect: Docker disconnects the container, and connects it again."""
    async with Site(hold=MINUTE) as site:
        address = await site.run(POOL, A, "web")
        site.server.bindings[IPv4Address(address)] = b"another"
        await settle(2000.0)
        assert site.lease(address).state is LeaseState.LOST
        await site.release(POOL, address)
        again = await site.run(POOL, A, "web")
        assert again != address
        await settle(120.0)
        assert site.lease(address).use is Use.FREED
        assert RELEASE not in site.server.said, "it is another's: there is nothing to release"


async def test_who_has_a_lost_lease_and_asks_again_gets_another(site: Site) -> None:
    """Docker's release of it was lost."""
    address = await site.run(POOL, A, "web")
    site.server.bindings[IPv4Address(address)] = b"another"
    await settle(3000.0)
    again = await site.run(POOL, A, "web")
    assert again != address
    assert [lease.state for lease in site.leases if lease.is_live] == [LeaseState.BOUND]


async def test_who_has_a_lost_lease_and_gets_none_goes_on_asking_for_it(site: Site) -> None:
    address = await site.run(POOL, A, "web")
    site.server.bindings[IPv4Address(address)] = b"another"
    await settle(3000.0)
    site.server.silent()
    with pytest.raises(Exception, match="no DHCP server answered"):
        await site.run(POOL, A, "web")
    site.server.speaks()
    del site.server.bindings[IPv4Address(address)]
    await settle(3600.0)
    assert site.lease(address).state is LeaseState.BOUND


# A server that forgets


async def test_a_server_that_offers_what_a_container_has_is_reminded_at_once(site: Site) -> None:
    one = await site.run(POOL, A, "web")
    site.server.forgets()
    before = requests_of(site, A)
    other = await site.run(POOL, B, "db")
    await settle(2.0)
    assert other != one
    assert requests_of(site, A) > before, "the first one's lease was not confirmed"
    assert site.lease(one).standing is Standing.GRANTED
    assert IPv4Address(one) in site.server.bindings
    assert DECLINE not in site.server.said
    await settle(7200.0)
    assert site.told("lost") == []


async def test_a_server_that_offers_it_again_and_again_is_not_asked_again_and_again(
    site: Site,
) -> None:
    one = await site.run(POOL, A, "web")
    del site.server.bindings[IPv4Address(one)]
    site.server.offers(one)
    site.server.silent(REQUEST)
    for _ in range(5):
        with pytest.raises(Exception, match="no address"):
            await site.run(POOL, B, "db")
    assert requests_of(site, A) < 60
    assert DECLINE not in site.server.said


# Clocks


async def test_every_lease_is_confirmed_at_a_start(site: Site) -> None:
    site.clock.jump(timedelta(hours=8))  # the host's clock was wrong
    await site.run(POOL, A, "web")
    await settle(45 * 60.0)
    site.clock.jump(-timedelta(hours=8))  # and was mended
    before = requests_of(site, A)
    await site.restart()
    await settle(2.0)
    assert requests_of(site, A) > before


async def test_a_lost_lease_is_asked_for_at_once_after_a_restart(site: Site) -> None:
    address = await site.run(POOL, A, "web")
    site.server.bindings[IPv4Address(address)] = b"another"
    await settle(2000.0)
    before = sum(str(each.chaddr) == A for each in site.server.heard)
    await site.restart()
    assert site.lease(address).state is LeaseState.LOST
    await settle(2.0)
    assert sum(str(each.chaddr) == A for each in site.server.heard) > before


@pytest.mark.parametrize("hours", [2, 12])
async def test_a_host_that_slept_asks_within_seconds(site: Site, hours: int) -> None:
    clocks = FakeClocks()
    watch = DisturbanceWatch([ClockJumps(read=clocks)])
    watch.add(site.allocator.disturbed)
    watch.start()
    await site.run(POOL, A, "web")
    await settle(60.0)
    site.clock.jump(timedelta(hours=hours))
    clocks.sleep(timedelta(hours=hours))
    await first_after(site, A, within=6.0)
    await watch.aclose()


# Interfaces


async def test_a_route_that_was_taken_before_the_parent_had_its_address_is_taken_anew() -> None:
    there = FakeInterfaces([interface("mgmt", "192.0.2.9/24", index=1)])
    there.there.append(interface(PARENT, index=2))  # up, and its address comes later
    async with Site(interfaces=there, servers=(SERVER,)) as site:
        address = await site.run(POOL, A, "web")
        there.there[:] = [
            interface("mgmt", "192.0.2.9/24", index=1),
            interface(PARENT, "10.77.0.9/16", index=2),
        ]
        changes = frozenset({LinkChange.ADDRESSES})
        site.allocator.disturbed(LinkChanged(name=PARENT, changes=changes))
        await first_after(site, A, within=5.0)
        assert site.server.links[-1].name == PARENT
        await site.run(POOL, B, "db")
        assert site.lease(address).state is LeaseState.BOUND


async def test_links_are_closed_with_their_last_use() -> None:
    there = FakeInterfaces([interface(PARENT, "10.77.0.9/16")])
    async with Site(interfaces=there) as site:
        for number in range(20):
            there.there.append(interface(f"eth0.{number}", index=10 + number))
            pool = await site.pool(parent=f"eth0.{number}")
            address = await site.run(pool, A, "web")
            await site.release(pool, address)
            await settle(1.0)
            await site.ipam.release_pool(pool)
            there.there.pop()
            site.server.bindings.clear()
        await settle(300.0)
        assert sum(not link.is_closed for link in site.server.links) == 0


async def test_many_leases_that_wait_for_one_parent_look_for_it_together() -> None:
    there = FakeInterfaces([interface(PARENT, "10.77.0.9/16")])
    async with Site(interfaces=there) as site:
        site.server.free = [IPv4Address(f"10.77.18.{n}") for n in range(1, 201)]
        for number in range(200):
            await site.run(POOL, f"02:42:0a:4d:12:{number:02x}", f"c{number}")
        kept, there.there = there.there, []
        await site.restart()
        looks, look = [0], there.all

        def counted() -> list[object]:
            looks[0] += 1
            return look()  # type: ignore[return-value]  # it is only counted

        there.all = counted  # type: ignore[method-assign,assignment]  # as above
        await settle(60.0)
        assert looks[0] < 50
        there.there = kept
        await settle(30.0)
        assert len(site.server.of_type(REQUEST)) >= 400


async def test_a_name_that_is_learnt_while_a_lease_waits_for_its_parent_stays() -> None:
    there = FakeInterfaces([interface(PARENT, "10.77.0.9/16")])
    async with Site(interfaces=there) as site:
        await site.run(POOL, A)
        kept, there.there = there.there, []
        await site.restart()
        (lease,) = site.leases
        await site.ipam.leasing.name(lease, "web")
        there.there = kept
        await settle(3000.0)
        (lease,) = site.leases
        assert (lease.endpoint.name, lease.hostname) == ("web", "web")


# Stores


class SlowStore(FailingStore):
    """Whose connections are not equally fast."""

    def __init__(self) -> None:
        super().__init__()
        self.delays: list[float] = []
        self.load_takes = 0.0
        self.loses_add = 0
        self.pool_delays: list[float] = []

    async def update(self, lease: Lease) -> None:
        await asyncio.sleep(self.delays.pop(0) if self.delays else 0.001)
        await super().update(lease)

    async def load(self, owner: str) -> StoreContents:
        found = await super().load(owner)
        await asyncio.sleep(self.load_takes)  # the answer is on its way
        return found

    async def add(self, lease: Lease, *, unless_held: bool = False) -> Lease:
        added = await super().add(lease, unless_held=unless_held)
        if self.loses_add:
            self.loses_add -= 1
            raise StoreAway("the answer was lost")
        return added

    async def save_pool(self, record: PoolRecord, owner: str) -> None:
        delay = self.pool_delays.pop(0) if self.pool_delays else 0.0
        await asyncio.sleep(delay)
        await super().save_pool(record, owner)


async def test_two_writes_of_one_lease_do_not_overtake_each_other() -> None:
    store = SlowStore()
    async with Site(store=store, hold=timedelta(seconds=30)) as site:
        address = await site.run(POOL, A, "web")
        store.is_away = True
        await site.release(POOL, address)  # docker restart, while the store is away
        store.is_away, store.delays = False, [0.2, 0.001]
        await settle(1.1)
        assert await site.run(POOL, A, "web") == address
        await settle(5.0)
        (stored,) = await site.stored()
        assert stored.use is Use.IN_USE
        await site.restart()
        await settle(60.0)
        assert RELEASE not in site.server.said


async def test_an_older_record_of_a_pool_does_not_overwrite_a_newer() -> None:
    store = SlowStore()
    async with Site(store=store) as site:
        pool = await site.pool()
        store.pool_delays = [0.05, 0.0]
        await asyncio.gather(site.pool(), site.ipam.request_gateway(pool, ip_address("10.77.0.1")))
        await settle(1.0)
        (record,) = (await store.inner.load("host-a")).pools
        assert (record.users, len(record.reservations)) == (2, 1)


async def test_a_network_that_is_made_again_while_its_end_waits_to_be_stored_stays(
    site: Site,
) -> None:
    pool = await site.pool()
    await site.ipam.request_gateway(pool, ip_address("10.77.0.1"))
    site.store.is_away = True
    await site.ipam.release_address(pool, ip_address("10.77.0.1"))
    await site.ipam.release_pool(pool)
    await settle(0.5)
    site.store.is_away = False
    again = await site.pool()
    await site.ipam.request_gateway(again, ip_address("10.77.0.1"))
    await settle(5.0)
    (record,) = (await site.store.inner.load("host-a")).pools
    assert (record.users, len(record.reservations)) == (1, 1)


async def test_a_record_whose_answer_was_lost_is_not_taken_for_another_hosts() -> None:
    store = SlowStore()
    async with Site(store=store) as site:
        address = await site.run(POOL, A, "web")
        store.inner = MemoryLeaseStore()  # it lost its contents
        store.loses_add = 1
        await settle(1900.0)
        assert site.lease(address).is_live
        assert site.told("lost") == []
        assert [str(each.address) for each in await site.stored()] == [address]


async def test_a_lease_that_was_stored_while_the_store_was_read_is_not_disowned() -> None:
    store = SlowStore()
    async with Site(store=store) as site:
        await site.pool()
        store.load_takes = 0.05
        site.ipam.heartbeat._sure_until = None  # as after an absence
        beat = asyncio.ensure_future(site.ipam.heartbeat.beat())
        holdings = site.ipam._pools.find(POOL)
        assert holdings is not None
        lease = asyncio.ensure_future(site.ipam.leasing.request(holdings, WEB, None))
        await asyncio.gather(beat, lease)
        await settle(1.0)
        assert [each.address for each in site.leases] == [lease.result().address]
        assert site.told("lost") == []


async def test_a_container_that_stops_after_the_store_was_lost_is_released(site: Site) -> None:
    await site.run(POOL, A, "web")
    other = await site.run(POOL, B, "db")
    site.store.inner = MemoryLeaseStore()
    await site.release(POOL, other)
    await settle(5.0)
    assert RELEASE in site.server.said
    before = requests_of(site, B)
    await settle(5 * 3600.0)
    assert requests_of(site, B) == before, "nobody renews it"


async def test_a_claim_in_doubt_does_not_remove_what_its_retry_got() -> None:
    inner, clock = MemoryLeaseStore(), FakeClock()

    class Flaky(FailingStore):
        async def remove(self, lease: Lease) -> bool:
            if self.takes:
                self.takes = 0.0
                raise StoreAway("away for a moment")
            return await self.inner.remove(lease)

        async def take(self, claim: object) -> Lease:
            return await self.inner.take(claim)  # type: ignore[arg-type]  # it is passed on

    store = Flaky(inner)
    store.takes = 1.0
    allocator = RangeAllocator(store=store, owner="host-a", clock=clock)
    pool = await allocator.open(PoolRequest(subnet=ip_network("192.168.59.0/24")))
    taken: set[Address] = {ip_address("192.168.59.1"), ip_address("192.168.59.2")}
    lease = await allocator.allocate(asks(pool, WEB, taken=taken, at=clock()))
    await settle(30.0)
    left = [each.address for each in (await inner.load("host-a")).leases]
    assert lease.address in left
    await allocator.aclose()


async def test_a_lease_whose_allocator_is_gone_stops_nobody(site: Site) -> None:
    address = await site.run(POOL, A, "web")
    foreign = replace(
        site.lease(address),
        pool=PoolId("192.168.9.0/24?allocator=gone"),
        address=ip_address("192.168.9.5"),
    )
    await site.store.inner.add(foreign)
    await site.restart()
    await settle(1.0)
    assert site.lease(address).state is LeaseState.BOUND
    assert requests_of(site, A) > 1
    ((_, quarantined),) = site.ipam.leasing.quarantined
    assert str(quarantined) == "192.168.9.5"
    assert "192.168.9.5" in {str(each.address) for each in await site.stored()}
    assert [each for each in site.told() if each[1] == "192.168.9.5"]


async def test_a_write_that_fails_for_one_lease_holds_up_no_other() -> None:
    class Poison(FailingStore):
        async def update(self, lease: Lease) -> None:
            if str(lease.endpoint.mac) == A:
                raise BadRequest("is no text that can be stored")
            await super().update(lease)

    async with Site(store=Poison()) as site:
        await site.run(POOL, A, "web")
        other = await site.run(POOL, B, "db")
        await settle(1900.0)
        await site.release(POOL, other)
        await settle(10.0)
        states = {str(each.address): each.use for each in await site.stored()}
        assert states[other] is Use.FREED


# Docker


LAN = DockerNetwork(
    id="1",
    name="lan",
    driver="macvlan",
    subnets=(NetworkSubnet(subnet=SUBNET),),
    options={"parent": PARENT},
    parent=PARENT,
)


class Docker:
    """An engine's API, as far as a reconciliation asks."""

    gives_names = True

    def __init__(self, *networks: DockerNetwork) -> None:
        self.there = networks

    async def networks(self) -> tuple[DockerNetwork, ...]:
        return self.there

    async def attachments(self) -> tuple[Attachment, ...]:
        return ()


def reconciler(site: Site, docker: Docker) -> Reconciler:
    return Reconciler(ipam=site.ipam, containers=docker, clock=site.clock, grace=MINUTE)  # type: ignore[arg-type]  # it asks no more


async def test_a_pool_whose_release_was_lost_blocks_its_subnet_no_longer(site: Site) -> None:
    """docker network rm while D4D was down."""
    pool = await site.pool()
    docker = reconciler(site, Docker())
    await docker.run()
    assert [each.users for each in site.ipam.pools] == [1], "seen once, it may be on its way"
    await settle(120.0)
    found = await docker.run()
    assert found.unused == [pool]
    await site.pool(range_="10.77.16.0/24")


async def test_such_a_pool_with_a_lease_in_use_goes_when_that_is_released(site: Site) -> None:
    address = await site.run(POOL, A, "web")
    docker = reconciler(site, Docker())
    for _ in range(4):
        await settle(120.0)
        assert (await docker.run()).unused == []
    assert site.lease(address).is_live, "that no network is shown proves nothing of its containers"
    await site.ipam.leasing.give_up(site.lease(address), "an operator said so")
    for _ in range(3):
        await settle(120.0)
        await docker.run()
    assert [each.users for each in site.ipam.pools] == []


async def test_a_pool_that_a_network_may_have_stays(site: Site) -> None:
    await site.pool()
    docker = reconciler(site, Docker(replace(LAN, options={}, parent="eth9")))
    for _ in range(5):
        await docker.run()
        await settle(120.0)
    assert [each.users for each in site.ipam.pools] == [1]


async def test_an_auxiliary_address_of_a_lease_is_refused(site: Site) -> None:
    address = await site.run(POOL, A, "web")
    with pytest.raises(AddressInUse, match="leased to"):
        await site.ipam.request_auxiliary(POOL, ip_address(address))
    assert site.lease(address).is_live


async def test_no_two_live_endpoints_may_hold_one_address(site: Site) -> None:
    """The invariant stands in the code, and raises."""
    await site.run(POOL, A, "web")
    (lease,) = site.leases
    thief = replace(lease, endpoint=DB)
    with pytest.raises(AssertionError, match="no two live endpoints"):
        site.ipam.leasing.ledger.put(thief)
    assert MacAddress.parse(A) == site.lease(str(lease.address)).endpoint.mac
