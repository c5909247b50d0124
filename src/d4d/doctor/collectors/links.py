"""The host's links as the kernel's netlink tells of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Interface
from pathlib import Path
from socket import AF_INET
from typing import Any

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from d4d.adapters.network.interfaces import ethernet_mac
from d4d.domain.addressing import MacAddress
from d4d.domain.errors import LinkDown

_SYSFS = Path("/sys/class/net")
_UP, _LOOPBACK = 0x1, 0x8  # IFF_UP, IFF_LOOPBACK
_CHILDREN = frozenset({"macvlan", "macvtap", "ipvlan", "ipvtap", "ifb", "tun"})


@dataclass(frozen=True, slots=True, kw_only=True)
class HostLink:
    """One link, with what decides whether DHCP can be spoken on it for others."""

    name: str
    kind: str | None = None
    """``bridge``, ``vlan``, ``veth``, ``macvlan`` ...; None is a device of its own."""
    mac: MacAddress | None = None
    master: str | None = None
    """The bridge or bond that it is a port of."""
    is_loopback: bool = False
    is_up: bool = True
    """Whether it was set up, with or without carrier."""
    has_carrier: bool = True
    is_wireless: bool = False
    mtu: int = 1500
    addresses: tuple[IPv4Interface, ...] = ()

    @property
    def may_be_parent(self) -> bool:
        """Whether servers could be asked on it, and containers stand on it, as it is now."""
        is_ethernet = self.mac is not None and not self.is_loopback
        is_alive = self.is_up and self.has_carrier
        return is_ethernet and is_alive and self.master is None and self.kind not in _CHILDREN


def host_links() -> tuple[HostLink, ...]:
    """All links of the network namespace that we run in, by index. Raises LinkDown.

    It waits for the kernel, and must not be called where an event loop runs.
    """
    try:
        with IPRoute() as netlink:
            found = sorted(netlink.get_links(), key=lambda link: int(link["index"]))
            addressed = tuple(netlink.get_addr(family=AF_INET))
    except (NetlinkError, OSError) as error:
        raise LinkDown(f"can't list the host's interfaces by netlink: {error}") from error
    names = {int(link["index"]): str(link.get_attr("IFLA_IFNAME")) for link in found}
    addresses: dict[int, list[IPv4Interface]] = {}
    for each in addressed:
        own = each.get_attr("IFA_LOCAL") or each.get_attr("IFA_ADDRESS")
        if own:
            interface = IPv4Interface(f"{own}/{each['prefixlen']}")
            addresses.setdefault(int(each["index"]), []).append(interface)
    return tuple(_link(link, names, addresses.get(int(link["index"]), [])) for link in found)


def has_default_route() -> bool:
    """Whether this network namespace has any way out. Raises LinkDown. It waits, as above."""
    try:
        with IPRoute() as netlink:
            return any(netlink.get_default_routes(family=AF_INET))
    except (NetlinkError, OSError) as error:
        raise LinkDown(f"can't list the host's routes by netlink: {error}") from error


def _link(link: Any, names: Mapping[int, str], addresses: Sequence[IPv4Interface]) -> HostLink:
    name, described = names[int(link["index"])], link.get_attr("IFLA_LINKINFO")
    address, master = link.get_attr("IFLA_ADDRESS"), link.get_attr("IFLA_MASTER")
    return HostLink(
        name=name,
        kind=described.get_attr("IFLA_INFO_KIND") if described else None,
        mac=ethernet_mac(address) if address else None,
        # A master in another namespace has a number that says nothing here.
        master=names.get(master, f"interface {master}") if master else None,
        is_loopback=bool(link["flags"] & _LOOPBACK),
        is_up=bool(link["flags"] & _UP),
        has_carrier=bool(link.get_attr("IFLA_CARRIER")),
        is_wireless=any((_SYSFS / name / each).exists() for each in ("phy80211", "wireless")),
        mtu=int(link.get_attr("IFLA_MTU") or 0),
        addresses=tuple(addresses),
    )
