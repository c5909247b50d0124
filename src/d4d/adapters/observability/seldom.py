"""What strangers can cause without end, told within bounds: each thing once, and then how often."""

from collections import Counter
from collections.abc import Hashable
from dataclasses import dataclass, replace

from d4d.domain.events import EventKind, LeaseEvent

_STRANGERS = frozenset({EventKind.CONFLICT, EventKind.DECLINED, EventKind.MISMATCH})
"""What others on the wire can cause; each of the other kinds is a lease's own, and always told."""
_PAUSE = 60.0  # seconds
_MOST_OF_ADDRESS = 4  # distinct things told of one address within a pause,
_MOST_OF_POOL = 64  # and of one pool


@dataclass(slots=True)
class _Window:
    """A pause in which what was told is only counted."""

    ends_at: float
    groups: tuple[Hashable, ...]
    """Whose distinct things it is one of."""
    held: LeaseEvent | None = None
    """The newest that was not told."""
    count: int = 0


class SeldomEvents:
    """Lets a stranger's event be told once in a pause, and counts those that say the same.

    Of one address, and of one pool, so many distinct ones are told within a pause; what goes beyond
    is counted for the pool. So neither forged MACs nor forged addresses make a flood, or cost
    memory. ``now`` is in monotonic seconds.
    """

    def __init__(self, *, pause: float = _PAUSE) -> None:
        self._pause = pause
        self._windows: dict[Hashable, _Window] = {}  # in the order in which they end
        self._distinct: Counter[Hashable] = Counter()

    def __len__(self) -> int:
        return len(self._windows)

    @property
    def next_at(self) -> float | None:
        """When ``due`` has something to do; None is never."""
        return next(iter(self._windows.values())).ends_at if self._windows else None

    def may_tell(self, event: LeaseEvent, now: float) -> bool:
        """Whether to tell ``event`` at once; else it is counted, and ``due`` tells of it."""
        if event.kind not in _STRANGERS:
            return True
        pool = (event.kind, event.pool)
        address = (*pool, event.address)
        key: Hashable = (*address, event.endpoint, event.detail)
        if key not in self._windows:
            is_full = self._distinct[address] >= _MOST_OF_ADDRESS
            if not is_full and self._distinct[pool] < _MOST_OF_POOL:
                self._open(key, now, (pool, address))
                return True
            key = pool
            if key not in self._windows:
                self._open(key, now, ())
        window = self._windows[key]
        window.held, window.count = event, window.count + 1
        return False

    def due(self, now: float) -> list[LeaseEvent]:
        """One event for all those of a kind that were held back since it was last told."""
        told = []
        while (next_at := self.next_at) is not None and next_at <= now:
            key = next(iter(self._windows))
            window = self._windows.pop(key)
            self._distinct.subtract(window.groups)
            if window.held is not None:
                told.append(self._summary(window))
                self._open(key, now, window.groups)
        self._distinct = +self._distinct  # forgets what is zero
        return told

    def _open(self, key: Hashable, now: float, groups: tuple[Hashable, ...]) -> None:
        self._windows[key] = _Window(now + self._pause, groups)
        self._distinct.update(groups)

    def _summary(self, window: _Window) -> LeaseEvent:
        event, count = window.held, window.count
        assert event is not None
        what = (
            "more of the same" if window.groups else f"more {event.kind.value} events of the pool"
        )
        detail = f"{event.detail} ({count} {what} within {self._pause:g} s)"
        return replace(event, detail=detail.strip())


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
