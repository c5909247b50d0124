"""Docker's calls while the operator's port is attacked, against the same without."""

import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.figures import Bound, Figure, median, milliseconds, number, percentile
from benchmarks.plugin_load import Plugin
from benchmarks.progress import Progress
from benchmarks.rig import NO_PROBE, driver_on
from benchmarks.sizes import Sizes
from lab.attacks import ATTACKS, attacked
from lab.lab import Lab

_POOL = "10.64.0.0/16"
_AT_ONCE = 64
_TOGETHER = 500  # leases between two looks at the progress
_MOST = 20  # milliseconds
_SETTLE = 1.0  # seconds in which all of an attack's connections are made
_PERCENT = 99
_ROUNDS = 5
_MOST_SECONDS = 4  # for the leases of a round, where they take long
_PAUSE = 0.005  # seconds between two calls: containers start, they do not flood


def measure(sizes: Sizes, progress: Progress) -> Iterator[Figure]:
    """One figure: of the attack that Docker's calls suffer most from."""
    with Lab() as lab:
        host = lab.machine("host", lab.switch())
        driver = driver_on(host, NO_PROBE)
        plugin = Plugin(driver.socket)
        try:
            driver.start()
            pool = plugin.pool(_POOL, allocator="range")
            progress.step(f"{sizes.operators_held} leases are had")
            for done in range(0, sizes.operators_held, _TOGETHER):
                many = min(_TOGETHER, sizes.operators_held - done)
                plugin.addresses([pool] * many, at_once=_AT_ONCE)
                progress.count(done, sizes.operators_held)
            admin = host.directory / "admin.sock"
            quiet = _tail(plugin, pool, sizes)
            tails = dict(_attacks(plugin, pool, admin, sizes, progress))
        finally:
            plugin.close()
            driver.kill()
    worst = max(tails, key=lambda kind: tails[kind])
    each = ", ".join(f"{kind} {number(1000 * tail)}" for kind, tail in tails.items())
    yield Figure(
        part="operators",
        what=f"RequestAddress while the operator's port is attacked, worst by {worst}: p99",
        against=f"a driver with {sizes.operators_held} leases, left alone",
        reached=1000 * tails[worst],
        unit="ms",
        bound=Bound.AT_MOST,
        limit=_MOST,
        detail=f"{milliseconds(tails[worst])} to {milliseconds(quiet)}; in ms: {each}",
    )


def _attacks(
    plugin: Plugin, pool: str, admin: Path, sizes: Sizes, progress: Progress
) -> Iterator[tuple[str, float]]:
    for kind in ATTACKS:
        progress.step(f"leases while the operator's port is attacked: {kind}")
        with attacked(kind, admin):
            time.sleep(_SETTLE)
            yield kind, _tail(plugin, pool, sizes)


def _tail(plugin: Plugin, pool: str, sizes: Sizes) -> float:
    """How long the slowest hundredth of leases takes: of several rounds the middle one.

    The machine is others', too: what one of them does for a moment is in one round only.
    """
    return median([_round(plugin, pool, sizes.operators_calls) for _ in range(_ROUNDS)])


def _round(plugin: Plugin, pool: str, calls: int) -> float:
    times: list[float] = []
    until = time.monotonic() + _MOST_SECONDS
    while len(times) < calls and time.monotonic() < until:
        time.sleep(_PAUSE)
        answer = plugin.address(pool)
        assert answer.address
        times.append(answer.seconds)
    return percentile(times, _PERCENT)
