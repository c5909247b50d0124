"""Which routes to DHCP servers D4D uses on this host, and who answers on them."""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from ipaddress import IPv4Network

from d4d.adapters.dhcp.routes import Route, Routes
from d4d.adapters.dhcp.server_probe import ProbeResult, ServerProbe
from d4d.doctor.collectors.links import HostLink
from d4d.doctor.facts import ProbedNetwork
from d4d.domain.errors import D4DError
from d4d.domain.pools import PoolOptions
from d4d.domain.ports.docker import DockerNetwork
from d4d.settings.model import Settings


@dataclass(slots=True)
class _Way:
    networks: list[DockerNetwork] = field(default_factory=list)
    is_wanted: bool = True


class Servers:
    """The DHCP servers that the settings and Docker's networks lead to."""

    def __init__(self, *, probe: ServerProbe, routes: Routes, settings: Settings) -> None:
        self._probe = probe
        self._routes = routes
        self._settings = settings

    async def ask(
        self, links: Sequence[HostLink], networks: Sequence[DockerNetwork], wait: timedelta
    ) -> list[ProbedNetwork]:
        """Who answers on each route; a parent that is absent or down has none."""
        ways, failed = self._ways({link.name: link for link in links}, networks)
        probed = await asyncio.gather(*(self._probe.ask(route, wait) for route in ways))
        return [
            *failed,
            *(
                ProbedNetwork(
                    probed=each,
                    networks=way.networks,
                    servers=tuple(map(str, route.servers)),
                    is_wanted=way.is_wanted,
                )
                for each, (route, way) in zip(probed, ways.items(), strict=True)
            ),
        ]

    def _ways(
        self, links: Mapping[str, HostLink], networks: Sequence[DockerNetwork]
    ) -> tuple[dict[Route, _Way], list[ProbedNetwork]]:
        ways: dict[Route, _Way] = {}
        failed: list[ProbedNetwork] = []
        leasing = [network for network in networks if self._leases(network.options)]
        for network in leasing:
            try:
                route = self._route_of(network)
            except D4DError as error:
                text = f"network {network.name}: {error}"
                if network.options.get("parent") in (None, *links):  # else it is told already
                    probed = ProbeResult(parent=network.parent, error=text)
                    failed.append(ProbedNetwork(probed=probed, networks=[network]))
            else:
                ways.setdefault(route, _Way()).networks.append(network)
        if self._leases({}):
            self._add_settings_ways(ways, failed, _alive(links), is_alone=not leasing)
        alive = _alive(links)
        return {way: ways[way] for way in ways if way.is_relay or way.parent in alive}, failed

    def _add_settings_ways(
        self,
        ways: dict[Route, _Way],
        failed: list[ProbedNetwork],
        alive: Collection[str],
        *,
        is_alone: bool,
    ) -> None:
        """The settings' route; with neither a network nor D4D_PARENT, every possible parent's."""
        parent = self._settings.parent
        try:
            route = self._routes.route(PoolOptions(parent=parent), None)
        except D4DError as error:
            if parent is None or parent in alive:
                failed.append(ProbedNetwork(probed=ProbeResult(parent=parent, error=str(error))))
            return
        if route.is_relay or parent is not None:
            ways.setdefault(route, _Way())
        elif is_alone:
            for name in alive:
                route = Route(parent=name, servers=self._settings.dhcp_server)
                ways[route] = _Way(is_wanted=False)

    def _leases(self, options: Mapping[str, str]) -> bool:
        return options.get("allocator", self._settings.allocator) == "dhcp"

    def _route_of(self, network: DockerNetwork) -> Route:
        """Raises D4DError."""
        subnets = [each.subnet for each in network.subnets]
        subnet = next((each for each in subnets if isinstance(each, IPv4Network)), None)
        options = self._routes.resolve(PoolOptions.parse(dict(network.options)), subnet)
        return self._routes.route(options, subnet)


def _alive(links: Mapping[str, HostLink]) -> list[str]:
    return [link.name for link in links.values() if link.may_be_parent]
