"""A burst of leases, 64 at once, against the most that the server gives perfdhcp without a drop."""

import math
import re
import subprocess
import time
from collections.abc import Iterator

from benchmarks.figures import Bound, Figure, milliseconds, number, percentile
from benchmarks.progress import Progress
from benchmarks.rig import SITE, Rig, rig
from benchmarks.sizes import Sizes
from lab.dhcp_servers import Dhcpd, Dnsmasq, Kea, Server
from lab.network import Namespace

_AT_ONCE = 64
_SERVERS: dict[type[Server], tuple[float, int]] = {
    Dhcpd: (0.7, 800),
    Kea: (0.2, 1600),
    Dnsmasq: (0.9, 100),
}
"""What is wanted of each, and the rate that is tried first."""
_SENT = re.compile(r"^sent packets: (\d+)", re.MULTILINE)
_DROPS = re.compile(r"^drops: (\d+)", re.MULTILINE)
_AS_ASKED = 0.95
_LEAST_CLIENTS = 100


def measure(sizes: Sizes, progress: Progress) -> Iterator[Figure]:
    """A figure for each server, of the empty server each time."""
    for kind, (wanted, first) in _SERVERS.items():
        progress.step(f"the ceiling of {kind.name}, then {sizes.burst} leases 64 at once")
        with rig(kind) as at:
            machine = at.lab.machine("perfdhcp", at.switch, f"{SITE.subnet[3]}/16")
            ceiling = _ceiling(at, machine, first, sizes, progress)
            yield _burst(at, ceiling, wanted, sizes)


def _burst(at: Rig, ceiling: float, wanted: float, sizes: Sizes) -> Figure:
    name = at.server.name
    at.server.restart(keep_database=False)
    began = time.perf_counter()
    answers = at.plugin.addresses([at.pool] * sizes.burst, at_once=_AT_ONCE)
    rate = sizes.burst / (time.perf_counter() - began)
    assert len({answer.address for answer in answers}) == sizes.burst  # no failure among them
    p99 = percentile([answer.seconds for answer in answers], 99)
    return Figure(
        part="ceiling",
        what=f"{sizes.burst} leases, 64 at once, {name}: leases a second",
        against=f"{name}'s ceiling by perfdhcp",
        reached=rate / ceiling,
        bound=Bound.AT_LEAST,
        limit=wanted,
        detail=f"{number(rate)}/s to {number(ceiling)}/s; no failures, p99 {milliseconds(p99)}",
    )


def _ceiling(at: Rig, machine: Namespace, first: int, sizes: Sizes, progress: Progress) -> float:
    """The highest rate without a drop: doubled until it is too high, then halved in.

    Over as many leases as the burst has, as servers get slower with each that they have.
    """
    asked, good, bad = float(first), 0.0, 0.0
    best = 1.0
    for done in range(sizes.ceiling_rates):
        at.server.restart(keep_database=False)
        rate = _perfdhcp(machine, round(asked), sizes.burst)
        if rate is not None:
            best, good = max(best, rate), max(good, asked)
        else:
            bad = asked
        asked = (good + bad) / 2 if bad else asked * 2
        progress.count(done, sizes.ceiling_rates)
    return best


def _perfdhcp(machine: Namespace, rate: int, leases: int) -> float | None:
    """The rate that it had; None where it lost packets, or could not keep to what was asked."""
    seconds = math.ceil(leases / rate)
    clients = max(_LEAST_CLIENTS, rate * seconds)
    words = ["perfdhcp", "-4", "-r", str(rate), "-p", str(seconds), "-R", str(clients)]
    command = machine.command([*words, "-W", "500000", str(SITE.subnet[1])])
    done = subprocess.run(
        [str(word) for word in command], capture_output=True, text=True, timeout=60, check=False
    )
    sent = _SENT.findall(done.stdout)
    assert sent, f"perfdhcp said: {done.stdout}{done.stderr}"
    drops = sum(map(int, _DROPS.findall(done.stdout)))
    reached = int(sent[-1]) / seconds  # its own figure counts the wait at the end
    return None if drops or reached < _AS_ASKED * rate else reached
