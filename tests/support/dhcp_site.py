"""A site in memory: the driver's core over the real DHCP allocator, and a server that behaves."""

import asyncio
from collections.abc import Callable
from datetime import timedelta
from ipaddress import IPv4Address, ip_address, ip_network
from random import Random

from d4d.adapters.dhcp.allocator import DhcpAllocator
from d4d.adapters.dhcp.conflict_detection import ArpMonitor, OnConflict, OwnerOf
from d4d.adapters.dhcp.policy import DhcpPolicy
from d4d.adapters.dhcp.routes import Routes
from d4d.adapters.stores.memory.hosts import MemoryHosts
from d4d.domain.addressing import MacAddress
from d4d.domain.leases import Endpoint, Lease
from d4d.domain.pools import Pool, PoolId, PoolOptions, PoolRequest
from d4d.domain.reservations import Reservation
from d4d.domain.segments import segment_of
from d4d.service_layer.ipam_service import IpamService
from tests.support.fake_dhcp_server import SUBNET, FakeDhcpServer, FakeInterfaces, interface
from tests.support.fake_ports import FailingStore, FakeNeighbours, RecordingEvents
from tests.support.virtual_time import FakeClock

A, B, C = (f"02:42:0a:4d:10:0{n}" for n in (1, 2, 3))
"""MAC addresses of containers."""
WEB = Endpoint(mac=MacAddress.parse(A), name="web")
DB = Endpoint(mac=MacAddress.parse(B), name="db")
PARENT = "eth0"
POOL = Pool(subnet=SUBNET, options=PoolOptions(parent=PARENT)).id
"""A network that Docker has since long: nobody asks the server about it."""


class Site:
    """One host's driver; ``restart`` and ``crash`` leave server, store and clock as they are."""

    def __init__(
        self,
        *,
        hold: timedelta = timedelta(0),
        probe: timedelta = timedelta(0),
        store: FailingStore | None = None,
        server: FakeDhcpServer | None = None,
        servers: tuple[IPv4Address, ...] = (),
        interfaces: FakeInterfaces | None = None,
    ) -> None:
        """``probe`` asks by ARP, where ``stranger`` answers for ``strangers_at``, or for all."""
        self.clock = FakeClock()
        self.server = server or FakeDhcpServer()
        self.store = store or FailingStore()
        self.events = RecordingEvents()
        self.hosts = MemoryHosts()
        self.interfaces = interfaces or FakeInterfaces([interface(PARENT, "10.77.0.9/16")])
        self.stranger: MacAddress | None = None
        self.strangers_at: set[IPv4Address] | None = None
        self._hold, self._probe, self._servers = hold, probe, servers
        self._new()

    def _new(self) -> None:
        self.allocator = DhcpAllocator(
            routes=Routes(interfaces=self.interfaces, servers=self._servers),
            link=self.server.link,
            watch=self._watch,
            policy=DhcpPolicy(host="host-a", conflict_probe=self._probe),
            events=self.events,
            clock=self.clock,
            random=Random(26),
        )
        self.ipam = IpamService(
            store=self.store,
            allocators={"dhcp": self.allocator},
            default_allocator="dhcp",
            events=self.events,
            clock=self.clock,
            owner="host-a",
            hosts=self.hosts,
            installation="installation-1",
            grace=timedelta(minutes=2),
            neighbours=FakeNeighbours(),
            hold=self._hold,
            reservations=self.store,
        )

    def _watch(self, parent: str, ours: OwnerOf, on_conflict: OnConflict) -> ArpMonitor:
        return _Monitor(self._user_of)

    def _user_of(self, address: IPv4Address) -> MacAddress | None:
        is_theirs = self.strangers_at is None or address in self.strangers_at
        return self.stranger if is_theirs else None

    async def __aenter__(self) -> "Site":
        await self.ipam.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.ipam.aclose()
        await self.allocator.aclose()

    async def restart(self) -> None:
        """D4D ends as it should, and starts anew."""
        await self.__aexit__()
        self._new()
        await self.ipam.open()

    async def crash(self) -> None:
        """D4D is killed, and starts anew with what the store has at this moment."""
        old, old_allocator, old_store = self.ipam, self.allocator, self.store
        self.store = old_store.as_it_is_now()
        old_store.is_away = True  # whatever the old process still had in mind
        await old_allocator.aclose()
        await old.aclose()
        self._new()
        await self.ipam.open()

    async def pool(
        self, subnet: str = str(SUBNET), range_: str | None = None, **options: str
    ) -> PoolId:
        options = {"parent": PARENT, **options}
        pool = await self.ipam.request_pool(
            PoolRequest(
                subnet=ip_network(subnet),
                range=ip_network(range_) if range_ else None,
                options=PoolOptions.parse(options),
            )
        )
        return pool.id

    async def run(
        self, pool: str, mac: str, name: str | None = None, *, ip: str | None = None
    ) -> str:
        """A container starts; its address."""
        endpoint = Endpoint(mac=MacAddress.parse(mac), name=name)
        cidr = await self.ipam.request_address(pool, endpoint, ip_address(ip) if ip else None)
        return cidr.partition("/")[0]

    async def release(self, pool: str, address: str) -> None:
        await self.ipam.release_address(pool, ip_address(address))

    async def allocate(self, endpoint: Endpoint = WEB) -> Lease:
        """The lease that Docker is answered with."""
        cidr = await self.ipam.request_address(POOL, endpoint, None)
        return self.lease(cidr.partition("/")[0])

    def lease(self, address: str) -> Lease:
        """What is held of ``address``, in whatever state."""
        (lease,) = (each for each in self.leases if each.address == ip_address(address))
        return lease

    @property
    def leases(self) -> list[Lease]:
        return self.ipam.leasing.leases

    async def stored(self) -> list[Lease]:
        return list((await self.store.inner.load("host-a")).leases)

    async def reserve(self, address: str, *, name: str) -> None:
        """An operator does so."""
        made = Reservation(
            segment=segment_of(POOL),
            address=ip_address(address),
            made_at=self.clock(),
            name=name,
        )
        await self.store.reserve(made)

    def told(self, *kinds: str) -> list[tuple[str, str, str]]:
        """Kind, address and detail of what happened."""
        return [
            (each.kind.value, str(each.address), each.detail)
            for each in self.events.all
            if not kinds or each.kind.value in kinds
        ]


class _Monitor:
    def __init__(self, user_of: Callable[[IPv4Address], MacAddress | None]) -> None:
        self._user_of = user_of

    async def probe(
        self, address: IPv4Address, *, chaddr: MacAddress, wait: timedelta
    ) -> MacAddress | None:
        user = self._user_of(address)
        await asyncio.sleep(0.001 if user is not None else wait.total_seconds())
        return user

    def open_soon(self) -> None:
        """It hears from the start."""

    def close(self) -> None:
        """It has no socket."""
