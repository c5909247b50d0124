"""What is held of one pool: reservations counted, leases found by address, MAC and name."""

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network

import pytest

from d4d.domain.addressing import MacAddress
from d4d.domain.lease_states import Use
from d4d.domain.leases import Endpoint, Lease, LeaseState
from d4d.domain.pool_state import PoolState
from d4d.domain.pools import Pool, PoolRecord, Purpose, ReservedAddress
from tests.support.virtual_time import NOON

VIRTUAL_TIME = True

POOL = Pool(subnet=IPv4Network("192.168.59.0/24"), gateway=IPv4Address("192.168.59.254"))
A, B = MacAddress.parse("02:42:0a:4d:10:01"), MacAddress.parse("02:42:0a:4d:10:02")
ONE, TWO, GATEWAY = (IPv4Address(f"192.168.59.{n}") for n in (1, 2, 254))
RELEASED, FREED, LOST = LeaseState.RELEASED, LeaseState.FREED, LeaseState.LOST


@pytest.fixture
def holdings() -> PoolState:
    return PoolState(PoolRecord(pool=POOL, users=0))


def lease(
    address: IPv4Address = ONE,
    mac: MacAddress = A,
    name: str | None = None,
    *,
    generation: int = 1,
    use: Use = Use.IN_USE,
) -> Lease:
    return Lease(
        pool=POOL.id,
        address=address,
        endpoint=Endpoint(mac=mac, name=name),
        acquired_at=NOON,
        generation=generation,
        use=use,
    )


def test_a_reservation_is_let_go_as_often_as_it_was_made(holdings: PoolState) -> None:
    holdings.reserve(ONE, Purpose.GATEWAY)
    holdings.reserve(ONE, Purpose.AUXILIARY)
    assert holdings.reservation(ONE) == "gateway"
    assert holdings.unreserve(ONE)
    assert holdings.reservation(ONE) == "gateway"
    assert holdings.unreserve(ONE)
    assert holdings.reservation(ONE) is None
    assert not holdings.unreserve(ONE)


def test_the_learnt_router_is_reserved_without_a_reservation(holdings: PoolState) -> None:
    assert holdings.reservation(GATEWAY) == "gateway"
    assert holdings.is_gateway(GATEWAY)
    assert not holdings.unreserve(GATEWAY)
    holdings.clear_reservations()
    assert holdings.reservation(GATEWAY) == "gateway"


def test_a_given_gateway_is_a_gateway_and_an_auxiliary_address_is_none(
    holdings: PoolState,
) -> None:
    holdings.reserve(ONE, Purpose.GATEWAY)
    holdings.reserve(TWO, Purpose.AUXILIARY)
    assert holdings.is_gateway(ONE)
    assert not holdings.is_gateway(TWO)


def test_the_record_comes_back_as_it_was() -> None:
    record = PoolRecord(
        pool=POOL,
        users=3,
        reservations=(
            ReservedAddress(address=ONE, purpose=Purpose.GATEWAY, count=2),
            ReservedAddress(address=TWO, purpose=Purpose.AUXILIARY),
        ),
    )
    assert PoolState(record).record == record


@pytest.mark.parametrize(
    ("use", "is_used"), [(Use.IN_USE, True), (Use.RELEASED, True), (Use.FREED, False)]
)
def test_a_pool_is_used_while_a_lease_of_it_is_held(
    holdings: PoolState, use: Use, is_used: bool
) -> None:
    assert not holdings.is_used
    holdings.put(lease(use=use))
    assert holdings.is_used is is_used


@pytest.mark.parametrize("use", Use)
def test_docker_uses_a_lease_until_it_is_released(holdings: PoolState, use: Use) -> None:
    holdings.put(lease(use=use))
    assert (holdings.lease(ONE) is not None) is (use is Use.IN_USE)
    assert holdings.latest(ONE) is not None


def test_a_lease_replaces_the_one_of_its_address(holdings: PoolState) -> None:
    holdings.put(lease(name="web"))
    later = lease(mac=B, name="db", generation=2)
    holdings.put(later)
    assert list(holdings.leases()) == [later]
    assert holdings.of_mac(A) is None
    assert holdings.of_name("web") is None
    assert holdings.of_mac(B) is later
    assert holdings.of_name("db") is later


def test_a_mac_and_a_name_are_known_by_their_live_lease(holdings: PoolState) -> None:
    old = lease(ONE, name="web", generation=1, use=Use.RELEASED)
    live = lease(TWO, name="web", generation=2)
    holdings.put(old)
    holdings.put(live)
    holdings.put(replace(old, use=Use.FREED))
    assert holdings.of_mac(A) is live
    assert holdings.of_name("web") is live


def test_a_mac_without_live_lease_is_known_by_its_newest(holdings: PoolState) -> None:
    newer = lease(TWO, generation=2, use=Use.FREED)
    holdings.put(newer)
    holdings.put(lease(ONE, generation=1, use=Use.RELEASED))
    assert holdings.of_mac(A) is newer


def test_nobody_is_known_by_no_name(holdings: PoolState) -> None:
    holdings.put(lease())
    assert holdings.of_name(None) is None
    assert holdings.of_name("") is None


def test_what_is_discarded_is_found_by_nothing(holdings: PoolState) -> None:
    holdings.put(lease(name="web"))
    holdings.discard(ONE)
    holdings.discard(ONE)
    assert holdings.latest(ONE) is None
    assert holdings.of_mac(A) is None
    assert holdings.of_name("web") is None
