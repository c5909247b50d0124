"""Hosts and names in this process only: of a host whose store is its own."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import count

from d4d.domain.ports.hosts import DRAIN, Heard, Heartbeat, HeartbeatReply


@dataclass(slots=True)
class _Last:
    by: str
    at: datetime
    number: int


@dataclass(slots=True)
class _Drain:
    by: str
    since: datetime
    ended: bool = False

    def is_on(self, now: datetime) -> bool:
        """A clock that was set back ends it: whoever drains sees that the host beat."""
        return not self.ended and timedelta(0) <= now - self.since < DRAIN


@dataclass(slots=True)
class MemoryHosts:
    """Hosts by this process's clock; ``owners`` are those that ever beat."""

    _beats: dict[str, _Last] = field(default_factory=dict)
    _drains: dict[str, _Drain] = field(default_factory=dict)
    _owners: dict[str, None] = field(default_factory=dict)
    _numbers: Iterator[int] = field(default_factory=lambda: count(1))

    async def beat(
        self, host: str, by: str, age: timedelta, now: datetime, *, instead_of: int | None = None
    ) -> HeartbeatReply:
        """``host`` is alive, says ``by``, unless another said so that is not known to be gone."""
        drain = self._drains.get(host)
        last = self._beats.get(host)
        if drain is not None and drain.is_on(now):
            self._beats[host] = _Last(by, now, next(self._numbers))
            return HeartbeatReply.DRAINED
        if drain is None and last is not None and last.by != by:
            is_young = timedelta(0) <= now - last.at < age
            if is_young or last.number != instead_of:
                return HeartbeatReply.NAMESAKE
        self._drains.pop(host, None)
        self._beats[host] = _Last(by, now, next(self._numbers))
        self._owners[host] = None
        return HeartbeatReply.KNOWN if last is not None and drain is None else HeartbeatReply.NEW

    async def heard(self, now: datetime) -> Heard:
        """The last heartbeat of each host."""
        beats = {
            host: Heartbeat(number=last.number, at=last.at) for host, last in self._beats.items()
        }
        return Heard(at=now, beats=beats)

    async def owners(self) -> list[str]:
        """Every host that ever beat."""
        return sorted(self._owners)

    async def begin_drain(self, host: str, by: str, beat: int | None, now: datetime) -> bool:
        """Whether ``beat`` still is the last of ``host``; then its beats are DRAINED from now."""
        last, drain = self._beats.get(host), self._drains.get(host)
        is_own = drain is not None and drain.by == by
        if (last.number if last else None) != beat:
            if is_own:
                await self.forget_host(host)
            return False
        if drain is not None and not is_own and drain.is_on(now):
            return False
        self._drains[host] = _Drain(by, now)
        return True

    async def end_drain(self, host: str, by: str) -> None:
        """End the drain of ``host`` by ``by``; its next beat is NEW."""
        drain = self._drains.get(host)
        if drain is not None and drain.by == by:
            drain.ended = True

    async def forget_host(self, host: str) -> None:
        """Forget its heartbeats."""
        self._beats.pop(host, None)
        self._drains.pop(host, None)
