"""A dead host is drained, and no living one: whatever happened to the store and to the clocks."""

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import datetime, timedelta

import pytest

from d4d.adapters.stores.memory.hosts import MemoryHosts
from d4d.domain.addressing import MacAddress
from d4d.domain.errors import BadRequest, D4DError, StoreAway
from d4d.domain.leases import LeaseState
from d4d.domain.ports.hosts import Heard, HeartbeatReply
from d4d.service_layer.host_drain import Life
from tests.support.driver_harness import GRACE, A, B, Driver
from tests.support.virtual_time import settle

VIRTUAL_TIME = True

LONG = GRACE.total_seconds()
FIRST, SECOND = "192.168.59.1", "192.168.59.2"


class StrangeHosts(MemoryHosts):
    """Hosts of a store that may be away, whose clock may jump, and where others act meanwhile."""

    is_away = False
    jumped = timedelta(0)
    before_drain: Callable[[], object] | None = None

    async def beat(
        self, host: str, by: str, age: timedelta, now: datetime, *, instead_of: int | None = None
    ) -> HeartbeatReply:
        self._reach()
        return await super().beat(host, by, age, now + self.jumped, instead_of=instead_of)

    async def heard(self, now: datetime) -> Heard:
        self._reach()
        return await super().heard(now + self.jumped)

    async def begin_drain(self, host: str, by: str, beat: int | None, now: datetime) -> bool:
        self._reach()
        if self.before_drain is not None:
            await self.beat(host, "installation-1", GRACE, now)
        return await super().begin_drain(host, by, beat, now + self.jumped)

    def _reach(self) -> None:
        if self.is_away:
            raise StoreAway("the store is away")


class Site:
    """Hosts a and b on one store; a has two containers."""

    def __init__(self) -> None:
        self.a = Driver()
        self.hosts = StrangeHosts()
        self.a.hosts = self.hosts
        self.a.ipam = self.a._new()
        self.b = self.a.beside("host-b")
        self.beating: list[Driver] = []

    async def lives(self, seconds: float, *drivers: Driver) -> list[str]:
        """These beat and look for so long; returns whom b found dead meanwhile."""
        interval = self.a.ipam.heartbeat.interval.total_seconds()
        found: set[str] = set()
        for _ in range(round(seconds / interval)):
            await settle(interval)
            for driver in drivers:
                try:
                    await driver.ipam.heartbeat.beat()
                    dead = await driver.ipam.host_drain.dead()
                except D4DError:
                    driver.ipam.host_drain.lost_sight()
                else:
                    found |= {*dead} if driver is self.b else set()
        return sorted(found)

    async def away(self, seconds: float) -> None:
        """The store is, and nobody is heard of."""
        self.hosts.is_away = True
        await self.lives(seconds, self.a, self.b)
        self.hosts.is_away = False

    async def life(self, host: str = "host-a") -> Life:
        return {each.name: each.life for each in await self.b.ipam.host_drain.hosts()}[host]


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    site = Site()
    async with site.a, site.b:
        pool = await site.a.pool()
        await site.a.run(pool, A)
        await site.a.run(pool, B)
        yield site


# Who is dead


async def test_a_host_that_is_silent_for_a_grace_is_dead(site: Site) -> None:
    assert await site.lives(2 * LONG, site.a, site.b) == []
    assert await site.life() is Life.ALIVE
    assert await site.lives(LONG - 20, site.b) == []
    assert await site.lives(40, site.b) == ["host-a"]
    assert await site.life() is Life.SILENT


async def test_after_an_outage_of_the_store_nobody_is_dead(site: Site) -> None:
    await site.lives(2 * LONG, site.a, site.b)
    await site.away(5 * LONG)
    assert await site.lives(LONG - 20, site.b) == [], "a comes back late: it has not beaten yet"
    assert await site.life() is Life.UNKNOWN
    with pytest.raises(BadRequest, match=r"by the store's clock, but this host has watched for"):
        await site.b.ipam.host_drain.drain("host-a")
    assert await site.lives(3 * LONG, site.a, site.b) == []
    assert await site.life() is Life.ALIVE
    assert site.b.freed == []


async def test_who_died_in_the_outage_is_dead_a_grace_after_it(site: Site) -> None:
    await site.lives(LONG, site.a, site.b)
    await site.away(5 * LONG)
    assert await site.lives(LONG + 20, site.b) == ["host-a"]


