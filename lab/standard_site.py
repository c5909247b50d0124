"""The usual lab: a DHCP server, a gateway and a Docker host on one switch."""

from collections.abc import Mapping
from datetime import timedelta

from lab.d4d_driver import NAME
from lab.dhcp_servers import Server, Site
from lab.docker_engine import Attachment
from lab.lab import Lab
from lab.processes import LabError, eventually
from lab.server_lease_files import Binding

# Nothing runs out while a test looks: what has gone from the server's database was released.
SITE = Site(lease_time=timedelta(seconds=120))
RELEASE = timedelta(seconds=30)
"""How long a RELEASE may take to show on a busy machine, less than a lease."""

DRIVER = f"--ipam-driver={NAME}"
ADDRESSES = (f"--subnet={SITE.subnet}", f"--gateway={SITE.router}")
MACVLAN = ("-d", "macvlan", DRIVER, "-o", "parent=eth0")


class Lan:
    """Server, gateway, engine and driver, not started."""

    def __init__(
        self, lab: Lab, kind: type[Server], *, settings: Mapping[str, str] | None = None
    ) -> None:
        self.lab = lab
        self.switch = lab.switch()
        prefix = SITE.subnet.prefixlen
        self.gateway = lab.machine("gateway", self.switch, f"{SITE.router}/{prefix}")
        machine = lab.machine("server", self.switch, f"{SITE.subnet[1]}/{prefix}")
        self.server = lab.server(kind, machine, SITE)
        self.host = lab.host("host1", self.switch, f"{SITE.subnet[2]}/{prefix}", settings=settings)
        self.engine, self.driver = self.host.engine, self.host.driver

    def start(self) -> None:
        """Start them all. Raises LabError."""
        self.server.start()
        self.host.start()

    def create(self, *options: str, name: str = "lan") -> None:
        """A macvlan network on eth0 with the site's subnet and gateway, and more ``options``."""
        self.engine.network_create(name, *MACVLAN, *ADDRESSES, *options)


def leased_to(server: Server, end: Attachment) -> Binding:
    """The server's active binding of a container's end. Raises LabError if it is not that."""
    entry = eventually(
        lambda: server.leased().get(end.address),
        what=lambda: f"{server.name} leases no {end.address}: {server.bindings()}",
        timeout=RELEASE,
    )
    if entry.mac != end.mac:
        raise LabError(f"{server.name} leased {end.address} to {entry.mac}, not {end.mac}")
    return entry


def await_release(server: Server, *ends: Attachment) -> None:
    """Wait until the server has no lease of these. Raises LabError if they stay."""
    addresses = {end.address for end in ends}
    eventually(
        lambda: not addresses & server.leased().keys(),
        what=lambda: f"{server.name} keeps leases: {server.leased()}",
        timeout=RELEASE,
    )


def await_no_lease(server: Server) -> None:
    """Wait until all was given back; Kea's leases end with their second. Raises LabError."""
    eventually(
        lambda: not server.leased(),
        what=lambda: f"{server.name} keeps leases: {server.leased()}",
        timeout=RELEASE,
    )
