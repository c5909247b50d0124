"""The time, from a clock that no NTP step, and no missing battery, sets back or forward."""

from datetime import UTC, datetime, timedelta
from time import CLOCK_BOOTTIME, clock_gettime_ns

_MICROSECOND = timedelta(microseconds=1)


class AnchoredClock:
    """Wall time as it was when the process began, plus what has passed since, sleep included.

    A lease's instants are stored as wall time, but a step of the wall clock must not expire it.
    """

    def __init__(self) -> None:
        self._anchor = datetime.now(UTC)
        self._began = clock_gettime_ns(CLOCK_BOOTTIME)

    def __call__(self) -> datetime:
        """The present instant, aware, in UTC."""
        passed = clock_gettime_ns(CLOCK_BOOTTIME) - self._began
        return self._anchor + passed // 1000 * _MICROSECOND


def wall_clock() -> datetime:
    """The present instant as the machine has it, aware, in UTC: it jumps when somebody sets it."""
    return datetime.now(UTC)
