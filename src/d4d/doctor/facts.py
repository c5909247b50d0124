"""The facts of a host, as they were collected. What could not be had is None, and not judged."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from ipaddress import IPv4Address, IPv4Interface
from pathlib import Path

from d4d.adapters.dhcp.server_probe import ProbeResult
from d4d.doctor.collectors.database import DatabaseFacts
from d4d.doctor.collectors.docker import DockerFacts
from d4d.doctor.collectors.links import HostLink
from d4d.doctor.collectors.plugin_socket import PluginSocketFacts
from d4d.doctor.collectors.processes import Privileges, Process
from d4d.doctor.collectors.stores import DirectoryFacts, RedisFacts
from d4d.domain.addressing import MacAddress
from d4d.domain.ports.docker import DockerNetwork
from d4d.settings.model import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class DriverFacts:
    """The driver, and what it uses of the host."""

    process: Process | None
    """Which has the state directory's lock."""
    privileges: Privileges | None
    others: Sequence[Process]
    """Further drivers of this network namespace."""
    socket: PluginSocketFacts
    specs: Sequence[Path] = ()
    """Files by which Docker would find another driver of this name."""
    port_67: Sequence[Process] = ()
    """Who has the port, but for the driver."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AdminFacts:
    """The operator's socket."""

    error: str | None = None
    version: str = ""
    """The running driver's."""
    failing: Sequence[str] = ()
    """What /readyz says is not so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RouterHere:
    """A bridge of this host that has an address which a DHCP server names as the router."""

    bridge: str
    address: IPv4Interface
    server: IPv4Address
    """Which names it."""
    other: MacAddress | None = None
    """Another machine that answers for it; None where none does, or none could be asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbedNetwork:
    """What was heard on a route to servers that a network or a setting uses."""

    probed: ProbeResult
    networks: Sequence[DockerNetwork] = ()
    """Docker's networks that take their addresses by this route."""
    servers: Sequence[str] = ()
    """Whose offers are accepted there; empty is anybody's."""
    is_wanted: bool = True
    """Whether D4D has to find a server there; else it is one of several candidates."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HostFacts:
    """All that the checks judge."""

    settings: Settings
    now: datetime
    version: str
    """Of the D4D that is installed."""
    links: Sequence[HostLink] | None = None
    driver: DriverFacts | None = None
    admin: AdminFacts | None = None
    docker: DockerFacts | None = None
    directory: DirectoryFacts | None = None
    database: DatabaseFacts | None = None
    history: DatabaseFacts | None = None
    redis: RedisFacts | None = None
    probed: Sequence[ProbedNetwork] | None = None
    routers_here: Sequence[RouterHere] = ()
    has_default_route: bool | None = None
    is_synchronised: bool | None = None
    sources: Sequence[str] = field(default_factory=tuple)
    """The files that settings came from."""

    @property
    def networks(self) -> Sequence[DockerNetwork]:
        """Docker's networks that are ours; none where Docker was not asked."""
        return self.docker.networks if self.docker else ()

    @property
    def is_relaying(self) -> bool:
        """Whether D4D speaks to a server as a relay, for which no parent is needed."""
        return any(each.probed.relay for each in self.probed or ())

    @property
    def parents(self) -> dict[str, list[str]]:
        """Each interface that is to be a parent, and what says so."""
        wanted: dict[str, list[str]] = {}
        if self.settings.parent:
            wanted[self.settings.parent] = ["D4D_PARENT"]
        for network in self.networks:
            for parent in dict.fromkeys((network.options.get("parent"), network.parent)):
                if parent:
                    wanted.setdefault(parent, []).append(f"network {network.name}")
        return wanted
