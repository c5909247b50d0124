"""Whatever Docker asks, in any order, with servers, stores and drivers that fail: invariants."""

from dataclasses import dataclass, field
from datetime import timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from d4d.domain.errors import D4DError, StoreUnavailable
from d4d.domain.leases import LeaseState
from d4d.domain.pools import Purpose
from tests.support.driver_harness import Driver
from tests.support.fake_ports import LINK_DOWN
from tests.support.virtual_time import run, settle

_GONE = (LeaseState.RELEASED, LeaseState.FREED)
NET = "192.168.59.0/28"  # 14 addresses: containers come into each other's way

containers = st.sampled_from([f"02:42:0a:4d:10:{n:02x}" for n in range(1, 5)])
names = st.sampled_from([None, "web", "db"])
hosts = st.integers(0, 15).map(lambda n: f"192.168.59.{n}")
few_hosts = st.integers(1, 4).map(lambda n: f"192.168.59.{n}")

steps = st.one_of(
    st.tuples(st.just("run"), containers, names, st.none() | few_hosts),
    st.tuples(st.just("run"), containers, names, st.none()),
    st.tuples(st.just("stop"), st.integers(0, 3)),
    st.tuples(st.just("stop"), st.integers(0, 3)),
    st.tuples(st.just("release"), hosts),
    st.tuples(st.just("gateway"), few_hosts),
    st.tuples(st.just("auxiliary"), few_hosts),
    st.tuples(st.just("request pool")),
    st.tuples(st.just("release pool")),
    st.tuples(st.just("renew"), st.integers(0, 3)),
    st.tuples(st.just("wait"), st.sampled_from([0.01, 1.0, 90.0])),
    st.tuples(st.just("crash")),
    st.tuples(st.just("restart")),
    st.tuples(st.just("store"), st.booleans()),
    st.tuples(st.just("adding"), st.booleans()),
    st.tuples(st.just("server"), st.booleans()),
    st.tuples(st.just("link"), st.booleans()),
)


