"""Events that strangers can cause without end, in bounds: each once, and then how often."""

from collections import Counter
from collections.abc import Hashable
from dataclasses import dataclass, replace

from d4d.domain.events import EventKind, LeaseEvent

_STRANGERS = frozenset({EventKind.CONFLICT, EventKind.DECLINED, EventKind.MISMATCH})
"""What others on the wire can cause; the other kinds are a lease's own, and always reported."""
_PAUSE = 60.0  # seconds
_MOST_OF_ADDRESS = 4  # distinct events of one address within a pause,
_MOST_OF_POOL = 64  # and of one pool


@dataclass(slots=True)
class _Window:
    """A pause in which what was reported is only counted."""

    ends_at: float
    groups: tuple[Hashable, ...]
    """The address and pool whose distinct events it is one of."""
    held: LeaseEvent | None = None
    """The newest that was not reported."""
    count: int = 0


class EventThrottle:
    """Lets a stranger's event pass once in a pause, and counts those that say the same.

    Of one address, and of one pool, only so many distinct ones pass within a pause; the others
    are counted for the pool. So neither forged MACs nor forged addresses make a flood, or cost
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

    def passes(self, event: LeaseEvent, now: float) -> bool:
        """Whether to report ``event`` at once; else it is counted, and is among what is ``due``."""
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
        """One event for all those of a kind that were held back since the last that passed."""
        summaries = []
        while (next_at := self.next_at) is not None and next_at <= now:
            key = next(iter(self._windows))
            window = self._windows.pop(key)
            self._distinct.subtract(window.groups)
            if window.held is not None:
                summaries.append(self._summary(window))
                self._open(key, now, window.groups)
        self._distinct = +self._distinct  # forgets what is zero
        return summaries

    def _open(self, key: Hashable, now: float, groups: tuple[Hashable, ...]) -> None:
        self._windows[key] = _Window(now + self._pause, groups)
        self._distinct.update(groups)

    def _summary(self, window: _Window) -> LeaseEvent:
        event, count = window.held, window.count
        assert event is not None
        more = (
            "more of the same" if window.groups else f"more {event.kind.value} events of the pool"
        )
        detail = f"{event.detail} ({count} {more} within {self._pause:g} s)"
        return replace(event, detail=detail.strip())
