"""The host's network interfaces, and which of them stands in a subnet."""

import socket
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from typing import TYPE_CHECKING

from d4d.domain.errors import BadRequest, LinkDown
from d4d.domain.leases import MacAddress
from d4d.domain.pools import Address, Network
from d4d.lazy_import import late

if TYPE_CHECKING:
    import psutil
else:
    psutil = late("psutil")

_MAC_LENGTH = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Interface:
    """One interface as it is now."""

    name: str
    index: int
    mac: MacAddress | None
    addresses: tuple[IPv4Interface, ...]
    is_up: bool


class Interfaces:
    """The interfaces of the network namespace that we run in, looked up anew at each call."""

    def all(self) -> list[Interface]:
        """Every interface but loopback, the oldest first."""
        up = psutil.net_if_stats()
        indices = {name: index for index, name in socket.if_nameindex()}
        found = []
        for name, addresses in psutil.net_if_addrs().items():
            if name not in indices or name == "lo":
                continue
            found.append(
                Interface(
                    name=name,
                    index=indices[name],
                    mac=_mac(addresses),
                    addresses=tuple(
                        IPv4Interface(f"{each.address}/{each.netmask}")
                        for each in addresses
                        if each.family == socket.AF_INET and each.netmask
                    ),
                    is_up=name in up and up[name].isup,
                )
            )
        return sorted(found, key=lambda interface: interface.index)

    def named(self, name: str) -> Interface:
        """The interface of that name. Raises BadRequest, naming those that are there."""
        interfaces = self.all()
        for interface in interfaces:
            if interface.name == name:
                return interface
        there = ", ".join(interface.name for interface in interfaces) or "none"
        raise BadRequest(f"this host has no interface {name!r} to be the parent: it has {there}")

    def within(self, subnet: IPv4Network) -> Interface | None:
        """The interface with an address in ``subnet``.

        Of several it is the oldest: a host's own macvlan shim is younger than what it stands on.
        """
        for interface in self.all():
            if any(address.ip in subnet for address in interface.addresses):
                return interface
        return None

    def subnet_at(self, network_address: Address) -> Network | None:
        """The subnet of an interface, by its network address alone; None without one."""
        for interface in self.all():
            for address in interface.addresses:
                if address.network.network_address == network_address:
                    return address.network
        return None

    def on_link(self, address: IPv4Address) -> bool:
        """Whether an interface's subnet has ``address``, so that no router is between."""
        return any(
            address in each.network for interface in self.all() for each in interface.addresses
        )

    def source_towards(self, address: IPv4Address) -> IPv4Address:
        """Our own address that the kernel would send from. Raises LinkDown without a route."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                probe.connect((str(address), 67))
            except OSError as error:
                raise LinkDown(f"no route to DHCP server {address}: {error.strerror}") from error
            return IPv4Address(probe.getsockname()[0])


def _mac(addresses: list[object]) -> MacAddress | None:
    for each in addresses:
        family, text = getattr(each, "family", None), str(getattr(each, "address", ""))
        if family == socket.AF_PACKET:
            octets = bytes.fromhex(text.replace(":", ""))
            return MacAddress(octets) if len(octets) == _MAC_LENGTH else None
    return None
