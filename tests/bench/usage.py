"""What a process uses, as the kernel counts it."""

import os
from dataclasses import dataclass
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")
_KIB = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """One look at a process."""

    rss: int
    """Resident bytes."""
    threads: int
    descriptors: int
    cpu: float
    """Seconds of all its threads so far."""


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


def _resident(process: Path) -> int:
    for line in (process / "status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * _KIB
    return 0