@pytest.mark.parametrize("jump", [timedelta(days=1), timedelta(days=-1)], ids=["ahead", "back"])
async def test_where_the_stores_clock_jumps_nobody_is_dead(site: Site, jump: timedelta) -> None:
    await site.lives(2 * LONG, site.a, site.b)
    site.hosts.jumped = jump
    assert await site.b.ipam.host_drain.dead() == []
    assert await site.life() is not Life.SILENT
    with pytest.raises(BadRequest):
        await site.b.ipam.host_drain.drain("host-a")
    assert await site.lives(3 * LONG, site.a, site.b) == []
    assert await site.lives(2 * LONG, site.b) == ["host-a"], "and a dead one still is"


async def test_a_host_that_was_suspended_finds_nobody_dead(site: Site) -> None:
    await site.lives(LONG, site.a, site.b)
    site.b.clock.jump(timedelta(hours=8))
    site.a.clock.jump(timedelta(hours=8))  # all were, and b wakes first
    assert await site.lives(LONG - 20, site.b) == []
    assert await site.lives(3 * LONG, site.a, site.b) == []


async def test_a_host_that_just_began_finds_nobody_dead(site: Site) -> None:
    await settle(10 * LONG)
    assert await site.b.ipam.host_drain.dead() == []
    assert await site.life() is Life.UNKNOWN
    assert await site.lives(LONG - 20, site.b) == []
    assert await site.lives(40, site.b) == ["host-a"]


async def test_a_host_whose_store_lost_everything_finds_nobody_dead(site: Site) -> None:
    await site.lives(LONG, site.a, site.b)
    for name in await site.hosts.owners():
        await site.hosts.forget_host(name)
    assert await site.lives(3 * LONG, site.a, site.b) == []
    assert await site.life() is Life.ALIVE


async def test_a_namesake_that_waits_is_no_sign_of_life(site: Site) -> None:
    namesake = site.a.beside("host-a", installation="installation-3")
    assert await site.hosts.beat("host-a", "installation-3", GRACE, namesake.clock()) is (
        HeartbeatReply.NAMESAKE
    )
    assert await site.life() is Life.ALIVE
    assert await site.lives(LONG + 20, site.b) == ["host-a"]


# A host that lives after all


async def dead(site: Site) -> Driver:
    """Host b, which may drain a."""
    assert await site.lives(LONG + 20, site.b) == ["host-a"]
    return site.b


async def test_a_host_that_beats_just_then_wins(site: Site) -> None:
    b = await dead(site)
    site.hosts.before_drain = object
    with pytest.raises(BadRequest, match="was heard of just now"):
        await b.ipam.host_drain.drain("host-a")
    assert b.freed == []
    assert set((await site.a.stored()).values()) == {LeaseState.BOUND}


async def test_a_host_that_beats_while_it_is_drained_is_told_and_keeps_the_rest(site: Site) -> None:
    b = await dead(site)
    b.allocator.free_takes = 1.0
    host_drain = asyncio.ensure_future(b.ipam.host_drain.drain("host-a"))
    await settle(0.5)  # the first is on its way
    with pytest.raises(StoreAway, match="another host takes back what it held"):
        await site.a.ipam.heartbeat.beat()
    drained = await host_drain
    assert [str(lease.address) for lease in drained.freed] == [FIRST]
    assert b.freed == [FIRST]
    assert [(str(lease.address), why) for lease, why in drained.failed] == [
        (SECOND, "host-a was heard of again meanwhile")
    ]
    await site.a.ipam.heartbeat.beat()
    await settle()
    assert (await site.a.stored())[SECOND] is LeaseState.BOUND
    assert await site.life() is Life.ALIVE


async def test_a_drain_that_left_something_does_not_lock_the_host_out(site: Site) -> None:
    b = await dead(site)
    b.neighbours.answers = {FIRST: MacAddress.parse(A), SECOND: MacAddress.parse(B)}
    assert len((await b.ipam.host_drain.drain("host-a")).failed) == 2
    assert await b.ipam.host_drain.dead() == ["host-a"], "it is as silent as before"
    await site.a.ipam.heartbeat.beat()
    assert await site.a.stored() == {FIRST: LeaseState.BOUND, SECOND: LeaseState.BOUND}


async def test_of_two_hosts_one_drains(site: Site) -> None:
    c = site.a.beside("host-c", installation="installation-3")
    async with c:
        await asyncio.gather(site.b.watch(LONG + 20), c.watch(LONG + 20))
        outcomes = await asyncio.gather(
            site.b.ipam.host_drain.drain("host-a"),
            c.ipam.host_drain.drain("host-a"),
            return_exceptions=True,
        )
        assert sum(isinstance(each, BadRequest) for each in outcomes) == 1
        assert sorted(site.b.freed + c.freed) == [FIRST, SECOND]


