"""Retransmission, renewal, and the instants of a lease."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from d4d.domain.dhcp.messages import INFINITE
from d4d.domain.dhcp.timing import Times, acquisition_wait, renewal_wait, retransmission, times
from tests.support.client_harness import HOUR, NOON, SECOND

MINUTE = 60 * SECOND


def never() -> float:
    return 0.0


def half() -> float:
    return 0.5


@pytest.mark.parametrize(
    ("sent", "seconds"), [(1, 4), (2, 8), (3, 16), (4, 32), (5, 64), (6, 64), (1000, 64)]
)
def test_retransmission_doubles_from_4_to_64_seconds(sent: int, seconds: int) -> None:
    assert retransmission(sent, never) == seconds * SECOND
    assert retransmission(sent, half) == (seconds + 0.5) * SECOND


@pytest.mark.parametrize(("sent", "seconds"), [(1, 1), (2, 2), (3, 3), (4, 4), (5, 4), (99, 4)])
def test_who_is_waited_for_is_asked_again_within_4_seconds(sent: int, seconds: int) -> None:
    assert acquisition_wait(sent, never) == seconds * SECOND
    assert acquisition_wait(sent, half) == seconds * SECOND * 0.95


@pytest.mark.parametrize(
    ("remains", "lease_time", "wait"),
    [
        (HOUR, 2 * HOUR, HOUR / 2),
        (100 * SECOND, 2 * HOUR, MINUTE),
        (-SECOND, 2 * HOUR, MINUTE),
        (10 * SECOND, 5 * MINUTE, 5 * SECOND),
        (2 * SECOND, 5 * MINUTE, 5 * SECOND),
        (SECOND, 20 * SECOND, SECOND),
    ],
)
def test_a_renewal_waits_for_half_of_what_remains_but_not_less_than_its_share(
    remains: timedelta, lease_time: timedelta, wait: timedelta
) -> None:
    assert renewal_wait(NOON, NOON + remains, lease_time, sent=1) == wait


@pytest.mark.parametrize(("sent", "minutes"), [(1, 1), (2, 2), (3, 4), (6, 32), (7, 60), (99, 60)])
def test_a_renewal_without_an_end_is_asked_for_seldom(sent: int, minutes: int) -> None:
    assert renewal_wait(NOON, None, INFINITE, sent=sent) == minutes * MINUTE


def test_a_renewal_waits_for_a_day_at_most() -> None:
    days = timedelta(days=9)
    assert renewal_wait(NOON, NOON + days, 2 * days, sent=1) == timedelta(days=1)


def lease(
    lease_time: timedelta, t1: timedelta | None = None, t2: timedelta | None = None
) -> tuple[timedelta, timedelta, timedelta]:
    got = times(NOON, lease_time=lease_time, renewal_time=t1, rebinding_time=t2, random=never)
    assert got.renew_at and got.rebind_at and got.expires_at
    return got.renew_at - NOON, got.rebind_at - NOON, got.expires_at - NOON


def test_the_servers_times_are_taken() -> None:
    assert lease(HOUR, 10 * MINUTE, 20 * MINUTE) == (10 * MINUTE, 20 * MINUTE, HOUR)


def test_absent_times_are_a_half_and_seven_eighths_of_the_lease() -> None:
    assert lease(HOUR) == (HOUR / 2, HOUR * 7 / 8, HOUR)


def test_t1_alone_is_taken_where_it_fits() -> None:
    assert lease(HOUR, t1=40 * MINUTE) == (40 * MINUTE, HOUR * 7 / 8, HOUR)
    assert lease(HOUR, t1=55 * MINUTE) == (HOUR / 2, HOUR * 7 / 8, HOUR)


def test_t2_alone_draws_t1_before_it() -> None:
    t1, t2, _ = lease(HOUR, t2=7 * MINUTE)
    assert (t1, t2) == (4 * MINUTE, 7 * MINUTE)
    assert lease(HOUR, t2=59 * MINUTE)[0] == HOUR / 2


@pytest.mark.parametrize("t2", [timedelta(0), HOUR, 2 * HOUR, INFINITE])
def test_a_senseless_t2_is_repaired(t2: timedelta) -> None:
    assert lease(HOUR, 10 * MINUTE, t2) == (10 * MINUTE, HOUR * 7 / 8, HOUR)


@pytest.mark.parametrize("t1", [timedelta(0), 55 * MINUTE, 2 * HOUR, INFINITE])
def test_a_senseless_t1_is_repaired(t1: timedelta) -> None:
    assert lease(HOUR, t1, 55 * MINUTE) == (HOUR / 2, 55 * MINUTE, HOUR)


def test_an_infinite_lease_ends_never_and_is_asked_for_daily() -> None:
    day = timedelta(days=1)
    got = times(NOON, lease_time=INFINITE, renewal_time=HOUR, rebinding_time=2 * HOUR, random=never)
    assert got == Times(renew_at=NOON + day, rebind_at=None, expires_at=None)


def test_a_lease_of_weeks_is_asked_for_daily() -> None:
    assert lease(timedelta(days=30))[0] == timedelta(days=1)
    assert lease(timedelta(days=30), t1=timedelta(days=20))[0] == timedelta(days=1)


seconds = st.integers(0, 2**32 - 2).map(lambda number: timedelta(seconds=number))


@given(
    seconds.filter(bool),
    st.none() | seconds,
    st.none() | seconds,
    st.floats(0, 1, exclude_max=True),
)
def test_the_instants_of_any_lease_stand_in_their_order(
    lease_time: timedelta, t1: timedelta | None, t2: timedelta | None, jitter: float
) -> None:
    got = times(
        NOON,
        lease_time=lease_time,
        renewal_time=t1,
        rebinding_time=t2,
        random=lambda: jitter,
    )
    assert got.renew_at and got.rebind_at and got.expires_at
    assert NOON < got.renew_at < got.rebind_at < got.expires_at == NOON + lease_time
    on_time = times(
        NOON, lease_time=lease_time, renewal_time=t1, rebinding_time=t2, random=never
    ).renew_at
    assert on_time is not None
    assert (on_time - NOON) * 0.9 - SECOND / 1000 <= got.renew_at - NOON <= on_time - NOON


def test_leases_of_minutes_that_renew_in_one_quarter_of_a_second_renew_at_once() -> None:
    wakings = {
        times(
            NOON + number * SECOND / 10,
            lease_time=600 * SECOND,
            renewal_time=None,
            rebinding_time=None,
            random=never,
        ).renew_at
        for number in range(10)
    }
    assert len(wakings) == 4
