"""What the probe for other users of an address adds, and whether networks wait for each other."""

import time
from collections.abc import Iterator
from ipaddress import IPv4Interface

from benchmarks.figures import Bound, Figure, median, milliseconds
from benchmarks.plugin_load import Plugin
from benchmarks.progress import Progress
from benchmarks.rig import SITE, driver_on, rig
from benchmarks.sizes import Sizes
from lab.dhcp_servers import Dhcpd, Dnsmasq
from lab.lab import Lab
from lab.network import Namespace

_PROBE = 0.050  # D4D_CONFLICT_PROBE's default, in seconds
_PART = "probe"


def measure(sizes: Sizes, progress: Progress) -> Iterator[Figure]:
    """One lease after the other, then one on each of many networks at once."""
    progress.step("leases with the default probe, one at a time")
    with rig(Dhcpd, settings={}) as at:
        at.plugin.address(at.pool)
        times = [at.plugin.address(at.pool).seconds for _ in range(sizes.probed)]
    yield Figure(
        part=_PART,
        what="RequestAddress with the probe's 50 ms, dhcpd: median",
        against="more than the setting",
        reached=(median(times) - _PROBE) * 1000,
        unit="ms",
        bound=Bound.AT_MOST,
        limit=5,
        detail=milliseconds(median(times)),
    )
    progress.step(f"leases with the default probe on {sizes.networks} networks at once")
    yield _on_networks(sizes.networks)


class Trunk(Dnsmasq):
    """dnsmasq on the cables of its machine, each with its own /24."""

    def _configuration(self) -> str:
        lines = [line for line in super()._configuration().splitlines() if "range" not in line]
        cables = len([name for name in self.namespace.addresses if name != "eth0"])
        lines = [line.replace("interface=eth0", "interface=v*") for line in lines]
        lines += [
            f"dhcp-range=10.78.{n}.10,10.78.{n}.200,255.255.255.0,3600" for n in range(cables)
        ]
        return "\n".join([*lines, ""])


def _join(server: Namespace, host: Namespace, cable: int) -> None:
    """A cable of its own between the two, with a /24."""
    name = f"v{cable}"
    veth = ("link", "add", name, "type", "veth")
    server.ip(*veth, "peer", "name", name, "netns", host.full_name)
    for last, end in enumerate((server, host), 1):
        end.addresses[name] = IPv4Interface(f"10.78.{cable}.{last}/24")
        end.ip("addr", "add", str(end.addresses[name]), "dev", name)
        end.ip("link", "set", name, "up")


def _on_networks(networks: int) -> Figure:
    with Lab() as lab:
        switch = lab.switch()
        ends = [lab.machine("server", switch, f"{SITE.subnet[1]}/16"), lab.machine("host", switch)]
        for cable in range(networks):
            _join(ends[0], ends[1], cable)
        server = lab.server(Trunk, ends[0], SITE)
        server.start()
        driver = driver_on(ends[1], {})
        plugin = Plugin(driver.socket)
        try:
            driver.start()
            pools = [plugin.pool(f"10.78.{n}.0/24", parent=f"v{n}") for n in range(networks)]
            alone = median([plugin.address(pool).seconds for pool in pools[:5]])
            began = time.perf_counter()
            assert all(each.address for each in plugin.addresses(pools, at_once=networks))
            seconds = time.perf_counter() - began
        finally:
            plugin.close()
            driver.kill()
    return Figure(
        part=_PART,
        what=f"{networks} leases on {networks} networks at once, probed",
        against="as many, one after the other",
        reached=seconds / (alone * networks),
        bound=Bound.AT_MOST,
        limit=0.2,
        detail=f"{milliseconds(seconds)} to {milliseconds(alone * networks)}",
    )
