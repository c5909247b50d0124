"""RequestAddress, one after the other, against the bare exchange and one synced write.

Judged is a driver that runs, as it does for weeks. Its first leases are told beside it: SQLite's
log grows until its first checkpoint, which takes the disk longer than to write over it, and Python
has just begun to specialise its code. So are leases with pauses between, as containers start.
"""

import time
from collections.abc import Callable, Iterator
from functools import partial

from benchmarks.baseline_exchange import BareExchange
from benchmarks.figures import Bound, Figure, median, milliseconds, percentile
from benchmarks.minimal_driver import least_driver
from benchmarks.plugin_load import Answer
from benchmarks.progress import Progress
from benchmarks.rig import rig
from benchmarks.sizes import Sizes
from lab.dhcp_servers import Dhcpd, Kea, Server

_PAUSE = 0.02  # seconds
_MOST = 2.0


def measure(sizes: Sizes, progress: Progress) -> Iterator[Figure]:
    """D4D's figures for each server, and what the parts cost that it is made of."""
    for kind in (Dhcpd, Kea):
        yield from _of(kind, sizes, progress)


def _of(kind: type[Server], sizes: Sizes, progress: Progress) -> Iterator[Figure]:
    name = kind.name
    with rig(kind) as at:
        pairs = _Pairs(BareExchange(at.host, at.host.directory / "bare"), progress)
        progress.step(f"leases of {name} one at a time, each beside a bare exchange")
        ask = partial(at.plugin.address, at.pool)
        first = pairs.of(ask, sizes.first_singles)
        running = pairs.of(ask, sizes.singles)
        paced = pairs.of(ask, sizes.paced_singles, pause=_PAUSE)
        progress.step(f"leases of {name} by the least driver of the same parts")
        with least_driver(at.host) as least:
            ask = partial(least.address, at.pool)
            pairs.of(ask, sizes.first_singles)
            parts = pairs.of(ask, sizes.singles)
        pairs.close()
    asked = f"RequestAddress, one at a time, {name}"
    yield _figure(f"{asked}: median", Bound.AT_MOST, running)
    yield _figure(f"{asked}: the first {len(first)} of a new driver", Bound.TOLD, first)
    yield _figure(f"{asked}: with {_PAUSE * 1000:g} ms in between", Bound.TOLD, paced)
    yield _figure(f"the least driver of D4D's parts, {name}: median", Bound.TOLD, parts)


Times = list[tuple[float, float]]
"""Seconds of each lease, and of the bare exchange beside it."""


class _Pairs:
    """Leases, each beside a bare exchange."""

    def __init__(self, bare: BareExchange, progress: Progress) -> None:
        self._bare = bare
        self._progress = progress
        self.close = bare.close

    def of(self, ask: Callable[[], Answer], many: int, *, pause: float = 0.0) -> Times:
        """So many, with so many seconds before each exchange and each lease."""
        return [self._pair(ask, pause, done, many) for done in range(many)]

    def _pair(
        self, ask: Callable[[], Answer], pause: float, done: int, many: int
    ) -> tuple[float, float]:
        if pause:
            time.sleep(pause)
        exchange = self._bare.run()
        if pause:
            time.sleep(pause)
        answer = ask()
        assert answer.address
        self._progress.count(done, many)
        return answer.seconds, exchange


def _figure(what: str, bound: Bound, times: Times) -> Figure:
    leases, exchanges = zip(*times, strict=True)
    return Figure(
        part="one-at-a-time",
        what=what,
        against="bare exchange and one synced write",
        reached=median(leases) / median(exchanges),
        bound=bound,
        limit=_MOST,
        detail=f"{milliseconds(median(leases))} (p99 {milliseconds(percentile(leases, 99))}) "
        f"to {milliseconds(median(exchanges))}",
    )
