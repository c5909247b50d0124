"""Ten thousand leases: what they cost held and renewed, and at a start with them in the store."""

import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import timedelta

from benchmarks.figures import Bound, Figure, median, milliseconds, number
from benchmarks.held_leases import (
    EAGER,
    LEASE_TIME,
    HasteningDhcpd,
    macs,
    renewals,
    start,
    stored_before,
)
from benchmarks.plugin_load import Plugin
from benchmarks.process_usage import Usage, look, settled, usage
from benchmarks.progress import Progress
from benchmarks.rig import SITE, Rig, driver_on, rig
from benchmarks.sizes import Sizes
from lab.d4d_driver import Driver

_PART = "holding"
_AT_ONCE = 64
_TOGETHER = 500  # leases between two looks at the progress
_KIB = 1024
_T1 = LEASE_TIME / 2


def measure(sizes: Sizes, progress: Progress) -> Iterator[Figure]:
    """Memory and counts, renewals, then starts in turns with those of a driver without a lease."""
    site = replace(SITE, lease_time=LEASE_TIME, renewal_time=timedelta(seconds=sizes.held_seconds))
    with rig(HasteningDhcpd, settings={}, site=site) as at:
        progress.step(f"{sizes.held} leases of dhcpd are had")
        before = settled(at.driver)
        idle = _cores(at.driver, sizes.held_seconds / 4)
        _fill(at, sizes, progress)
        at.plugin.close()  # a kept connection is no lease's descriptor
        progress.step(f"{sizes.held} leases are held, and renewed for {sizes.held_seconds} s")
        renewed = renewals(at.server)
        cores = _cores(at.driver, sizes.held_seconds)
        renewed = renewals(at.server) - renewed
        after = look(at.driver)
        yield _memory(before, after, sizes)
        yield _counts(before, after, sizes)
        yield _renewing(cores, idle, renewed / sizes.held_seconds, sizes)
        progress.step(f"starts with {sizes.held} leases, each beside one without any")
        yield from _starts(at, sizes, progress)


def _fill(at: Rig, sizes: Sizes, progress: Progress) -> None:
    """Have the leases. Those that renew early are strewn among them, and so are their renewals."""
    wanted = macs(sizes.held, eager=sizes.held * timedelta(seconds=sizes.held_seconds) / _T1)
    addresses = set[str]()
    for done in range(0, sizes.held, _TOGETHER):
        batch = wanted[done : done + _TOGETHER]
        answers = at.plugin.addresses([at.pool] * len(batch), at_once=_AT_ONCE, macs=batch)
        addresses |= {answer.address for answer in answers}
        progress.count(done, sizes.held)
    assert len(addresses) == sizes.held


def _cores(driver: Driver, seconds: float) -> float:
    """How many cores its process uses for so long."""
    began, before = time.perf_counter(), usage(driver.daemon.pid)
    time.sleep(seconds)
    return (usage(driver.daemon.pid).cpu - before.cpu) / (time.perf_counter() - began)


def _memory(before: Usage, after: Usage, sizes: Sizes) -> Figure:
    return Figure(
        part=_PART,
        what=f"holding {sizes.held} leases, dhcpd, SQLite: memory of each",
        against="a process with none",
        reached=(after.rss - before.rss) / sizes.held / _KIB,
        unit="KiB",
        bound=Bound.AT_MOST,
        limit=3,
        detail=f"{_mebibytes(after)} to {_mebibytes(before)} resident",
    )


def _counts(before: Usage, after: Usage, sizes: Sizes) -> Figure:
    counts = {
        "tasks": (after.tasks, before.tasks),
        "threads": (after.threads, before.threads),
        "descriptors": (after.descriptors, before.descriptors),
    }
    more = max(now - then for now, then in counts.values())
    return Figure(
        part=_PART,
        what=f"holding {sizes.held} leases: tasks, threads or descriptors of each",
        against="a process with none",
        reached=max(0, more) / sizes.held,
        unit="",
        bound=Bound.AT_MOST,
        limit=0.001,
        detail=", ".join(f"{now} to {then} {what}" for what, (now, then) in counts.items()),
    )


def _renewing(cores: float, idle: float, rate: float, sizes: Sizes) -> Figure:
    assert rate, "nothing was renewed"
    return Figure(
        part=_PART,
        what=f"holding {sizes.held} leases of {LEASE_TIME.total_seconds():g} s: renewing",
        against="a core, beyond a process with none",
        reached=100 * (cores - idle),
        unit="%",
        bound=Bound.AT_MOST,
        limit=5,
        detail=f"{number(100 * cores)} % to {number(100 * idle)} %; {number(rate)} renewals a "
        f"second, where T1 asks for {number(sizes.held / _T1.total_seconds())}: {EAGER} in place "
        f"of all",
    )


def _starts(at: Rig, sizes: Sizes, progress: Progress) -> Iterator[Figure]:
    """All leases are due: as after a host that was down for half of their time."""
    at.driver.kill()
    stored_before(at.driver, _T1)
    machine = at.lab.machine("empty", at.switch, f"{SITE.subnet[4]}/16")
    empty = driver_on(machine, {})
    full_starts, empty_starts, firsts, done_by_then = [], [], [], []
    start(empty)
    empty.kill()  # and Python keeps what it compiled
    for done in range(sizes.restarts):
        empty_starts.append(start(empty))
        empty.kill()
        renewed = renewals(at.server)
        full_starts.append(start(at.driver))
        with closing(Plugin(at.driver.socket)) as plugin:
            firsts.append(plugin.address(at.pool).seconds)
        done_by_then.append(renewals(at.server) - renewed)
        at.driver.kill()
        progress.count(done, sizes.restarts)
    yield Figure(
        part=_PART,
        what=f"starting with {sizes.held} stored leases, all of them due, to the first answer",
        against="more than starting with none",
        reached=median(full_starts) - median(empty_starts),
        unit="s",
        bound=Bound.AT_MOST,
        limit=1,
        detail=f"{milliseconds(median(full_starts))} to {milliseconds(median(empty_starts))}",
    )
    yield Figure(
        part=_PART,
        what="renewals done before a lease that is asked for after such a start is there",
        against=f"all {sizes.held}",
        reached=median(done_by_then) / sizes.held,
        bound=Bound.AT_MOST,
        limit=0.5,
        detail=f"{median(done_by_then):g} renewals; the lease took {milliseconds(median(firsts))}",
    )


def _mebibytes(look: Usage) -> str:
    return f"{number(look.rss / _KIB**2)} MiB"
