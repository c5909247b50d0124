"""A container's whole life with D4D, against the same with Docker's own IPAM."""

import time
from collections.abc import Iterator, Mapping

from benchmarks.figures import Bound, Figure, median, milliseconds
from benchmarks.progress import Progress
from benchmarks.rig import NO_PROBE
from benchmarks.sizes import Sizes
from lab.dhcp_servers import Dhcpd
from lab.docker_engine import IMAGE, Engine
from lab.lab import Lab
from lab.standard_site import Lan

_WITH_D4D, _OWN = "lan", "own"
_OWN_NETWORK = ("-d", "macvlan", "--subnet=10.78.0.0/16", "-o", "parent=eth1")
_CASES: Mapping[str, tuple[Mapping[str, str], float]] = {
    "default settings": ({}, 1.25),
    "probe off": (NO_PROBE, 1.1),
}
"""D4D's settings, and how much longer it may take."""


def measure(sizes: Sizes, progress: Progress) -> Iterator[Figure]:
    """A figure with the probe and one without."""
    for name, (settings, most) in _CASES.items():
        progress.step(f"containers on macvlan, with D4D ({name}) and with Docker's own IPAM")
        with Lab() as lab:
            engine = _engine(lab, settings)
            times = _lives(engine, sizes.containers, progress)
        ours, theirs = median(times[_WITH_D4D]), median(times[_OWN])
        yield Figure(
            part="container-start",
            what=f"docker run --rm … true on macvlan, {name}: median",
            against="with Docker's own IPAM",
            reached=ours / theirs,
            bound=Bound.AT_MOST,
            limit=most,
            detail=f"{milliseconds(ours)} to {milliseconds(theirs)}",
        )


def _engine(lab: Lab, settings: Mapping[str, str]) -> Engine:
    """An engine with both networks, each on an interface of its own."""
    lan = Lan(lab, Dhcpd, settings=settings)
    lan.switch.join(lan.host.namespace, interface="eth1")
    lan.start()
    lan.create(name=_WITH_D4D)
    lan.engine.network_create(_OWN, *_OWN_NETWORK)
    return lan.engine


def _lives(engine: Engine, rounds: int, progress: Progress) -> Mapping[str, list[float]]:
    """The seconds from ``docker run`` until the container is removed, in turns."""
    times: dict[str, list[float]] = {_OWN: [], _WITH_D4D: []}
    for network in times:
        _life(engine, network)  # and whatever happens only once
    for done in range(rounds):
        for network, seconds in times.items():
            seconds.append(_life(engine, network))
        progress.count(done, rounds)
    return times


def _life(engine: Engine, network: str) -> float:
    began = time.perf_counter()
    engine.docker("run", "--rm", "--network", network, IMAGE, "true")
    return time.perf_counter() - began
