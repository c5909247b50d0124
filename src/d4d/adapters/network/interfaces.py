"""The host's network interfaces, and which of them stands in a subnet."""

import array
import errno
import fcntl
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
)
from typing import TYPE_CHECKING
from weakref import finalize

from d4d.adapters.network.rtnetlink import ADDRESSES4, ADDRESSES6, LINKS, open_netlink
from d4d.domain.addressing import Address, MacAddress, Subnet
from d4d.domain.bridges import Bridge
from d4d.domain.errors import BadRequest, LinkDown
from d4d.lazy_import import lazy

if TYPE_CHECKING:
    import psutil
else:
    psutil = lazy("psutil")

# <linux/sockios.h> and <linux/ethtool.h>: pyroute2 knows the same, waits for the kernel with a loop
# of its own, and takes 24 MB. /sys may be another namespace's.
_SIOCETHTOOL, _ETHTOOL_GDRVINFO, _ETHTOOL_GPERMADDR = 0x8946, 3, 0x20
_DRVINFO = struct.Struct("=I32s160x")  # struct ethtool_drvinfo: cmd, driver, what we don't read
_PERM_ADDR = struct.Struct("=II32s")  # struct ethtool_perm_addr: cmd, size, the address
_MAC_LENGTH = 6
_IFREQ = struct.Struct("@16sP16x")  # struct ifreq: the name, a pointer


@dataclass(frozen=True, slots=True, kw_only=True)
class Interface:
    """One interface as it is now."""

    name: str
    index: int
    mac: MacAddress | None
    addresses: tuple[IPv4Interface, ...]
    is_up: bool
    addresses6: tuple[IPv6Interface, ...] = ()
    """But for link-local ones."""
    is_bridge: bool = False
    hardware_mac: MacAddress | None = None
    """What a network card was made with, whatever was set since; None of what is no card."""


class Interfaces:
    """The interfaces of the network namespace that we run in.

    The kernel says when they changed: until then one look serves all who ask, be they two hundred
    leases that wait for their parent. Without its word each call looks anew.
    """

    def __init__(self, look: Callable[[], list[Interface]] | None = None) -> None:
        """``look`` finds them all, the oldest first."""
        self._look = look or find_interfaces
        self._changes = _Changes()
        self._found: list[Interface] | None = None

    def all(self) -> list[Interface]:
        """Every interface but loopback, the oldest first."""
        if self._changes.came():  # asked first: what changes during the look is told of next time
            self._found = None
        if self._found is None:
            self._found = self._look()
        return list(self._found)

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

    def subnet_at(self, network_address: Address) -> Subnet | None:
        """The subnet of an interface, by its network address alone; None without one."""
        for interface in self.all():
            for address in interface.addresses:
                if address.network.network_address == network_address:
                    return address.network
        return None

    def bridge_of(self, parent: str | None, subnet: Subnet) -> Bridge | None:
        """The bridge that a network may stand on whose ``parent`` and ``subnet`` these are.

        It is the parent, or one that has an address in the subnet: a parent may be named by which
        the same servers are reached, and the network stand on the bridge all the same. What
        stands on a bridge or bond, and a bond itself, is none: Docker's bridge driver takes no
        such.
        """
        for interface in sorted(self.all(), key=lambda each: each.name != parent):
            is_ipv6 = isinstance(subnet, IPv6Network)
            addresses = interface.addresses6 if is_ipv6 else interface.addresses
            within = [each for each in addresses if each.network.overlaps(subnet)]
            if interface.is_bridge and (interface.name == parent or within):
                own = [*within, *addresses]
                return Bridge(name=interface.name, address=own[0] if own else None)
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


def find_interfaces() -> list[Interface]:
    """Every interface but loopback, as it is now, the oldest first."""
    up = psutil.net_if_stats()
    indices = {name: index for index, name in socket.if_nameindex()}
    found = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as kernel:
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
                    addresses6=_addresses6(addresses),
                    is_bridge=_is_bridge(kernel, name),
                    hardware_mac=_hardware_mac(kernel, name),
                )
            )
    return sorted(found, key=lambda interface: interface.index)


class _Changes:
    """Whether the kernel told of a change of links or addresses since it was last asked.

    It tells within the call that changes something, before whoever made that call goes on.
    """

    def __init__(self) -> None:
        self._socket: socket.socket | None = None

    def came(self) -> bool:
        """Whether something may have changed; True where the kernel can't be heard."""
        try:
            if self._socket is None:
                self._socket = open_netlink(LINKS | ADDRESSES4 | ADDRESSES6)
                finalize(self, self._socket.close)
                return True
            return _drop_all(self._socket)
        except OSError as error:
            if error.errno != errno.ENOBUFS and self._socket is not None:  # not just too much
                self._socket.close()
                self._socket = None
            return True


def _drop_all(sock: socket.socket) -> bool:
    """Whether there was anything to read."""
    had_news = False
    try:
        while True:
            sock.recv(1)  # which throws the rest away
            had_news = True
    except BlockingIOError:
        return had_news


def _addresses6(addresses: list[object]) -> tuple[IPv6Interface, ...]:
    found = []
    for each in addresses:
        if getattr(each, "family", None) == socket.AF_INET6 and getattr(each, "netmask", None):
            text, mask = str(getattr(each, "address", "")), IPv6Address(getattr(each, "netmask", 0))
            found.append(IPv6Interface(f"{text.partition('%')[0]}/{int(mask).bit_count()}"))
    return tuple(each for each in found if not each.is_link_local)


def _is_bridge(kernel: socket.socket, name: str) -> bool:
    """Whether it is a bridge of the kernel's; False for one that has gone meanwhile.

    ``kernel`` is any socket.
    """
    answer = _ethtool(kernel, name, _DRVINFO.pack(_ETHTOOL_GDRVINFO, b""))
    if answer is None:
        return False
    driver: bytes = _DRVINFO.unpack(answer)[1]
    return driver.rstrip(b"\0") == b"bridge"


def _hardware_mac(kernel: socket.socket, name: str) -> MacAddress | None:
    answer = _ethtool(kernel, name, _PERM_ADDR.pack(_ETHTOOL_GPERMADDR, 32, b""))
    if answer is None:
        return None
    _, size, address = _PERM_ADDR.unpack(answer)
    is_ethernet = size == _MAC_LENGTH and any(address[:size])
    return MacAddress(address[:size]) if is_ethernet else None


def _ethtool(kernel: socket.socket, name: str, request: bytes) -> bytes | None:
    """The answer, in the request's form; None of an interface that has none, or has gone."""
    buffer = array.array("B", request)
    try:
        fcntl.ioctl(kernel, _SIOCETHTOOL, _IFREQ.pack(name.encode(), buffer.buffer_info()[0]))
    except OSError:  # ENODEV; EOPNOTSUPP of what has no such information, which a bridge has
        return None
    return buffer.tobytes()


def _mac(addresses: list[object]) -> MacAddress | None:
    for each in addresses:
        family, text = getattr(each, "family", None), str(getattr(each, "address", ""))
        if family == socket.AF_PACKET:
            return ethernet_mac(text)
    return None


def ethernet_mac(text: str) -> MacAddress | None:
    """An interface's link-layer address, if it is one of Ethernet's, and not zero as loopback's."""
    try:
        return MacAddress.parse(text)
    except BadRequest:
        return None
