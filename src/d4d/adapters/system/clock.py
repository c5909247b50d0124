"""The time, from a clock that no NTP step, and no missing battery, sets back or forward."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from time import CLOCK_BOOTTIME, clock_gettime_ns

_MICROSECOND = timedelta(microseconds=1)


def wall_clock() -> datetime:
    """The present instant as the machine has it, aware, in UTC: it jumps when somebody sets it."""
    return datetime.now(UTC)


def time_since_boot() -> int:
    """Nanoseconds, sleep included."""
    return clock_gettime_ns(CLOCK_BOOTTIME)


class AnchoredClock:
    """Wall time as it was when the process began, plus what has passed since, sleep included.

    A lease's instants are stored as wall time, but a step of the wall clock must not expire it. So
    it is not anchored anew when the clock is set: who sets a clock forward mends it, or tells of
    time that passed while the machine was not there, and nobody can tell which. Leases are
    confirmed then, and the server's word counts. Until the next start what D4D writes of instants
    is off by that step.
    """

    def __init__(
        self,
        *,
        wall: Callable[[], datetime] = wall_clock,
        since_boot: Callable[[], int] = time_since_boot,
    ) -> None:
        """``since_boot`` is in nanoseconds, never set, and goes on while the host sleeps."""
        self._anchor = wall()
        self._since_boot = since_boot
        self._began = since_boot()

    def __call__(self) -> datetime:
        """The present instant, aware, in UTC."""
        passed = self._since_boot() - self._began
        return self._anchor + passed // 1000 * _MICROSECOND
