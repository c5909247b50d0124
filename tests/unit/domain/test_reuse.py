"""What a request comes to, as the table that it is: held, asked, and the row that fits."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address, IPv4Network

import pytest

from d4d.domain.addressing import Address, MacAddress
from d4d.domain.lease_states import Standing, Use
from d4d.domain.leases import Endpoint, Lease
from d4d.domain.pool_state import PoolState
from d4d.domain.pools import Pool, PoolId, PoolRecord, Purpose
from d4d.domain.reservations import Reservation, ReservationSet
from d4d.domain.reuse import Acquire, Answer, Asked, Decision, Refuse, TakeBack, decide
from d4d.domain.verdicts import FREE, Judgement, Verdict, judge

NOON = datetime(2026, 11, 28, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
ONE, TWO, NINE = (IPv4Address(f"10.77.16.{n}") for n in (1, 2, 9))
A, B = (MacAddress(bytes([2, 66, 0, 0, 0, n])) for n in (1, 2))
WEB, WEB_AGAIN, DB = (
    Endpoint(mac=A, name="web"),
    Endpoint(mac=B, name="web"),
    Endpoint(mac=A, name="db"),
)
NAMELESS = Endpoint(mac=A)
POOL = Pool(subnet=IPv4Network("10.77.0.0/16"))


def lease(
    endpoint: Endpoint = WEB,
    address: Address = ONE,
    *,
    use: Use = Use.IN_USE,
    standing: Standing = Standing.GRANTED,
    expires_in: timedelta | None = HOUR,
) -> Lease:
    return Lease(
        pool=PoolId(POOL.id),
        address=address,
        endpoint=endpoint,
        acquired_at=NOON,
        use=use,
        standing=standing,
        expires_at=NOON + expires_in if expires_in is not None else None,
    )


LIVE, LOST = lease(), lease(standing=Standing.LOST)
DOUBTFUL = lease(standing=Standing.DOUBTFUL)
RELEASED, FREED = lease(use=Use.RELEASED), lease(use=Use.FREED)
MAYBE_HEARD = lease(use=Use.RELEASED, standing=Standing.DOUBTFUL)
RELEASED_LOST = lease(use=Use.RELEASED, standing=Standing.LOST)
EXPIRED = lease(use=Use.RELEASED, expires_in=timedelta(0))
ENDLESS = lease(use=Use.RELEASED, expires_in=None)
LIVE_ELSEWHERE = lease(WEB, TWO)
REFUSED = "refused"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What is held of who asks, and what it asks for."""

    by_mac: Lease | None = None
    by_name: Lease | None = None
    asks: Endpoint = WEB
    address: Address | None = None
    reserved: Address | None = None
    not_free: tuple[Address, ...] = ()

    def decision(self) -> Decision:
        def judged(address: Address) -> Judgement:
            return Judgement(Verdict.RESERVED, "not free") if address in self.not_free else FREE

        return decide(
            Asked(
                endpoint=self.asks,
                address=self.address,
                by_mac=self.by_mac,
                by_name=self.by_name,
                reserved=self.reserved,
                judge=judged,
                now=NOON,
            )
        )


TABLE: list[tuple[str, Row, Decision | str]] = [
    ("nothing is held", Row(), Acquire()),
    ("nothing is held, and --ip names one", Row(address=NINE), Acquire()),
    # it has a lease that Docker uses
    ("it has one", Row(by_mac=LIVE), Answer(lease=LIVE)),
    ("it has this one", Row(by_mac=LIVE, address=ONE), Answer(lease=LIVE)),
    ("it has one, by MAC alone", Row(by_mac=LIVE, asks=NAMELESS), Answer(lease=LIVE)),
    ("its server is being asked", Row(by_mac=DOUBTFUL), Answer(lease=DOUBTFUL)),
    ("it has another one", Row(by_mac=LIVE, address=NINE), REFUSED),
    ("its MAC is another name's", Row(by_mac=LIVE, asks=DB), REFUSED),
    ("what it has is not free any more", Row(by_mac=LIVE, not_free=(ONE,)), Answer(lease=LIVE)),
    ("what it has is lost", Row(by_mac=LOST), Acquire(instead_of=LOST)),
    ("what it has is lost, and named", Row(by_mac=LOST, address=ONE), Acquire(instead_of=LOST)),
    ("lost, and another is named", Row(by_mac=LOST, address=NINE), Acquire(instead_of=LOST)),
    # another container of its name has one that Docker uses
    ("its name's lease is another's", Row(by_name=LIVE, asks=WEB_AGAIN), Acquire()),
    ("and --ip names it", Row(by_name=LIVE, asks=WEB_AGAIN, address=ONE), Acquire()),
    ("its name's lease is another's, and lost", Row(by_name=LOST, asks=WEB_AGAIN), Acquire()),
    (
        "its name's is another's, its own was given back",
        Row(by_mac=RELEASED, by_name=LIVE_ELSEWHERE),
        TakeBack(lease=RELEASED),
    ),
    # Docker gave it back, and no server has heard of it
    ("it gave it back", Row(by_mac=RELEASED), TakeBack(lease=RELEASED)),
    ("it gave this one back", Row(by_mac=RELEASED, address=ONE), TakeBack(lease=RELEASED)),
    ("its name gave it back", Row(by_name=RELEASED, asks=WEB_AGAIN), TakeBack(lease=RELEASED)),
    ("it does not run out", Row(by_mac=ENDLESS), TakeBack(lease=ENDLESS)),
    ("another is named", Row(by_mac=RELEASED, address=NINE), Acquire(instead_of=RELEASED)),
    (
        "its address is reserved now",
        Row(by_mac=RELEASED, not_free=(ONE,)),
        Acquire(instead_of=RELEASED, is_moved=True),
    ),
    (
        "another is reserved for it",
        Row(by_mac=RELEASED, reserved=NINE),
        Acquire(instead_of=RELEASED, is_moved=True),
    ),
    ("this one is reserved for it", Row(by_mac=RELEASED, reserved=ONE), TakeBack(lease=RELEASED)),
    # Docker gave it back, and the server's word is needed
    ("it ran out", Row(by_mac=EXPIRED), Acquire(instead_of=EXPIRED, hint=ONE)),
    (
        "its RELEASE may have been heard",
        Row(by_mac=MAYBE_HEARD),
        Acquire(instead_of=MAYBE_HEARD, hint=ONE),
    ),
    (
        "its RELEASE may have been heard, new MAC",
        Row(by_name=MAYBE_HEARD, asks=WEB_AGAIN),
        Acquire(instead_of=MAYBE_HEARD, hint=ONE),
    ),
    ("it was lost", Row(by_mac=RELEASED_LOST), Acquire(instead_of=RELEASED_LOST, hint=ONE)),
    # the server was told
    ("it was freed", Row(by_mac=FREED), Acquire(hint=ONE)),
    ("its name's was freed", Row(by_name=FREED, asks=WEB_AGAIN), Acquire(hint=ONE)),
    ("freed, and reserved for another now", Row(by_mac=FREED, not_free=(ONE,)), Acquire()),
    (
        "freed by MAC, given back by name",
        Row(by_mac=replace(FREED, address=TWO), by_name=RELEASED),
        TakeBack(lease=RELEASED),
    ),
    (
        "freed twice: the name's counts",
        Row(by_mac=replace(FREED, address=TWO), by_name=FREED),
        Acquire(hint=ONE),
    ),
]