@dataclass(slots=True)
class World:
    """What Docker believes, beside the driver that it asks."""

    driver: Driver
    users: int = 1
    leases: dict[str, tuple[str, str | None]] = field(default_factory=dict)
    """The address of each running container, and its MAC and name."""
    reserved: dict[str, int] = field(default_factory=dict)
    claims: dict[str, int] = field(default_factory=dict)
    """How often the addresses were answered that were answered again before they were released:
    these are held until Docker's API proves that nobody has them, which nobody looks at here."""

    lapsing: set[str] = field(default_factory=set)
    """What could be neither stored nor given back: it runs out at the server."""

    async def step(self, what: str, *with_: object) -> None:
        await getattr(self, "do_" + what.replace(" ", "_"))(*with_)

    async def do_run(self, mac: str, name: str | None, ip: str | None) -> None:
        if name is not None and any(name == other for _, other in self.leases.values()):
            name = None  # Docker has no two containers of one name
        running = {address for address, (other, _) in self.leases.items() if other == mac}
        reserved = set(self.reserved)
        try:
            cidr = await self.driver.run(NET, mac, name=name, ip=ip)
        except StoreUnavailable:
            if self.driver.allocator.free_fails is not None and self.driver.allocator.allocated:
                self.lapsing.add(str(self.driver.allocator.allocated[-1].address))
            return
        except D4DError:
            return
        address = cidr.removesuffix("/28")
        holder = self.leases.get(address)
        assert holder is None or holder[0] == mac, f"{address} is {holder}'s, and given to {mac}"
        if holder is not None or address in self.claims:
            self.claims[address] = self.claims.get(address, 1) + 1
        assert running <= {address}, f"{mac} has {running}, and is given {address}"
        assert ip in (None, address)
        assert address not in reserved
        assert 1 <= int(address.rpartition(".")[2]) <= 14, "no host may have it"
        self.leases[address] = mac, name or (holder[1] if holder else None)

    async def do_stop(self, nth: int) -> None:
        if len(self.leases) > nth:
            await self.do_release(sorted(self.leases)[nth])

    async def do_release(self, address: str) -> None:
        if address in self.claims:
            self.claims[address] = max(self.claims[address] - 1, 0)
        elif address in self.leases:
            del self.leases[address]
        elif self.reserved.get(address, 0) > 1:
            self.reserved[address] -= 1
        else:
            self.reserved.pop(address, None)
        await self.driver.release(NET, address)  # succeeds, whatever is broken

    async def do_gateway(self, address: str) -> None:
        try:
            assert await self.driver.gateway(NET, address) == f"{address}/28"
        except D4DError:
            return
        assert address not in self.leases
        self.reserved[address] = self.reserved.get(address, 0) + 1

    async def do_auxiliary(self, address: str) -> None:
        try:
            assert await self.driver.auxiliary(NET, address) == f"{address}/28"
        except D4DError:
            return
        assert address not in self.leases
        self.reserved[address] = self.reserved.get(address, 0) + 1

    async def do_request_pool(self) -> None:
        try:
            assert await self.driver.pool(NET) == NET
        except StoreUnavailable:
            return
        self.users += 1

    async def do_release_pool(self) -> None:
        if self.users > 1:  # the network that the containers are on stays
            self.users -= 1
            await self.driver.ipam.release_pool(NET)

    async def do_renew(self, nth: int) -> None:
        if len(self.driver.kept) > nth:
            self.driver.allocator.renews(self.driver.kept[nth])

    async def do_wait(self, seconds: float) -> None:
        await settle(seconds)

    async def do_crash(self) -> None:
        """Only where no release waits for the store: that much a crash may lose."""
        if not self.driver.store.is_away:
            await settle(2.0)
            await self.driver.crash()

    async def do_restart(self) -> None:
        if not self.driver.store.is_away:
            await self.driver.restart()

    async def do_store(self, is_away: bool) -> None:
        self.driver.store.is_away = is_away

    async def do_adding(self, fails: bool) -> None:
        self.driver.store.away_for = {"add"} if fails else set()

    async def do_server(self, fails: bool) -> None:
        self.driver.allocator.allocate_fails = LINK_DOWN if fails else None

    async def do_link(self, is_down: bool) -> None:
        self.driver.allocator.free_fails = LINK_DOWN if is_down else None

    async def mend(self) -> None:
        """All is well again, and has been for a while."""
        driver = self.driver
        driver.store.is_away, driver.store.away_for = False, set()
        driver.allocator.allocate_fails = driver.allocator.free_fails = None
        await settle(300.0)

    async def check(self) -> None:
        """Docker, driver, store and server agree on who has what."""
        stored = await self.driver.stored()
        live = {address for address, state in stored.items() if state not in _GONE}
        assert live == set(self.leases)
        assert set(self.driver.kept) == live
        assert LeaseState.RELEASED not in stored.values()
        bound = {str(address) for _, address in self.driver.allocator.bindings}
        assert live <= bound
        assert bound - live <= self.lapsing, "what the server gave is in the store, or was freed"
        (record,) = (await self.driver.store.inner.load("host-a")).pools
        assert record.users == self.users
        claimed = Purpose.CLAIMED
        kept = [each for each in record.reservations if each.purpose is not claimed]
        claims = [each for each in record.reservations if each.purpose is claimed]
        assert {str(each.address): each.count for each in kept} == self.reserved
        assert {str(each.address): each.count for each in claims} == self.claims


@given(plan=st.lists(steps, max_size=30), hold=st.sampled_from([0, 30]), by_name=st.booleans())
@settings(max_examples=max(150, settings().max_examples))
def test_docker_driver_store_and_server_agree_in_the_end(
    plan: list[tuple[object, ...]], hold: int, by_name: bool
) -> None:
    run(_live(plan, hold, by_name))


async def _live(plan: list[tuple[object, ...]], hold: int, by_name: bool) -> None:
    async with Driver(hold=timedelta(seconds=hold), by_name=by_name) as driver:
        world = World(driver)
        await driver.pool(NET)
        for what, *with_ in plan:
            await world.step(str(what), *with_)
        await world.mend()
        await world.check()
        await driver.crash()
        await settle(300.0)
        await world.check()
        assert sorted(driver.kept) == sorted(world.leases)
