"""The driver's core under any history: a server that forgets, lies and is slow, an engine that
forgets, repeats, renames and restarts, a store that fails at any write.

After every step: no two live endpoints have one address, and no live lease was released, declined,
or is missing from its server after that had time. At the end, nothing is held that nobody uses.
"""

import asyncio
import os
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field, replace
from datetime import timedelta
from ipaddress import IPv4Address, ip_address
from random import Random

import pytest

from d4d.domain.addressing import MacAddress
from d4d.domain.dhcp.messages import MessageType
from d4d.domain.errors import D4DError
from d4d.domain.leases import Endpoint
from d4d.domain.ports.disturbances import ClockJump, ClockJumped
from d4d.domain.ports.docker import Attachment, DockerNetwork, NetworkSubnet
from d4d.service_layer.reconciler import Reconciler
from tests.support.dhcp_site import PARENT, POOL, Site
from tests.support.fake_dhcp_server import SUBNET
from tests.support.virtual_time import settle

VIRTUAL_TIME = True

STEPS = int(os.environ.get("D4D_TEST_STEPS", "10000"))
"""In all; more at will."""
_HISTORY = 250  # steps of one history
_MINUTE = timedelta(minutes=1)
_NAMES = ("web", "db", "cache")
_TIME = 150.0  # seconds in which a server that speaks has confirmed what it forgot


@dataclass(slots=True)
class Container:
    """One end on the network that Docker has."""

    name: str
    mac: str
    address: str


