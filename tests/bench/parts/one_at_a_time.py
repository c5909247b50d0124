"""RequestAddress, one after the other, against the bare exchange and one synced write."""

from collections.abc import Callable, Iterator
from functools import partial

from tests.bench.bare import BareExchange
from tests.bench.figures import Bound, Figure, median, milliseconds, percentile
from tests.bench.least import least_driver
from tests.bench.plugin import Answer
from tests.bench.progress import Progress
from tests.bench.rig import rig
from tests.bench.sizes import Sizes
from tests.lab.servers import Dhcpd, Kea, Server

_WARM_UP = 5
_MOST = 2.0

Times = tuple[list[float], list[float]]
"""Seconds of leases, and of the bare exchange beside each."""


def measure(sizes: Sizes, progress: Progress) -> Iterator[Figure]:
    """Two figures for each server: D4D's, and what the parts cost that it is made of."""
    for kind in (Dhcpd, Kea):
        yield from _of(kind, sizes, progress)


def _of(kind: type[Server], sizes: Sizes, progress: Progress) -> Iterator[Figure]:
    with rig(kind) as at:
        bare = BareExchange(at.host, at.host.directory / "bare")
        progress.step(f"leases of {kind.name} one at a time, each beside a bare exchange")
        ours = _beside(bare, partial(at.plugin.address, at.pool), sizes, progress)
        yield _figure(f"RequestAddress, one at a time, {kind.name}: median", Bound.AT_MOST, ours)
        progress.step(f"leases of {kind.name} by the least driver of the same parts")
        with least_driver(at.host) as least:
            parts = _beside(bare, partial(least.address, at.pool), sizes, progress)
        yield _figure(f"the least driver of D4D's parts, {kind.name}: median", Bound.TOLD, parts)
        bare.close()


def _beside(
    bare: BareExchange, ask: Callable[[], Answer], sizes: Sizes, progress: Progress
) -> Times:
    leases: list[float] = []
    exchanges: list[float] = []
    for done in range(-_WARM_UP, sizes.singles):
        exchanges.append(bare.run())
        answer = ask()
        assert answer.address
        leases.append(answer.seconds)
        progress.count(done, sizes.singles)
    return leases[_WARM_UP:], exchanges[_WARM_UP:]


def _figure(what: str, bound: Bound, times: Times) -> Figure:
    leases, exchanges = times
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
