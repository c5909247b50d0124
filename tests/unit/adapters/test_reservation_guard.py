"""Reservations are honoured by allocators that never heard of them."""

from ipaddress import ip_address, ip_network

import pytest

from d4d.adapters.reservation_guard import HonouringAllocator
from d4d.domain.addressing import MacAddress
from d4d.domain.errors import AddressInUse, NoAddress
from d4d.domain.leases import Endpoint
from d4d.domain.pools import Pool
from d4d.domain.reservations import Reservation
from tests.support.fake_ports import FailingStore, FakeAllocator
from tests.support.virtual_time import FakeClock

VIRTUAL_TIME = True

POOL = Pool(subnet=ip_network("10.1.0.0/29"))
WEB = Endpoint(mac=MacAddress.parse("02:42:0a:01:00:02"), name="web")
OTHERS = [Endpoint(mac=MacAddress.parse(f"02:42:0a:01:00:0{n}")) for n in range(3, 9)]


class Bench:
    def __init__(self) -> None:
        self.store = FailingStore()
        self.clock = FakeClock()
        self.allocator = HonouringAllocator(FakeAllocator(self.clock), self.store)

    async def reserve(self, address: str, name: str | None = None) -> None:
        made = Reservation(
            segment=str(POOL.subnet), address=ip_address(address), made_at=self.clock(), name=name
        )
        await self.store.reserve(made)

    async def allocate(
        self, endpoint: Endpoint, *, ip: str | None = None, hint: str | None = None
    ) -> str:
        lease = await self.allocator.allocate(
            POOL,
            endpoint,
            address=ip_address(ip) if ip else None,
            hint=ip_address(hint) if hint else None,
            taken={ip_address("10.1.0.1")},
        )
        return str(lease.address)


async def test_what_is_reserved_goes_to_its_container_alone() -> None:
    bench = Bench()
    await bench.reserve("10.1.0.2", "web")
    await bench.reserve("10.1.0.3")
    given = [await bench.allocate(each) for each in OTHERS[:3]]
    assert given == ["10.1.0.4", "10.1.0.5", "10.1.0.6"]
    with pytest.raises(NoAddress):
        await bench.allocate(OTHERS[3])
    assert await bench.allocate(WEB, hint="10.1.0.1") == "10.1.0.2"


async def test_who_asks_for_anothers_address_hears_whose_it_is() -> None:
    bench = Bench()
    await bench.reserve("10.1.0.2", "web")
    with pytest.raises(AddressInUse, match="for container web"):
        await bench.allocate(OTHERS[0], ip="10.1.0.2")
    assert await bench.allocate(WEB, ip="10.1.0.2") == "10.1.0.2"