async def test_a_drain_whose_host_died_is_taken_up_by_another(site: Site) -> None:
    c = site.a.beside("host-c", installation="installation-3")
    async with c:
        await asyncio.gather(site.b.watch(LONG + 20), c.watch(LONG + 20))
        site.b.allocator.free_takes = 1.0
        host_drain = asyncio.ensure_future(site.b.ipam.host_drain.drain("host-a"))
        await settle(1.5)  # the first is done
        host_drain.cancel()
        await settle()
        with pytest.raises(BadRequest, match="another host drains it"):
            await c.ipam.host_drain.drain("host-a")
        await c.watch(70)
        drained = await c.ipam.host_drain.drain("host-a")
        assert {str(lease.address) for lease in drained.freed} == {SECOND}
        assert {each.name for each in await c.ipam.host_drain.hosts()} <= {"host-b", "host-c"}


# An address that is in use after all


async def test_an_address_whose_container_answers_is_not_taken_back(site: Site) -> None:
    b = await dead(site)
    b.neighbours.answers = {FIRST: MacAddress.parse(A)}
    drained = await b.ipam.host_drain.drain("host-a", force=True)
    assert [(str(lease.address), why) for lease, why in drained.failed] == [
        (FIRST, f"its container still answers by ARP (MAC {A})")
    ]
    assert b.freed == [SECOND]
    assert await site.a.stored() == {FIRST: LeaseState.BOUND, SECOND: LeaseState.FREED}
    b.neighbours.answers = {}
    assert [str(each.address) for each in (await b.ipam.host_drain.drain("host-a")).freed] == [
        FIRST
    ]


async def test_an_address_for_which_anybody_answers_is_not_taken_back(site: Site) -> None:
    b = await dead(site)
    stranger = "02:42:0a:4d:ff:ff"
    b.neighbours.answers = {FIRST: MacAddress.parse(stranger)}
    ((lease, why),) = (await b.ipam.host_drain.drain("host-a")).failed
    assert str(lease.address) == FIRST
    assert why.startswith(f"{stranger} answers for it by ARP")


async def test_where_nobody_can_be_asked_nothing_is_taken_back_unless_forced(site: Site) -> None:
    b = await dead(site)
    b.neighbours.unasked = "this host has no interface 'eth0'"
    drained = await b.ipam.host_drain.drain("host-a")
    assert (drained.freed, b.freed) == ([], [])
    assert all("this host has no interface 'eth0'" in why for _, why in drained.failed)
    assert all("runs out by itself at 2026-01-01 13:00:00Z" in why for _, why in drained.failed)
    forced = await b.ipam.host_drain.drain("host-a", force=True)
    assert [str(lease.address) for lease, _ in forced.unasked] == [FIRST, SECOND]
    assert b.freed == [FIRST, SECOND]


async def test_what_ran_out_is_forgotten_without_a_word_to_its_server(site: Site) -> None:
    b = await dead(site)
    b.neighbours.unasked = "this host has no interface 'eth0'"
    await site.lives(3600, b)
    drained = await b.ipam.host_drain.drain("host-a")
    assert [str(lease.address) for lease in drained.freed] == [FIRST, SECOND]
    assert drained.failed == []
    assert b.freed == [], "its server gave it to another by now"


async def test_addresses_are_asked_for_together(site: Site) -> None:
    b = await dead(site)
    b.neighbours.takes = 1.0
    began = asyncio.get_running_loop().time()
    await b.ipam.host_drain.drain("host-a")
    assert asyncio.get_running_loop().time() - began == 1.0
    assert b.neighbours.asked == [FIRST, SECOND]


# An operator's word


async def test_an_operator_forces_what_was_not_watched_for_long_enough(site: Site) -> None:
    await settle(10 * LONG)
    with pytest.raises(BadRequest, match=r"watched for 0 s only: .*--force"):
        await site.b.ipam.host_drain.drain("host-a")
    assert len((await site.b.ipam.host_drain.drain("host-a", force=True)).freed) == 2


async def test_nobody_forces_the_drain_of_a_host_that_was_seen_to_live(site: Site) -> None:
    await site.lives(LONG, site.a, site.b)
    with pytest.raises(BadRequest, match="as this host saw"):
        await site.b.ipam.host_drain.drain("host-a", force=True)
    assert site.b.freed == []
