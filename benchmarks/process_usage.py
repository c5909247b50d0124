"""What a process uses, as the kernel counts it."""

import os
import time
from dataclasses import dataclass, replace
from pathlib import Path

import httpx
from prometheus_client.parser import text_string_to_metric_families

from lab.d4d_driver import Driver

_TICKS = os.sysconf("SC_CLK_TCK")
_KIB = 1024
_PAUSE = 0.5  # seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """One look at a process."""

    rss: int
    """Resident bytes."""
    threads: int
    descriptors: int
    cpu: float
    """Seconds of all its threads so far."""
    tasks: int = 0
    """Of its event loop, where it was asked."""


def usage(pid: int) -> Usage:
    """Look at the process."""
    process = Path("/proc") / str(pid)
    fields = (process / "stat").read_text().rpartition(")")[2].split()
    return Usage(
        rss=_resident(process),
        threads=len([*(process / "task").iterdir()]),
        descriptors=len([*(process / "fd").iterdir()]),
        cpu=(int(fields[11]) + int(fields[12])) / _TICKS,
    )


def settled(driver: Driver) -> Usage:
    """Look at the driver when it has done what it began, as loading what the first lease needs."""
    before = look(driver)
    while True:
        time.sleep(_PAUSE)
        now = look(driver)
        if now.cpu - before.cpu < _PAUSE / 10 and now.rss == before.rss:
            return now
        before = now


def look(driver: Driver) -> Usage:
    """Look at the driver's process, tasks included."""
    path = driver.environment["D4D_ADMIN_BIND"].removeprefix("unix:")
    with httpx.Client(transport=httpx.HTTPTransport(uds=path)) as client:
        text = client.get("http://d4d/metrics").text
    (family,) = (
        each for each in text_string_to_metric_families(text) if each.name == "d4d_event_loop_tasks"
    )
    return replace(usage(driver.daemon.pid), tasks=int(family.samples[0].value))


def _resident(process: Path) -> int:
    for line in (process / "status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * _KIB
    return 0
