"""The time, from a clock that no NTP step, and no missing battery, sets back or forward."""

import time
from datetime import UTC, datetime, timedelta


class AnchoredClock:
    """Wall time as it was when the process began, plus what has passed since, sleep included.

    A lease's instants are stored as wall time, but a step of the wall clock must not expire it.
    """

    def __init__(self) -> None:
        self._anchor = datetime.now(UTC)
        self._began = time.clock_gettime(time.CLOCK_BOOTTIME)

    def __call__(self) -> datetime:
        """The present instant, aware, in UTC."""
        passed = time.clock_gettime(time.CLOCK_BOOTTIME) - self._began
        return self._anchor + timedelta(seconds=passed)