@dataclass(slots=True)
class World:
    """The driver, and all that it deals with."""

    site: Site
    random: Random
    running: list[Container] = field(default_factory=list)
    stale: list[str] = field(default_factory=list)
    """Addresses of containers that ended while D4D did not hear of it."""
    numbers: int = 0
    log: list[str] = field(default_factory=list)

    gives_names = True

    # What Docker's API shows

    async def networks(self) -> tuple[DockerNetwork, ...]:
        network = DockerNetwork(
            id="1",
            name="lan",
            driver="macvlan",
            subnets=(NetworkSubnet(subnet=SUBNET),),
            options={"parent": PARENT},
            parent=PARENT,
        )
        return (replace(network, ends=await self.attachments()),)

    async def attachments(self) -> tuple[Attachment, ...]:
        return tuple(
            Attachment(
                network_id="1",
                container_id=each.mac,
                name=each.name,
                mac=MacAddress.parse(each.mac),
                address=ip_address(each.address),
                subnet=SUBNET,
            )
            for each in self.running
        )

    # Steps

    async def run(self) -> None:
        """docker run, with a name that no running container has by now."""
        free = [name for name in _NAMES if name not in {each.name for each in self.running}]
        if free:
            self.numbers += 1
            mac = f"02:42:0a:4d:{self.numbers >> 8:02x}:{self.numbers & 255:02x}"
            await self._start(self.random.choice(free), mac)

    async def _start(self, name: str, mac: str) -> None:
        given = name if self.random.random() < 0.7 else None  # engines before 29 give none
        endpoint = Endpoint(mac=MacAddress.parse(mac), name=given)
        try:
            cidr = await self.site.ipam.request_address(POOL, endpoint, None)
        except D4DError as error:
            self.log.append(f"  refused: {error}")
            return
        self.running.append(Container(name, mac, cidr.partition("/")[0]))

    async def stop(self) -> None:
        """docker stop."""
        if self.running:
            container = self.running.pop(self.random.randrange(len(self.running)))
            await self.site.release(POOL, container.address)

    async def restart_container(self) -> None:
        """docker restart: of the same MAC where it is set, else of a new one."""
        if not self.running:
            return
        container = self.running.pop(self.random.randrange(len(self.running)))
        await self.site.release(POOL, container.address)
        self.numbers += 1
        new = f"02:42:0a:4d:{self.numbers >> 8:02x}:{self.numbers & 255:02x}"
        await self._start(container.name, container.mac if self.random.random() < 0.5 else new)

    async def rename(self) -> None:
        """docker rename, which is learnt at the next look."""
        if self.running:
            self.numbers += 1
            self.random.choice(self.running).name = f"old{self.numbers}"

    async def vanish(self) -> None:
        """A container ends, and its release gets lost."""
        if self.running:
            self.running.pop(self.random.randrange(len(self.running)))

    async def late_release(self) -> None:
        """Docker releases an address that nobody has."""
        held = {each.address for each in self.running}
        free = [str(each) for each in self.site.server.free if str(each) not in held]
        if free:
            await self.site.release(POOL, self.random.choice(free))

    async def reconcile(self) -> None:
        await self._reconcile(times=1)

    async def _reconcile(self, *, times: int) -> None:
        reconciler = Reconciler(
            ipam=self.site.ipam,
            containers=self,  # type: ignore[arg-type]  # it asks no more of it
            clock=self.site.clock,
            grace=_MINUTE,
        )
        for _ in range(times):
            try:
                await reconciler.run()
            except D4DError as error:
                self.log.append(f"  not reconciled: {error}")
            await settle(40.0)

    async def forget(self) -> None:
        """The server is started anew with an empty file."""
        self.site.server.forgets()

    async def be_silent(self) -> None:
        self.site.server.silent(*([MessageType.REQUEST] if self.random.random() < 0.5 else []))

    async def speak(self) -> None:
        self.site.server.speaks()

    async def be_slow(self) -> None:
        self.site.server.latency = self.random.choice((0.001, 0.5, 3.0))

    async def lose_store(self) -> None:
        """Writes of one kind fail for a while."""
        self.site.store.away_for = {self.random.choice(("add", "update", "remove", "save_pool"))}

    async def find_store(self) -> None:
        self.site.store.away_for = set()

    async def crash(self) -> None:
        """D4D is killed, and started anew."""
        self.site.store.away_for = set()
        await self.site.crash()

    async def end(self) -> None:
        """D4D is stopped, and started anew."""
        self.site.store.away_for = set()
        await self.site.restart()

    async def sleep(self) -> None:
        """The host does."""
        by = timedelta(minutes=self.random.choice((1, 20, 70)))
        self.site.clock.jump(by)
        self.site.allocator.disturbed(ClockJumped(cause=ClockJump.SLEPT, by=by))

    async def wait(self) -> None:
        await settle(self.random.choice((0.0, 1.0, 60.0, 1800.0)))

    # What must be so

    def check(self) -> None:
        """No two live endpoints have one address, and nothing of a live lease was given away."""
        addresses = [each.address for each in self.running]
        assert len(set(addresses)) == len(addresses), f"twice: {addresses}"
        declined = {str(each) for each in self.site.server.declined}
        assert not declined, "nobody else uses any"
        live = {str(lease.address): lease for lease in self.site.leases if lease.is_live}
        for each in self.running:
            lease = live.get(each.address)
            assert lease is not None, f"{each} has no lease any more"
            assert str(lease.endpoint.mac) == each.mac, f"{each} has the lease of {lease.endpoint}"

    async def come_to_rest(self) -> None:
        """All works again: then the server knows each container, and nothing else is held."""
        server, store = self.site.server, self.site.store
        server.speaks()
        server.latency, store.away_for = 0.001, set()
        await settle(1.0)
        self.site.allocator.disturbed(ClockJumped(cause=ClockJump.SLEPT, by=_MINUTE))
        await settle(_TIME)
        await self._reconcile(times=6)
        await settle(_TIME)
        self.check()
        held = {lease.address for lease in self.site.leases if lease.is_held}
        wanted = {ip_address(each.address) for each in self.running}
        assert held == wanted, f"held {held}, and used {wanted}"
        assert {*server.bindings} >= {IPv4Address(each.address) for each in self.running}


_Step = Callable[[World], Coroutine[None, None, None]]
_WEIGHTS: dict[_Step, int] = {
    World.run: 12,
    World.stop: 8,
    World.restart_container: 8,
    World.rename: 3,
    World.vanish: 2,
    World.late_release: 2,
    World.reconcile: 4,
    World.forget: 2,
    World.be_silent: 2,
    World.speak: 3,
    World.be_slow: 2,
    World.lose_store: 3,
    World.find_store: 4,
    World.crash: 2,
    World.end: 1,
    World.sleep: 2,
    World.wait: 8,
}


@pytest.mark.parametrize("seed", range(max(1, STEPS // _HISTORY)))
async def test_any_history_keeps_each_address_its_containers(seed: int) -> None:
    random = Random(seed)
    async with Site(hold=timedelta(seconds=random.choice((0, 0, 30)))) as site:
        world = World(site, random)
        steps, weights = [*_WEIGHTS], [*_WEIGHTS.values()]
        try:
            for _ in range(_HISTORY):
                (step,) = random.choices(steps, weights)
                world.log.append(step.__name__)
                await step(world)
                await asyncio.sleep(0)
                world.check()
            await world.come_to_rest()
        except BaseException:
            print("\n".join(world.log[-60:]))
            print(*world.running, *site.leases, sep="\n")
            print(*site.events.all[-30:], sep="\n")
            raise
