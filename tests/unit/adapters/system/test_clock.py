"""The time of leases: aware, and never set back."""

from datetime import UTC, datetime, timedelta

from d4d.adapters.system.clock import AnchoredClock


def test_it_begins_with_the_wall_clock_in_utc() -> None:
    clock = AnchoredClock()
    assert clock().tzinfo is UTC
    assert abs(clock() - datetime.now(UTC)) < timedelta(seconds=1)


def test_it_never_runs_backwards() -> None:
    clock = AnchoredClock()
    instants = [clock() for _ in range(1000)]
    assert instants == sorted(instants)
