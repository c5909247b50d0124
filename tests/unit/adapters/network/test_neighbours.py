"""Whom a dead host's addresses are asked of, and where nobody can be asked."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from ipaddress import IPv4Address, IPv4Interface, ip_address, ip_network
from pathlib import Path

import pytest

from d4d.adapters.dhcp.conflict_detection import OnConflict, OwnerOf
from d4d.adapters.network.interfaces import Interface, Interfaces
from d4d.adapters.network.neighbours import ArpNeighbours
from d4d.domain.addressing import MacAddress
from d4d.domain.errors import LinkDown, NotAsked
from d4d.domain.pools import Pool, PoolOptions
from tests.support.virtual_time import settle

VIRTUAL_TIME = True

MAC = MacAddress.parse("02:42:0a:01:00:02")
ADDRESS = ip_address("10.1.0.9")


class FakeWatch:
    """A parent's wire: it answers at the ``nth`` probe, or is down."""

    def __init__(self, wire: "Wire") -> None:
        self._wire = wire

    async def probe(
        self, address: IPv4Address, *, chaddr: MacAddress, wait: timedelta
    ) -> MacAddress | None:
        assert chaddr != MAC, "the container's own answer counts"
        if self._wire.down:
            raise LinkDown(self._wire.down)
        self._wire.probes += 1
        if self._wire.probes == self._wire.nth:
            return MAC
        await asyncio.sleep(wait.total_seconds())
        return None

    def open_soon(self) -> None:
        raise AssertionError("nobody asked for a watch")

    def close(self) -> None:
        self._wire.open.remove(self)


class Wire:
    def __init__(self, *, nth: int = 0, down: str = "") -> None:
        self.nth = nth
        self.down = down
        self.probes = 0
        self.opened: list[str] = []
        self.open: list[FakeWatch] = []

    def watch(self, parent: str, ours: OwnerOf, on_conflict: OnConflict) -> FakeWatch:
        self.opened.append(parent)
        self.open.append(FakeWatch(self))
        return self.open[-1]


class FakeInterfaces(Interfaces):
    """One host's, with these addresses."""

    def __init__(self, *addresses: str) -> None:
        self._addresses = addresses

    def all(self) -> list[Interface]:
        return [
            Interface(
                name=f"fake{index}",
                index=index,
                mac=None,
                addresses=(IPv4Interface(address),),
                is_up=True,
            )
            for index, address in enumerate(self._addresses)
        ]


def neighbours(
    wire: Wire, *addresses: str, parent: str | None = None, asks: bool = True
) -> ArpNeighbours:
    interfaces = FakeInterfaces(*addresses)
    return ArpNeighbours(wire.watch, interfaces=interfaces, parent=parent, asks=asks)


def pool(parent: str | None = None, subnet: str = "10.1.0.0/24") -> Pool:
    return Pool(subnet=ip_network(subnet), options=PoolOptions(parent=parent))


@contextmanager
def refused(text: str) -> Iterator[None]:
    with pytest.raises(NotAsked, match=text):
        yield


async def test_it_is_asked_on_the_parent_that_the_pool_names() -> None:
    wire = Wire(nth=2)
    asked = neighbours(wire, "10.1.0.1/24", parent="eth1")
    assert await asked.who_has(pool("eth7"), ADDRESS) == MAC
    assert wire.opened == ["eth7"]
    assert wire.open == [], "nobody listens any more"


async def test_else_on_the_parent_of_all_pools_or_where_the_subnet_is() -> None:
    wire = Wire(nth=1)
    await neighbours(wire, "10.1.0.1/24", parent="eth1").who_has(pool(), ADDRESS)
    await neighbours(wire, "192.0.2.1/24", "10.1.0.1/24").who_has(pool(), ADDRESS)
    assert wire.opened == ["eth1", "fake1"]


async def test_silence_is_known_after_a_second() -> None:
    wire = Wire()
    assert await neighbours(wire, "10.1.0.1/24").who_has(pool(), ADDRESS) is None
    assert asyncio.get_running_loop().time() == 1.0
    assert wire.probes == 2


async def test_many_at_once_share_a_socket() -> None:
    wire = Wire()
    asked = neighbours(wire, "10.1.0.1/24")
    await asyncio.gather(*(asked.who_has(pool(), ADDRESS) for _ in range(5)))
    assert (wire.opened, wire.open) == (["fake0"], [])
    await asked.who_has(pool(), ADDRESS)
    assert (wire.opened, wire.open) == (["fake0", "fake0"], [])


async def test_one_that_is_given_up_lets_go_of_the_socket() -> None:
    wire = Wire()
    asking = asyncio.ensure_future(neighbours(wire, "10.1.0.1/24").who_has(pool(), ADDRESS))
    await settle()
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    assert wire.open == []


async def test_a_bridge_that_no_pool_names_may_be_this_hosts_own(tmp_path: Path) -> None:
    (tmp_path / "fake0" / "bridge").mkdir(parents=True)
    wire, interfaces = Wire(nth=1), FakeInterfaces("10.1.0.1/24")
    asked = ArpNeighbours(wire.watch, interfaces=interfaces, parent=None, asks=True, net=tmp_path)
    with refused("fake0, which has an address in it, is a bridge"):
        await asked.who_has(pool(), ADDRESS)
    assert await asked.who_has(pool("fake0"), ADDRESS) == MAC


async def test_where_nobody_can_be_asked_it_says_why() -> None:
    wire = Wire(down="eth7: can't open a packet socket: Operation not permitted")
    with refused("Operation not permitted"):
        await neighbours(wire).who_has(pool("eth7"), ADDRESS)
    assert wire.open == []
    with refused("names no parent, and no interface of this host has an address in it"):
        await neighbours(wire, "192.0.2.1/24").who_has(pool(), ADDRESS)
    with refused("D4D_CONFLICT_PROBE=0"):
        await neighbours(wire, asks=False).who_has(pool("eth7"), ADDRESS)
    with refused("is not IPv4"):
        await neighbours(wire).who_has(pool("eth7", "fd00::/64"), ip_address("fd00::9"))
