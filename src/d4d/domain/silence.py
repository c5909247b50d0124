"""Which hosts are silent: what one observer saw, by its own clock.

A heartbeat's age by the store's clock tells nothing of the host: a store that was away heard no
one, and a clock that was set makes all heartbeats old at once. So a host is silent for as long as
an observer saw that its heartbeat did not change, while it read the store without a gap. What else
may explain that nothing changed begins the watch anew, for all hosts:

- the store could not be read, or was not for longer than ``gap``: the observer slept, or hung;
- any clock in sight jumped: the observer's own, its wall clock, the store's. A machine that is
  suspended does not always see that, but its clocks disagree afterwards;
- a heartbeat is older than what was seen of it, or is gone: the store lost what it had, or another,
  with older data, took its place.

Nothing here waits or reads a clock.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class Instant:
    """One moment, by all clocks in sight. Only ``own`` is counted by."""

    own: datetime
    """This host's monotonic clock, which goes on while the host sleeps."""
    others: tuple[datetime, ...] = ()
    """Clocks that may jump: in the same order each time."""


@dataclass(slots=True)
class _Seen:
    beat: int
    since: datetime
    """When the read ended in which the heartbeat was first seen."""
    changed: bool
    """Whether it was seen to change into this one."""


class Silence:
    """What one observer saw of all hosts' heartbeats."""

    def __init__(self, *, gap: timedelta) -> None:
        """Between the reads of the store may be so much, for the watch to go on."""
        self._gap = gap
        self._began: datetime | None = None
        self._read: Instant | None = None
        """When the last read began."""
        self._seen: dict[str, _Seen] = {}

    def saw(self, beats: Mapping[str, int], *, began: Instant, ended: Instant) -> None:
        """A read of the store found ``beats``: of each host a number that each heartbeat raises.

        The next read must begin after this one has ended.
        """
        if not self._goes_on(beats, ended):
            self.reset()
        is_first = self._began is None
        if self._began is None:
            self._began = ended.own
        for host, beat in beats.items():
            known = self._seen.get(host)
            if known is None or known.beat != beat:
                self._seen[host] = _Seen(beat, ended.own, not is_first)
        self._read = began

    def reset(self) -> None:
        """The store could not be read: what was seen so far proves nothing."""
        self._began = self._read = None
        self._seen.clear()

    def forget(self, host: str) -> None:
        """The observer itself takes the heartbeats of ``host`` away."""
        self._seen.pop(host, None)

    def watched(self) -> timedelta:
        """How long the store was read without a gap."""
        return self._until(self._began)

    def of(self, host: str) -> timedelta:
        """How long the heartbeat of ``host`` did not change; or was not there, all that time."""
        seen = self._seen.get(host)
        return self._until(self._began if seen is None else seen.since)

    def changed(self, host: str) -> bool:
        """Whether the last heartbeat of ``host`` was seen to come, or only found there."""
        seen = self._seen.get(host)
        return seen is not None and seen.changed

    def _goes_on(self, beats: Mapping[str, int], ended: Instant) -> bool:
        """Whether nothing but silence explains a heartbeat that did not change."""
        last = self._read
        if last is None:
            return False
        clocks = zip((last.own, *last.others), (ended.own, *ended.others), strict=True)
        if any(abs(now - then) > self._gap for then, now in clocks):
            return False
        return all(beats.get(host, -1) >= seen.beat for host, seen in self._seen.items())

    def _until(self, since: datetime | None) -> timedelta:
        if since is None or self._read is None:
            return timedelta(0)
        return max(self._read.own - since, timedelta(0))
