"""RequestAddress, one after the other, against the bare exchange and one synced write."""

from collections.abc import Iterator

from tests.bench.bare import BareExchange
from tests.bench.figures import Bound, Figure, median, milliseconds, percentile
from tests.bench.progress import Progress
from tests.bench.rig import rig
from tests.bench.sizes import Sizes
from tests.lab.servers import Dhcpd, Kea, Server

_WARM_UP = 5
_MOST = 2.0


def measure(sizes: Sizes, progress: Progress) -> Iterator[Figure]:
    """A figure for each server."""
    for kind in (Dhcpd, Kea):
        yield _against(kind, sizes, progress)


def _against(kind: type[Server], sizes: Sizes, progress: Progress) -> Figure:
    progress.step(f"leases of {kind.name} one at a time, each beside a bare exchange")
    with rig(kind) as at:
        bare = BareExchange(at.host, at.host.directory / "bare")
        ours: list[float] = []
        theirs: list[float] = []
        for done in range(-_WARM_UP, sizes.singles):
            theirs.append(bare.run())
            answer = at.plugin.address(at.pool)
            assert answer.address
            ours.append(answer.seconds)
            progress.count(done, sizes.singles)
        bare.close()
    ours, theirs = ours[_WARM_UP:], theirs[_WARM_UP:]
    return Figure(
        part="one-at-a-time",
        what=f"RequestAddress, one at a time, {kind.name}: median",
        against="bare exchange and one synced write",
        reached=median(ours) / median(theirs),
        bound=Bound.AT_MOST,
        limit=_MOST,
        detail=f"{milliseconds(median(ours))} (p99 {milliseconds(percentile(ours, 99))}) "
        f"to {milliseconds(median(theirs))}",
    )
