"""Log lines that a stranger can cause without end: each is written once in a while."""

from collections.abc import Hashable

_PAUSE = 60.0  # seconds


class Seldom:
    """Lets each key be told once in ``pause`` seconds, of so many at most, and counts the rest."""

    def __init__(self, *, pause: float = _PAUSE, at_most: int) -> None:
        self._pause = pause
        self._at_most = at_most
        self._told: dict[Hashable, float] = {}  # in the order of their instants
        self._untold = 0

    def may_tell(self, key: Hashable, now: float) -> bool:
        """Whether it is time to tell; True counts as told. ``now`` is in monotonic seconds."""
        while self._told:
            oldest = next(iter(self._told))
            if self._told[oldest] > now - self._pause:
                break
            del self._told[oldest]
        if key in self._told or len(self._told) >= self._at_most:
            self._untold += 1
            return False
        self._told[key] = now
        return True

    def untold(self) -> int:
        """How many were not told since this was last asked."""
        count, self._untold = self._untold, 0
        return count
