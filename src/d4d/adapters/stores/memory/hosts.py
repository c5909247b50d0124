"""Hosts and names in this process only: of a host whose store is its own."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from d4d.domain.ports.allocator import DRAIN, Beat


@dataclass(slots=True)
class _Heard:
    by: str
    at: datetime


@dataclass(slots=True)
class _Drain:
    by: str
    since: datetime


@dataclass(slots=True)
class MemoryHosts:
    """Hosts by this process's clock; ``owners`` are those that ever beat."""

    _beats: dict[str, _Heard] = field(default_factory=dict)
    _drains: dict[str, _Drain] = field(default_factory=dict)
    _owners: dict[str, None] = field(default_factory=dict)

    async def beat(self, host: str, by: str, age: timedelta, now: datetime) -> Beat:
        """``host`` is alive, says installation ``by``, unless another said so within ``age``."""
        drain = self._drains.get(host)
        if drain is not None and now - drain.since < DRAIN:
            return Beat.DRAINED
        last = self._beats.get(host)
        if drain is None and last is not None and last.by != by and now - last.at < age:
            return Beat.NAMESAKE
        self._drains.pop(host, None)
        self._beats[host] = _Heard(by, now)
        self._owners[host] = None
        return Beat.KNOWN if last is not None and drain is None else Beat.NEW

    async def ages(self, now: datetime) -> dict[str, timedelta]:
        """How long ago each host was last heard of."""
        return {host: now - heard.at for host, heard in self._beats.items()}

    async def owners(self) -> list[str]:
        """Every host that ever beat."""
        return sorted(self._owners)

    async def begin_drain(self, host: str, by: str, age: timedelta, now: datetime) -> bool:
        """Whether ``host`` was not heard of for ``age``; then its beats are DRAINED from now on."""
        last, drain = self._beats.get(host), self._drains.get(host)
        if drain is not None and drain.by != by and now - drain.since < DRAIN:
            return False
        if last is not None and now - last.at < age:
            return False
        self._drains[host] = _Drain(by, now)
        return True

    async def forget_host(self, host: str) -> None:
        """Forget its heartbeats."""
        self._beats.pop(host, None)
        self._drains.pop(host, None)
