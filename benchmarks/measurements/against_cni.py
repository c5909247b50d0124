"""The same leases from CNI's DHCP daemon: one at a time, 16 at once, and what a held one costs."""

from collections.abc import Callable, Iterator

from benchmarks.cni_daemon import CniDaemon
from benchmarks.figures import Bound, Figure, median, milliseconds, number
from benchmarks.process_usage import Usage, usage
from benchmarks.progress import Progress
from benchmarks.rig import SITE, Rig, rig
from benchmarks.sizes import Sizes
from lab.dhcp_servers import Dhcpd

_AT_ONCE = 16
_PART = "cni"
_BY_PLUGIN = "CNI's dhcp plugin, as a runtime calls it"
_AT_SOCKET = "CNI's dhcp daemon, at its socket"
_KIB = 1024


def measure(sizes: Sizes, progress: Progress) -> Iterator[Figure]:
    """Median, rate and memory, interleaved on one dhcpd."""
    progress.step("leases of dhcpd one at a time, each beside one of CNI's daemon")
    with rig(Dhcpd) as at:
        machine = at.lab.machine("cni", at.switch, f"{SITE.subnet[3]}/16")
        cni = CniDaemon(machine, links=_AT_ONCE)
        try:
            cni.start()
            yield from _one_at_a_time(at, cni, sizes, progress)
            progress.step("leases of dhcpd 16 at once, in turns with CNI's daemon")
            yield from _at_once(at, cni, sizes, progress)
            yield _memory(at, cni, sizes)
        finally:
            cni.close()


def _one_at_a_time(at: Rig, cni: CniDaemon, sizes: Sizes, progress: Progress) -> Iterator[Figure]:
    at.plugin.address(at.pool)
    cni.lease(), cni.lease_by_plugin()
    ours, at_socket, by_plugin = list[float](), list[float](), list[float]()
    for done in range(sizes.cni_singles):
        ours.append(at.plugin.address(at.pool).seconds)
        at_socket.append(cni.lease())
        by_plugin.append(cni.lease_by_plugin())
        progress.count(done, sizes.cni_singles)
    return _beside_both(
        "RequestAddress, one at a time, dhcpd: median",
        median(ours),
        by_plugin=median(by_plugin),
        at_socket=median(at_socket),
        wanted=(Bound.AT_MOST, 1 / 8),
        told=milliseconds,
    )


def _at_once(at: Rig, cni: CniDaemon, sizes: Sizes, progress: Progress) -> Iterator[Figure]:
    burst, rounds = sizes.cni_burst, sizes.cni_rounds
    ours, at_socket, by_plugin = list[float](), list[float](), list[float]()
    for done in range(rounds):
        ours.append(burst / at.seconds_of(burst, at_once=_AT_ONCE))
        at_socket.append(burst / cni.leases(burst))
        by_plugin.append(burst / cni.leases(burst, cni.lease_by_plugin))
        progress.count(done, rounds)
    return _beside_both(
        "leases a second, 16 at once, dhcpd",
        median(ours),
        by_plugin=median(by_plugin),
        at_socket=median(at_socket),
        wanted=(Bound.AT_LEAST, 3),
        told=lambda rate: f"{number(rate)}/s",
    )


def _beside_both(
    what: str,
    ours: float,
    *,
    by_plugin: float,
    at_socket: float,
    wanted: tuple[Bound, float],
    told: Callable[[float], str],
) -> Iterator[Figure]:
    """A figure against the plugin, which is judged, and one against the daemon's socket."""
    bound, limit = wanted
    for against, theirs, judged in (
        (_BY_PLUGIN, by_plugin, bound),
        (_AT_SOCKET, at_socket, Bound.TOLD),
    ):
        yield Figure(
            part=_PART,
            what=what,
            against=against,
            reached=ours / theirs,
            bound=judged,
            limit=limit,
            detail=f"{told(ours)} to {told(theirs)}",
        )


def _memory(at: Rig, cni: CniDaemon, sizes: Sizes) -> Figure:
    """After both have had leases: what a process needs once is no lease's."""
    burst = sizes.cni_burst * sizes.cni_rounds
    before = usage(at.driver.daemon.pid), usage(cni.pid)
    at.seconds_of(burst, at_once=_AT_ONCE)
    cni.leases(burst)
    after = usage(at.driver.daemon.pid), usage(cni.pid)
    mine, its = (_each(*looks, burst) for looks in zip(before, after, strict=True))
    return Figure(
        part=_PART,
        what="memory of a lease held",
        against="CNI's dhcp daemon",
        reached=mine["memory"] / its["memory"],
        bound=Bound.AT_MOST,
        limit=1 / 10,
        detail=f"{_told(mine)} to {_told(its)}",
    )


def _each(before: Usage, after: Usage, leases: int) -> dict[str, float]:
    return {
        "memory": (after.rss - before.rss) / leases,
        "threads": (after.threads - before.threads) / leases,
        "descriptors": (after.descriptors - before.descriptors) / leases,
    }


def _told(each: dict[str, float]) -> str:
    return (
        f"{number(each['memory'] / _KIB)} KiB, {each['threads']:.1f} threads, "
        f"{each['descriptors']:.1f} descriptors"
    )
