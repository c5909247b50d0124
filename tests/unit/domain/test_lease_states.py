"""Both axes to the last transition, and the word that people are shown."""

from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from itertools import product

import pytest

from d4d.domain.addressing import MacAddress
from d4d.domain.lease_states import (
    STANDINGS,
    USES,
    RefusedTransitionError,
    Standing,
    StandingChange,
    Use,
    UseChange,
    next_standing,
    next_use,
)
from d4d.domain.leases import Endpoint, Lease, LeaseState
from d4d.domain.pools import PoolId

NOON = datetime(2026, 11, 28, 12, tzinfo=UTC)
WEB = Endpoint(mac=MacAddress.parse("02:42:0a:4d:10:01"), name="web")
LEASE = Lease(
    pool=PoolId("10.77.0.0/16"), address=IPv4Address("10.77.16.1"), endpoint=WEB, acquired_at=NOON
)


@pytest.mark.parametrize(("use", "change"), [*product(Use, UseChange)])
def test_each_change_of_use_is_in_the_table_or_refused(use: Use, change: UseChange) -> None:
    after = USES.get((use, change))
    if after is not None:
        assert next_use(use, change) is after
    else:
        with pytest.raises(RefusedTransitionError, match=f"{use} can't be {change}"):
            next_use(use, change)


@pytest.mark.parametrize(("standing", "change"), [*product(Standing, StandingChange)])
def test_only_the_servers_grant_ends_a_loss(standing: Standing, change: StandingChange) -> None:
    after = next_standing(standing, change)
    assert STANDINGS[standing, change] is after
    if standing is Standing.LOST:
        assert (after is not Standing.LOST) == (change is StandingChange.CONFIRMED)


@pytest.mark.parametrize(
    ("use", "standing", "word"),
    [
        (Use.IN_USE, Standing.GRANTED, LeaseState.BOUND),
        (Use.IN_USE, Standing.DOUBTFUL, LeaseState.DOUBTFUL),
        (Use.IN_USE, Standing.LOST, LeaseState.LOST),
        *((Use.RELEASED, standing, LeaseState.RELEASED) for standing in Standing),
        *((Use.FREED, standing, LeaseState.FREED) for standing in Standing),
    ],
)
def test_people_are_shown_one_word(use: Use, standing: Standing, word: LeaseState) -> None:
    lease = Lease(
        pool=LEASE.pool,
        address=LEASE.address,
        endpoint=WEB,
        acquired_at=NOON,
        use=use,
        standing=standing,
    )
    assert lease.state is word
    assert lease.is_live == (use is Use.IN_USE)
    assert lease.is_held == (use is not Use.FREED)


def test_a_lost_lease_that_docker_releases_and_takes_back_is_still_lost() -> None:
    later = NOON + timedelta(minutes=1)
    again = LEASE.denied().given_back(later).taken_back(WEB)
    assert (again.use, again.standing) == (Use.IN_USE, Standing.LOST)
    assert again.released_at is None
    assert again.confirmed().state is LeaseState.BOUND


def test_what_is_freed_is_never_taken_back() -> None:
    freed = LEASE.given_back(NOON).freed()
    with pytest.raises(RefusedTransitionError):
        freed.taken_back(WEB)
    with pytest.raises(RefusedTransitionError):
        freed.given_back(NOON)
