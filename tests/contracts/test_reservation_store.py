"""What every store of an operator's reservations must do. Join as for the LeaseStore's contract."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Protocol

import pytest

from d4d.adapters.stores.memory.store import MemoryLeaseStore
from d4d.adapters.stores.sqlite.store import SqliteLeaseStore
from d4d.domain.address_selection import AddressClaim
from d4d.domain.addressing import MacAddress
from d4d.domain.errors import AddressInUse, NoAddress
from d4d.domain.lease_states import Use
from d4d.domain.leases import Endpoint
from d4d.domain.pools import Pool, PoolOptions
from d4d.domain.ports.reservations import ReservationStore
from d4d.domain.ports.stores import RangeStore
from d4d.domain.reservations import Reservation
from d4d.domain.segments import segment_of


class Store(RangeStore, ReservationStore, Protocol):
    """A store of leases that also keeps reservations."""


STORES: dict[str, Callable[[Path], Store]] = {
    "memory": lambda _: MemoryLeaseStore(),
    "sqlite": lambda directory: SqliteLeaseStore(directory / "state" / "leases.db"),
}

NOW = datetime(2025, 3, 1, 12, 0, 0, 123457, tzinfo=UTC)
POOL = Pool(subnet=ip_network("10.1.0.0/29"), gateway=ip_address("10.1.0.1"))
LOWER = replace(POOL, range=ip_network("10.1.0.0/30"))
ELSEWHERE = replace(POOL, options=PoolOptions(parent="eth1.7/x"))
WEB = Endpoint(mac=MacAddress.parse("02:42:0a:01:00:02"), name="web")
DB = Endpoint(mac=MacAddress.parse("02:42:0a:01:00:03"), name="db")


@pytest.fixture(params=STORES)
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    opened = STORES[request.param](tmp_path)
    yield opened
    await opened.aclose()


def kept(
    address: str,
    *,
    mac: MacAddress | None = None,
    name: str | None = None,
    note: str = "",
    pool: Pool = POOL,
) -> Reservation:
    return Reservation(
        segment=segment_of(pool.id),
        address=ip_address(address),
        made_at=NOW,
        mac=mac,
        name=name,
        note=note,
    )


def claim(
    endpoint: Endpoint = WEB,
    address: str | None = None,
    *,
    hint: str | None = None,
    pool: Pool = POOL,
    owner: str = "host-a",
) -> AddressClaim:
    return AddressClaim(
        pool=pool,
        endpoint=endpoint,
        owner=owner,
        at=NOW,
        rest=timedelta(seconds=60),
        address=ip_address(address) if address else None,
        hint=ip_address(hint) if hint else None,
        reserved=(pool.gateway,) if pool.gateway else (),
    )


async def taken(store: Store, *claims: AddressClaim) -> list[str]:
    return [str((await store.take(each)).address) for each in claims]


async def test_an_unused_store_has_no_reservations(store: Store) -> None:
    assert await store.reservations() == ()
    assert [*await store.reserved("10.1.0.0/29")] == []
    assert await store.unreserve("10.1.0.0/29", ip_address("10.1.0.2")) is None


async def test_reservations_are_told_as_they_were_made(store: Store) -> None:
    made = [
        kept("10.1.0.2", name="web", note="the printer's, says Ann\nin the café"),
        kept("10.1.0.3", mac=DB.mac),
        kept("10.1.0.4"),
        kept("10.1.0.2", name="{web} @=%", pool=ELSEWHERE),
    ]
    for each in made:
        assert await store.reserve(each) is False
    assert set(await store.reservations()) == set(made)
    assert set(await store.reserved(segment_of(POOL.id))) == set(made[:3])
    assert [*await store.reserved(segment_of(ELSEWHERE.id))] == made[3:]


async def test_an_address_is_reserved_once_and_the_text_says_for_whom(store: Store) -> None:
    await store.reserve(kept("10.1.0.2", name="web", note="Ann's"))
    with pytest.raises(
        AddressInUse,
        match=r"10\.1\.0\.2 is reserved by an operator for container web \(Ann's\) already.*"
        r"d4d unreserve '10\.1\.0\.0/29' 10\.1\.0\.2",
    ):
        await store.reserve(kept("10.1.0.2", mac=DB.mac))
    assert [*await store.reservations()] == [kept("10.1.0.2", name="web", note="Ann's")]


@pytest.mark.parametrize("whom", [{"name": "web"}, {"mac": WEB.mac}], ids=["name", "mac"])
async def test_a_container_has_one_reservation_in_a_segment(
    store: Store, whom: dict[str, str | MacAddress]
) -> None:
    await store.reserve(kept("10.1.0.2", **whom))  # type: ignore[arg-type]  # one of two
    with pytest.raises(AddressInUse, match=r"has a reservation there, of 10\.1\.0\.2"):
        await store.reserve(kept("10.1.0.3", **whom))  # type: ignore[arg-type]  # one of two
    assert len(await store.reservations()) == 1
    elsewhere = kept("10.1.0.3", pool=ELSEWHERE, **whom)  # type: ignore[arg-type]  # one of two
    await store.reserve(elsewhere)
    await store.unreserve(segment_of(POOL.id), ip_address("10.1.0.2"))
    await store.reserve(kept("10.1.0.3", **whom))  # type: ignore[arg-type]  # one of two


async def test_what_is_taken_away_is_returned_and_gone(store: Store) -> None:
    made = kept("10.1.0.2", name="web")
    await store.reserve(made)
    await store.reserve(kept("10.1.0.3"))
    assert await store.unreserve(made.segment, made.address) == made
    assert await store.unreserve(made.segment, made.address) is None
    assert [*await store.reserved(made.segment)] == [kept("10.1.0.3")]


async def test_of_operators_at_once_one_reserves_an_address(store: Store) -> None:
    outcomes = await asyncio.gather(
        *(store.reserve(kept("10.1.0.2", name=f"web-{n}")) for n in range(8)),
        return_exceptions=True,
    )
    assert outcomes.count(False) == 1
    assert sum(isinstance(each, AddressInUse) for each in outcomes) == 7
    assert len(await store.reservations()) == 1


async def test_who_reserves_learns_whether_a_lease_has_the_address(store: Store) -> None:
    lease = await store.take(claim(DB, "10.1.0.2", owner="host-b"))
    assert await store.reserve(kept("10.1.0.2", name="web")) is True
    with pytest.raises(AddressInUse, match="leased"):
        await store.take(claim(WEB, "10.1.0.2"))
    await store.update(replace(lease, use=Use.FREED, released_at=NOW))
    assert await taken(store, claim(DB, hint="10.1.0.2"), claim(WEB)) == ["10.1.0.3", "10.1.0.2"]


# Who gets what


async def test_a_reserved_address_goes_to_its_container_and_to_no_other(store: Store) -> None:
    await store.reserve(kept("10.1.0.2", name="web"))
    await store.reserve(kept("10.1.0.6", mac=DB.mac))
    await store.reserve(kept("10.1.0.3"))
    other = claim(Endpoint(mac=MacAddress.parse("02:42:0a:01:00:09")))
    assert await taken(store, other, other) == ["10.1.0.4", "10.1.0.5"]
    with pytest.raises(NoAddress, match=r"of 6 .* 2 are leased, 4 reserved"):
        await store.take(other)
    assert await taken(store, claim(DB, owner="host-b"), claim(WEB)) == ["10.1.0.6", "10.1.0.2"]


async def test_a_reservation_is_stronger_than_the_address_of_before(store: Store) -> None:
    await store.reserve(kept("10.1.0.5", name="web"))
    assert await taken(store, claim(WEB, hint="10.1.0.3")) == ["10.1.0.5"]
    assert await taken(store, claim(WEB, hint="10.1.0.3")) == ["10.1.0.3"]


async def test_a_mac_is_nearer_than_a_name(store: Store) -> None:
    await store.reserve(kept("10.1.0.5", name="web"))
    await store.reserve(kept("10.1.0.4", mac=WEB.mac))
    assert await taken(store, claim(WEB)) == ["10.1.0.4"]
    assert await taken(store, claim(replace(WEB, mac=DB.mac))) == ["10.1.0.5"]


async def test_a_container_without_a_name_has_no_reservation_by_name(store: Store) -> None:
    await store.reserve(kept("10.1.0.2", name="web"))
    assert await taken(store, claim(replace(WEB, name=None))) == ["10.1.0.3"]


async def test_a_hint_that_is_reserved_for_another_is_passed_over(store: Store) -> None:
    await store.reserve(kept("10.1.0.2", name="web"))
    assert await taken(store, claim(DB, hint="10.1.0.2")) == ["10.1.0.3"]


async def test_a_reservation_holds_in_every_pool_of_the_segment_and_in_no_other(
    store: Store,
) -> None:
    await store.reserve(kept("10.1.0.2", name="web"))
    assert await taken(store, claim(DB, pool=LOWER)) == ["10.1.0.3"]
    assert await taken(store, claim(DB, pool=ELSEWHERE)) == ["10.1.0.2"]
    assert await taken(store, claim(WEB, pool=LOWER, owner="host-b")) == ["10.1.0.2"]


async def test_a_reserved_address_outside_of_the_range_is_had(store: Store) -> None:
    await store.reserve(kept("10.1.0.6", name="web"))
    assert await taken(store, claim(WEB, pool=LOWER)) == ["10.1.0.6"]


async def test_who_asks_for_anothers_reserved_address_hears_whose_it_is(store: Store) -> None:
    await store.reserve(kept("10.1.0.2", name="web", note="Ann's"))
    await store.reserve(kept("10.1.0.3"))
    with pytest.raises(
        AddressInUse,
        match=r"10\.1\.0\.2 is reserved by an operator for container web \(Ann's\): .*"
        r"d4d unreserve '10\.1\.0\.0/29' 10\.1\.0\.2",
    ):
        await store.take(claim(DB, "10.1.0.2"))
    with pytest.raises(AddressInUse, match=r"10\.1\.0\.3 is reserved by an operator for nobody"):
        await store.take(claim(WEB, "10.1.0.3"))
    assert await taken(store, claim(WEB, "10.1.0.2")) == ["10.1.0.2"]


async def test_an_address_is_found_when_it_is_reserved_no_more(store: Store) -> None:
    for number in (2, 3):
        await store.reserve(kept(f"10.1.0.{number}"))
    await taken(store, claim(), claim(), claim())
    await store.unreserve(segment_of(POOL.id), ip_address("10.1.0.3"))
    assert await taken(store, claim()) == ["10.1.0.3"]
    await store.unreserve(segment_of(POOL.id), ip_address("10.1.0.2"))
    assert await taken(store, claim()) == ["10.1.0.2"]


async def test_many_reservations_that_rest_are_passed_over(store: Store) -> None:
    pool = Pool(subnet=ip_network("fd00::/64"), range=ip_network("fd00::/121"))
    for number in range(1, 120):
        await store.reserve(kept(f"fd00::{number:x}", pool=pool))
    assert len(await taken(store, *[claim(pool=pool)] * 8)) == 8
    with pytest.raises(NoAddress, match="8 are leased, 119 reserved"):
        await store.take(claim(pool=pool))
    await store.unreserve(segment_of(pool.id), ip_address("fd00::77"))
    assert await taken(store, claim(pool=pool)) == ["fd00::77"]
