"""From ``exec`` to the first answer, against the import of what serves it."""

import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

from benchmarks.figures import Bound, Figure, median, milliseconds
from benchmarks.progress import Progress
from benchmarks.rig import NO_PROBE, SUBNET, driver_on
from benchmarks.sizes import Sizes
from lab.d4d_driver import Driver
from lab.lab import Lab
from lab.plugin_calls import call

_LOOK = 0.002  # seconds between looks for the socket
_POOL = {"Pool": SUBNET, "Options": {"allocator": "range"}}  # nobody else is asked
_IMPORT = [sys.executable, "-c", "import starlette, hypercorn"]


def measure(sizes: Sizes, progress: Progress) -> Iterator[Figure]:
    """Starts until two kinds of answer, and imports, in turns."""
    progress.step("starts of d4d server, each beside python's import of starlette and hypercorn")
    ours, theirs, opened = [], [], []
    with Lab() as lab:
        driver = driver_on(lab.machine("host", lab.switch(), "10.77.0.2/16"), NO_PROBE)
        first_answer(driver)  # and Python keeps what it compiled
        for done in range(sizes.starts):
            theirs.append(_seconds_of_import())
            ours.append(first_answer(driver))
            opened.append(first_answer(driver, "IpamDriver.RequestPool", _POOL))
            progress.count(done, sizes.starts)
    yield Figure(
        part="start",
        what="d4d server, to its first answer: median",
        against="python -c 'import starlette, hypercorn'",
        reached=median(ours) / median(theirs),
        bound=Bound.AT_MOST,
        limit=3,
        detail=f"{milliseconds(median(ours))} to {milliseconds(median(theirs))}",
    )
    yield Figure(
        part="start",
        what="d4d server, to its first answer out of the store (RequestPool): median",
        against="the same",
        reached=median(opened) / median(theirs),
        detail=f"{milliseconds(median(opened))}",
    )


def first_answer(
    driver: Driver, asked: str = "IpamDriver.GetCapabilities", body: dict[str, Any] | None = None
) -> float:
    """Start it, have one answer, and stop it; answers the seconds until that answer."""
    began = time.perf_counter()
    process = subprocess.Popen(
        [str(word) for word in driver.daemon.command],
        env=driver.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        while not driver.accepts:
            assert process.poll() is None, "d4d ended before it served"
            time.sleep(_LOOK)
        assert call(driver.socket, asked, body).status == 200
        return time.perf_counter() - began
    finally:
        process.terminate()
        process.wait()


def _seconds_of_import() -> float:
    began = time.perf_counter()
    subprocess.run(_IMPORT, check=True)
    return time.perf_counter() - began
