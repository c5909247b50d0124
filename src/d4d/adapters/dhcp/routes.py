"""Which way the DHCP servers of a pool are reached: on which parent, or as a relay to whom."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address, IPv4Network

from d4d.adapters.network.interfaces import Interfaces
from d4d.domain.errors import BadRequest
from d4d.domain.policies import Mode
from d4d.domain.pools import PoolOptions

KeepAnchor = Callable[[str, bytes, frozenset[bytes]], bytes]
"""Of a parent's name, its MAC now and the machine's hardware: what was kept, or is from now on."""


def keep_nothing(parent: str, mac: bytes, hardware: frozenset[bytes]) -> bytes:
    """The MAC as it is now."""
    return mac


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One way to the servers; pools with the same one share a link."""

    parent: str | None
    servers: tuple[IPv4Address, ...] = ()
    """Whose offers are taken; none is anybody's."""
    giaddr: IPv4Address | None = None
    """Our address as a relay; None is L2."""
    link_selection: IPv4Address | None = None
    is_provisional: bool = field(default=False, compare=False)
    """Chosen while the parent had no address to tell better by: to be chosen anew."""

    @property
    def is_relay(self) -> bool:
        """Whether messages go by UDP from giaddr, not by broadcast on the parent."""
        return self.giaddr is not None

    def __str__(self) -> str:
        if self.giaddr is None:
            return str(self.parent)
        return f"{self.giaddr} -> {', '.join(map(str, self.servers))}"


class Routes:
    """Finds routes from the pool's options, the settings and the host's interfaces."""

    def __init__(
        self,
        *,
        interfaces: Interfaces,
        servers: tuple[IPv4Address, ...] = (),
        mode: Mode = Mode.AUTO,
        parent: str | None = None,
        listen_addr: IPv4Address | None = None,
        keep_anchor: KeepAnchor = keep_nothing,
    ) -> None:
        self._interfaces = interfaces
        self._servers = servers
        self._mode = mode
        self._parent = parent
        self._listen_addr = listen_addr
        self._keep_anchor = keep_anchor

    def resolve(self, options: PoolOptions, subnet: IPv4Network | None) -> PoolOptions:
        """The options with the parent written in, so that the pool id alone tells it later.

        Raises BadRequest where it can't be told which interface reaches the servers.
        """
        parent = options.parent or self._parent
        if parent:
            self._interfaces.named(parent)
        elif subnet is not None and (interface := self._interfaces.within(subnet)):
            parent = interface.name
        elif subnet is None:
            raise BadRequest(
                "neither --subnet nor a parent is known: give --subnet and --gateway, "
                "or --ipam-opt parent=eth0 to learn them from the DHCP server on eth0"
            )
        resolved = replace(options, parent=parent)
        if parent is None and not self._is_relayed(resolved):
            there = ", ".join(
                f"{each.name} {' '.join(map(str, each.addresses))}".strip()
                for each in self._interfaces.all()
            )
            raise BadRequest(
                f"no interface of this host has an address in {subnet}, so the parent is unknown: "
                f"name it with --ipam-opt parent=eth0, or set D4D_PARENT (there are: {there})"
            )
        return resolved

    def route(self, options: PoolOptions, subnet: IPv4Network | None) -> Route:
        """The way for a pool of these resolved options. Raises BadRequest, LinkDown."""
        servers = self._servers_of(options)
        if not self._is_relayed(options):
            return Route(parent=options.parent, servers=servers)
        if not servers:
            raise BadRequest(
                "mode=relay needs to know the DHCP server: "
                "set DHCP_SERVER, or give --ipam-opt server=192.0.2.1"
            )
        giaddr = self._giaddr(options, subnet, servers[0])
        outside = subnet is not None and giaddr not in subnet
        is_chosen = (options.mode or self._mode) is not Mode.AUTO
        return Route(
            parent=options.parent,
            servers=servers,
            giaddr=giaddr,
            link_selection=subnet.network_address if subnet and outside else None,
            is_provisional=not is_chosen and self._has_no_address(options.parent),
        )

    def anchor(self, route: Route) -> bytes:
        """What of this host is unique on its network, and stays: the parent's MAC, or giaddr.

        The MAC is that of the first time, as kept. Raises BadRequest, StoreUnavailable.
        """
        if route.parent:
            mac = self._interfaces.named(route.parent).mac
            if mac is not None:
                cards = (each.hardware_mac for each in self._interfaces.all())
                hardware = frozenset(bytes(each) for each in cards if each is not None)
                return self._keep_anchor(route.parent, bytes(mac), hardware)
        return route.giaddr.packed if route.giaddr else b""

    def _has_no_address(self, parent: str | None) -> bool:
        """Whether what is on its link can't be told yet."""
        return parent is not None and not self._interfaces.named(parent).addresses

    def _servers_of(self, options: PoolOptions) -> tuple[IPv4Address, ...]:
        return self._servers if options.server is None else options.server

    def _is_relayed(self, options: PoolOptions) -> bool:
        mode = options.mode or self._mode
        if mode is not Mode.AUTO:
            return mode is Mode.RELAY
        servers = self._servers_of(options)
        return bool(servers) and not any(map(self._interfaces.on_link, servers))

    def _giaddr(
        self, options: PoolOptions, subnet: IPv4Network | None, server: IPv4Address
    ) -> IPv4Address:
        if self._listen_addr is not None:
            return self._listen_addr
        if subnet is not None and (interface := self._interfaces.within(subnet)):
            return next(each.ip for each in interface.addresses if each.ip in subnet)
        if options.parent:
            addresses = self._interfaces.named(options.parent).addresses
            if addresses:
                return addresses[0].ip
        return self._interfaces.source_towards(server)