@pytest.mark.parametrize(
    ("row", "outcome"), [each[1:] for each in TABLE], ids=[e[0] for e in TABLE]
)
def test_each_row(row: Row, outcome: Decision | str) -> None:
    decision = row.decision()
    if outcome == REFUSED:
        assert isinstance(decision, Refuse)
        assert str(ONE) in decision.why
    else:
        assert decision == outcome


def test_a_refusal_says_what_to_do() -> None:
    refused = Row(by_mac=LIVE, asks=DB).decision()
    assert isinstance(refused, Refuse)
    assert refused.why.endswith("give one of them another --mac-address")


# The verdict


def held(*leases: Lease) -> PoolState:
    state = PoolState(PoolRecord(pool=Pool(subnet=POOL.subnet, gateway=NINE), users=1))
    for each in leases:
        state.put(each)
    return state


def reserved(address: Address, *, name: str | None) -> ReservationSet:
    kept = Reservation(segment="10.77.0.0/16", address=address, made_at=NOON, name=name)
    return ReservationSet([kept])


RANGED = replace(POOL, range=IPv4Network("10.77.16.0/30"))
NOTHING = ReservationSet()
VERDICTS = [
    ("nothing is known of it", ONE, WEB, held(), NOTHING, Verdict.FREE),
    ("the network's address", IPv4Address("10.77.0.0"), WEB, held(), NOTHING, Verdict.OUTSIDE),
    ("another subnet's", IPv4Address("192.0.2.1"), WEB, held(), NOTHING, Verdict.OUTSIDE),
    ("the gateway", NINE, WEB, held(), NOTHING, Verdict.RESERVED),
    ("its own, in use", ONE, WEB, held(LIVE), NOTHING, Verdict.FREE),
    ("another's, in use", ONE, WEB_AGAIN, held(LIVE), NOTHING, Verdict.OURS_IN_USE),
    ("another's, lost", ONE, WEB_AGAIN, held(LOST), NOTHING, Verdict.OURS_IN_USE),
    ("its name's, given back", ONE, WEB_AGAIN, held(RELEASED), NOTHING, Verdict.FREE),
    (
        "another's, given back",
        ONE,
        Endpoint(mac=B, name="db"),
        held(RELEASED),
        NOTHING,
        Verdict.KEPT_FOR_ANOTHER,
    ),
    ("another's, freed", ONE, Endpoint(mac=B), held(FREED), NOTHING, Verdict.FREE),
    ("reserved for it", ONE, WEB, held(), reserved(ONE, name="web"), Verdict.FREE),
    ("reserved for another", ONE, WEB, held(), reserved(ONE, name="x"), Verdict.KEPT_FOR_ANOTHER),
    ("reserved for nobody", ONE, WEB, held(), reserved(ONE, name=None), Verdict.RESERVED),
]


@pytest.mark.parametrize(
    ("address", "endpoint", "state", "kept", "verdict"),
    [each[1:] for each in VERDICTS],
    ids=[each[0] for each in VERDICTS],
)
def test_each_verdict(
    address: Address, endpoint: Endpoint, state: PoolState, kept: ReservationSet, verdict: Verdict
) -> None:
    found = judge(address, endpoint, state, kept)
    assert found.verdict is verdict
    assert (found.why == "") is (verdict is Verdict.FREE)


def test_an_auxiliary_address_is_reserved_and_one_outside_of_the_range_must_be_named() -> None:
    state = PoolState(PoolRecord(pool=RANGED, users=1))
    assert judge(NINE, WEB, state, NOTHING).verdict is Verdict.OUTSIDE
    assert judge(NINE, WEB, state, NOTHING, asked=(NINE,)).is_free
    state.reserve(NINE, Purpose.AUXILIARY)
    assert judge(NINE, WEB, state, NOTHING, asked=(NINE,)).verdict is Verdict.RESERVED
