"""A driver to ask what Docker asks, in text, with fakes behind it."""

import asyncio
from datetime import timedelta
from ipaddress import ip_address, ip_network

from d4d.adapters.stores.memory.hosts import MemoryHosts
from d4d.domain.addressing import MacAddress
from d4d.domain.leases import Endpoint, Lease, LeaseState
from d4d.domain.pools import PoolOptions, PoolRequest
from d4d.domain.ports.hosts import HostRegistry, NameRegistry
from d4d.domain.reservations import Reservation
from d4d.service_layer.ipam_service import IpamService
from tests.support.fake_dhcp_server import FakeInterfaces
from tests.support.fake_ports import FailingStore, FakeAllocator, FakeNeighbours, RecordingEvents
from tests.support.virtual_time import FakeClock, settle

A, B, C = (f"02:42:0a:4d:10:0{n}" for n in (1, 2, 3))
"""MAC addresses of containers."""
NET = "192.168.59.0/24"
_NO_HOLD = timedelta(0)
GRACE = timedelta(minutes=2)
"""After so long a silent host may be drained."""


class Driver:
    """One host's driver, its store and its DHCP server; ``restart`` leaves those as they are."""

    def __init__(
        self,
        *,
        hold: timedelta = _NO_HOLD,
        by_name: bool = False,
        owner: str = "host-a",
        installation: str = "installation-1",
        names: NameRegistry | None = None,
    ) -> None:
        self.owner = owner
        self.installation = installation
        self.names = names
        self.clock = FakeClock()
        self.store = FailingStore()
        self.allocator = FakeAllocator(self.clock, by_name=by_name)
        self.events = RecordingEvents()
        self.hosts: HostRegistry = MemoryHosts()
        self.neighbours = FakeNeighbours()
        self.interfaces = FakeInterfaces([])
        self.hold = hold
        self.ipam = self._new()

    def beside(self, owner: str, *, installation: str = "installation-2") -> "Driver":
        """Another host's driver, on the same store, with the same DHCP server."""
        other = Driver(hold=self.hold, owner=owner, installation=installation, names=self.names)
        other.store, other.hosts = self.store, self.hosts
        other.allocator.bindings = self.allocator.bindings
        other.ipam = other._new()
        return other

    async def watch(self, seconds: float) -> None:
        """Look at the other hosts for so long, as often as a driver does."""
        end = asyncio.get_running_loop().time() + seconds
        while True:
            await self.ipam.host_drain.look()
            left = end - asyncio.get_running_loop().time()
            if left <= 0:
                return
            await settle(min(left, self.ipam.heartbeat.interval.total_seconds()))

    def _new(self) -> IpamService:
        return IpamService(
            store=self.store,
            allocators={"fake": self.allocator},
            default_allocator="fake",
            events=self.events,
            clock=self.clock,
            owner=self.owner,
            hosts=self.hosts,
            installation=self.installation,
            grace=GRACE,
            neighbours=self.neighbours,
            hold=self.hold,
            reservations=self.store,
            names=self.names,
            bridge_of=self.interfaces.bridge_of,
        )

    async def __aenter__(self) -> "Driver":
        await self.ipam.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.ipam.aclose()

    async def restart(self) -> None:
        await self.ipam.aclose()
        await self.crash()

    async def crash(self) -> None:
        """Begin anew with what the store has, whatever the old process still had in mind."""
        old, self.store = self.ipam, self.store.as_it_is_now()
        self.allocator.kept.clear()
        self.ipam = self._new()
        await old.aclose()
        await self.ipam.open()

    async def pool(self, subnet: str | None = NET, range_: str = "", **options: str) -> str:
        pool = await self.ipam.request_pool(
            PoolRequest(
                subnet=ip_network(subnet) if subnet else None,
                range=ip_network(range_) if range_ else None,
                options=PoolOptions.parse(options),
            )
        )
        return pool.id

    async def gateway(self, pool: str, address: str | None = None) -> str:
        wish = ip_address(address) if address else None
        return await self.ipam.request_gateway(pool, wish)

    async def auxiliary(self, pool: str, address: str) -> str:
        return await self.ipam.request_auxiliary(pool, ip_address(address))

    async def run(
        self, pool: str, mac: str, *, name: str | None = None, ip: str | None = None
    ) -> str:
        """A container starts."""
        endpoint = Endpoint(mac=MacAddress.parse(mac), name=name)
        return await self.ipam.request_address(pool, endpoint, ip_address(ip) if ip else None)

    async def reserve(self, address: str, name: str) -> None:
        """An operator keeps an address of NET for a container."""
        made = Reservation(
            segment=NET, address=ip_address(address), made_at=self.clock(), name=name
        )
        await self.store.reserve(made)

    async def release(self, pool: str, cidr: str) -> None:
        await self.ipam.release_address(pool, ip_address(cidr.partition("/")[0]))

    async def stop(self, pool: str, cidr: str) -> None:
        """A container stops, and the server has heard of it."""
        await self.release(pool, cidr)
        await settle()

    async def stored(self) -> dict[str, LeaseState]:
        """What a driver that starts now would find."""
        contents = await self.store.inner.load(self.owner)
        return {str(lease.address): lease.state for lease in contents.leases}

    async def stored_lease(self, address: str) -> Lease:
        contents = await self.store.inner.load(self.owner)
        (lease,) = (each for each in contents.leases if str(each.address) == address)
        return lease

    @property
    def freed(self) -> list[str]:
        return [str(address) for address in self.allocator.freed]

    @property
    def kept(self) -> list[str]:
        return sorted(str(address) for _, address in self.allocator.kept)
