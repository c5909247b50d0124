"""The range allocator on a nearly full pool, against itself on a nearly empty one."""

import asyncio
import time
from collections.abc import Iterator

from benchmarks.figures import Bound, Figure, median, milliseconds
from benchmarks.progress import Progress
from benchmarks.range_stores import STORES, Places, Ranged, places
from benchmarks.sizes import Sizes
from d4d.domain.errors import NoAddress

_TOGETHER = 512  # addresses taken at once to fill a pool
_MOST = 1.3


def measure(sizes: Sizes, progress: Progress) -> Iterator[Figure]:
    """A figure for each store: two pools in turns, one at 1 % and one at 99 %."""
    for kind in STORES:
        progress.step(f"a /{sizes.range_prefix} on {kind} at 1 % and at 99 %")
        with places() as where:
            yield asyncio.run(_of(kind, where, sizes, progress))


async def _of(kind: str, where: Places, sizes: Sizes, progress: Progress) -> Figure:
    subnet = f"10.64.0.0/{sizes.range_prefix}"
    empty, full = Ranged(where.new(kind), subnet), Ranged(where.new(kind), subnet)
    size = full.pool.subnet.num_addresses - 2
    given = await _fill(full, size * 99 // 100 - sizes.range_takes, progress)
    await _fill(empty, size // 100, progress)
    times: dict[Ranged, list[float]] = {empty: [], full: []}
    for _ in range(sizes.range_takes):
        for ranged, seconds in times.items():
            began = time.perf_counter()
            lease = await ranged.take()
            seconds.append(time.perf_counter() - began)
        given.add(str(lease.address))
    given |= await _fill(full, size - len(given), progress)
    await _see_that_it_is_full(full, given)
    await empty.aclose()
    await full.aclose()
    low, high = median(times[empty]), median(times[full])
    return Figure(
        part="range-fill",
        what=f"range allocator, /{sizes.range_prefix} at 99 %, {kind}: median",
        against="itself at 1 %",
        reached=high / low,
        bound=Bound.AT_MOST,
        limit=_MOST,
        detail=f"{milliseconds(high)} to {milliseconds(low)}; the last address was found",
    )


async def _fill(ranged: Ranged, amount: int, progress: Progress) -> set[str]:
    given: set[str] = set()
    for at in range(0, amount, _TOGETHER):
        takes = (ranged.take() for _ in range(min(_TOGETHER, amount - at)))
        given |= {str(lease.address) for lease in await asyncio.gather(*takes)}
        progress.count(at, amount)
    return given


async def _see_that_it_is_full(ranged: Ranged, given: set[str]) -> None:
    subnet = ranged.pool.subnet
    assert len(given) == subnet.num_addresses - 2, f"{len(given)} addresses were given"
    assert str(subnet.broadcast_address - 1) in given, "the last address was not found"
    try:
        lease = await ranged.take()
    except NoAddress:
        return
    raise AssertionError(f"{lease.address} was given a second time")
