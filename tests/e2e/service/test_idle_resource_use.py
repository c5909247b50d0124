"""Thousands of renewals cost no thread, no descriptor and no memory."""

import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest

from lab.dhcp_servers import Kea, Site
from lab.lab import Lab
from lab.processes import eventually
from tests.support.scenarios import NewEngine, World, events

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root")

LEASES = 400
WARM, RENEWALS = 800, 5000
SITE = Site(lease_time=timedelta(seconds=60), renewal_time=timedelta(seconds=2))
SLACK = 2 * 1024  # KiB; one KiB lost with each renewal would be 5,000
PATIENCE = timedelta(seconds=60)
_PAGE = os.sysconf("SC_PAGE_SIZE") // 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What a process has of the machine."""

    threads: int
    descriptors: int
    memory: int
    """Resident, in KiB."""


def usage(pid: int) -> Usage:
    process = Path("/proc") / str(pid)
    return Usage(
        threads=len(list((process / "task").iterdir())),
        descriptors=len(list((process / "fd").iterdir())),
        memory=int((process / "statm").read_text().split()[1]) * _PAGE,
    )


@pytest.fixture
def world() -> Iterator[World]:
    with Lab() as lab:
        # the ARP probe of an acquisition is not what is measured
        yield World(lab, Kea, site=SITE, docker=False, settings={"D4D_CONFLICT_PROBE": "10ms"})


def test_renewals_leave_threads_descriptors_and_memory_flat(world: World) -> None:
    engine = NewEngine(world)

    def run(number: int) -> None:
        engine.run(f"c{number}", f"0e:00:00:00:{number >> 8:02x}:{number & 255:02x}")

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(run, range(LEASES)))
    before_renewals = grants(world)

    def renewed(number: int) -> bool:
        return grants(world) - before_renewals >= number

    eventually(lambda: renewed(WARM), what="renewals do not come", timeout=PATIENCE)
    first = usage(world.driver.daemon.pid)
    began = time.monotonic()
    eventually(lambda: renewed(WARM + RENEWALS), what="renewals cease", timeout=PATIENCE)
    last = usage(world.driver.daemon.pid)

    print(
        f"{RENEWALS} renewals of {LEASES} leases in {time.monotonic() - began:.0f} s:", first, last
    )
    assert last.threads <= first.threads
    assert last.descriptors <= first.descriptors
    assert last.memory - first.memory < SLACK
    assert len(world.server.leased()) == LEASES
    assert events(world.driver, "lost") == []
    assert world.driver.exceptions() == []


def grants(world: World) -> int:
    """Kea writes a line for each ACK."""
    return world.server.leases.read_bytes().count(b"\n") - 1
