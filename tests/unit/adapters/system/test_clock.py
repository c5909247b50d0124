"""The time of leases: aware, never set back, and right after a sleep."""

from datetime import UTC, datetime, timedelta

from d4d.adapters.system.clock import AnchoredClock

BEGAN = datetime(2026, 1, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


class Host:
    """A wall clock that may be set, and what has passed since the boot."""

    def __init__(self) -> None:
        self.wall = BEGAN
        self.since_boot = timedelta(days=3)
        self.clock = AnchoredClock(wall=lambda: self.wall, since_boot=self._nanoseconds)

    def _nanoseconds(self) -> int:
        return self.since_boot // timedelta(microseconds=1) * 1000

    def passes(self, duration: timedelta) -> None:
        """Also of a host that sleeps: both go on."""
        self.wall += duration
        self.since_boot += duration


def test_it_begins_with_the_wall_clock_in_utc() -> None:
    clock = AnchoredClock()
    assert clock().tzinfo is UTC
    assert abs(clock() - datetime.now(UTC)) < timedelta(seconds=1)


def test_it_never_runs_backwards() -> None:
    clock = AnchoredClock()
    instants = [clock() for _ in range(1000)]
    assert instants == sorted(instants)


def test_it_is_right_after_a_sleep() -> None:
    host = Host()
    host.passes(2 * HOUR)
    assert host.clock() == host.wall == BEGAN + 2 * HOUR


def test_no_lease_runs_out_or_lives_longer_as_the_wall_clock_is_set() -> None:
    host = Host()
    host.passes(HOUR)
    for step in (8 * HOUR, -9 * HOUR):  # a virtual machine restored; a clock that was mended
        host.wall += step
        assert host.clock() == BEGAN + HOUR
    host.passes(HOUR)
    assert host.clock() == BEGAN + 2 * HOUR
