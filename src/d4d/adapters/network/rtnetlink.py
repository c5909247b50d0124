"""The kernel's messages about links, addresses and routes (rtnetlink(7)), read by struct.

pyroute2 knows them all, for 24 MB and a long import. What is read here is a few fields.
"""

import errno
import os
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from d4d.domain.addressing import MacAddress

# <linux/netlink.h>, <linux/rtnetlink.h>, <linux/if_link.h>, <linux/if.h>
_NLMSG = struct.Struct("=IHHII")  # struct nlmsghdr: length, type, flags, sequence, port
_IFINFO = struct.Struct("=BxHiII")  # struct ifinfomsg: family, type, index, flags, changed
_IFADDR = struct.Struct("=BBBBi")  # struct ifaddrmsg: family, prefix length, flags, scope, index
_RTMSG = struct.Struct("=BBBBBBBBI")  # struct rtmsg: family, …, table at 4
_RTATTR = struct.Struct("=HH")  # struct rtattr: length, type
_ALIGNMENT, _MAC_LENGTH = 4, 6
_ERROR, _DONE = 2, 3
_NEWLINK, _DELLINK, _GETLINK = 16, 17, 18
_NEWADDR, _DELADDR, _GETADDR = 20, 21, 22
_NEWROUTE, _DELROUTE = 24, 25
_REQUEST, _DUMP = 0x1, 0x300
_INTERRUPTED = 0x10  # a dump during which something changed
_IFLA_ADDRESS, _IFLA_IFNAME = 1, 3
_IFA_ADDRESS, _IFA_LOCAL = 1, 2  # the same but for a point-to-point link, where LOCAL is ours
_IFF_UP, _IFF_RUNNING = 0x1, 0x40
_RT_TABLE = 4
_LOCAL_TABLE = 255  # of the host's own addresses, of which RTM_NEWADDR tells
_AF_BRIDGE = 7  # a bridge tells of its ports by RTM_DELLINK, too: the links themselves live on

LINKS, ADDRESSES4, ADDRESSES6, ROUTES4 = 0x1, 0x10, 0x100, 0x40
"""Multicast groups: RTMGRP_LINK, RTMGRP_IPV4_IFADDR, RTMGRP_IPV6_IFADDR, RTMGRP_IPV4_ROUTE."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """One interface, as the kernel told of it."""

    index: int
    name: str
    mac: MacAddress | None
    is_up: bool
    """It was brought up, and has a carrier."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkTold:
    """The link is there, and so it is."""

    link: Link


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkGone:
    """No link has the index any more in this network namespace."""

    index: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AddressTold:
    """An address of the link is there, or is no more. The kernel tells again of what it told."""

    index: int
    address: bytes
    """With its prefix length, before it."""
    is_there: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteTold:
    """A route came or went."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DumpEnded:
    """All were told that were asked for. Where it was interrupted, some may have been left out."""

    is_whole: bool


News = LinkTold | LinkGone | AddressTold | RouteTold | DumpEnded


def open_netlink(groups: int) -> socket.socket:
    """Non-blocking, a member of ``groups`` from now on. Raises OSError."""
    sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
    try:
        sock.setblocking(False)
        sock.bind((0, groups))
    except OSError:
        sock.close()
        raise
    return sock


def ask_for_links(sock: socket.socket) -> None:
    """Have the kernel tell of all links, and then that these were all. Raises OSError."""
    _ask(sock, _GETLINK, _IFINFO.pack(socket.AF_UNSPEC, 0, 0, 0, 0))


def ask_for_addresses(sock: socket.socket) -> None:
    """Have the kernel tell of all IPv4 addresses, and then that these were all. Raises OSError."""
    _ask(sock, _GETADDR, _IFADDR.pack(socket.AF_INET, 0, 0, 0, 0))


def _ask(sock: socket.socket, kind: int, body: bytes) -> None:
    sock.send(_NLMSG.pack(_NLMSG.size + len(body), kind, _REQUEST | _DUMP, 1, 0) + body)


def read_news(datagram: bytes) -> Iterator[News]:
    """What a datagram tells, in order. Raises OSError where the kernel answers with an error."""
    at = 0
    while at + _NLMSG.size <= len(datagram):
        length, kind, flags, _, _ = _NLMSG.unpack_from(datagram, at)
        if length < _NLMSG.size:
            raise OSError(errno.EBADMSG, os.strerror(errno.EBADMSG))
        if (news := _read(kind, flags, datagram[at + _NLMSG.size : at + length])) is not None:
            yield news
        at += _aligned(length)


def _read(kind: int, flags: int, body: bytes) -> News | None:
    if kind in {_NEWLINK, _DELLINK}:
        family, _, index, link_flags, _ = _IFINFO.unpack_from(body)
        if family == _AF_BRIDGE:
            return None
        if kind == _DELLINK:
            return LinkGone(index=index)
        return LinkTold(link=_link(index, link_flags, body[_IFINFO.size :]))
    if kind in {_NEWADDR, _DELADDR}:
        return _address(body, is_there=kind == _NEWADDR)
    if kind in {_NEWROUTE, _DELROUTE}:
        return RouteTold() if _RTMSG.unpack_from(body)[_RT_TABLE] != _LOCAL_TABLE else None
    if kind == _DONE:
        return DumpEnded(is_whole=not flags & _INTERRUPTED)
    if kind == _ERROR:
        (code,) = struct.unpack_from("=i", body)
        raise OSError(-code, os.strerror(-code))
    return None


def _link(index: int, flags: int, attributes: bytes) -> Link:
    found = _attributes(attributes)
    up = _IFF_UP | _IFF_RUNNING
    return Link(
        index=index,
        name=os.fsdecode(found.get(_IFLA_IFNAME, b"").rstrip(b"\0")),
        mac=_mac(found.get(_IFLA_ADDRESS, b"")),
        is_up=flags & up == up,
    )


def _address(body: bytes, *, is_there: bool) -> AddressTold:
    _, prefix_length, _, _, index = _IFADDR.unpack_from(body)
    found = _attributes(body[_IFADDR.size :])
    address = found.get(_IFA_LOCAL) or found.get(_IFA_ADDRESS, b"")
    return AddressTold(index=index, address=bytes([prefix_length]) + address, is_there=is_there)


def _attributes(data: bytes) -> dict[int, bytes]:
    found, at = {}, 0
    while at + _RTATTR.size <= len(data):
        length, kind = _RTATTR.unpack_from(data, at)
        found[kind] = data[at + _RTATTR.size : at + length]
        at += max(_aligned(length), _RTATTR.size)
    return found


def _mac(value: bytes) -> MacAddress | None:
    return MacAddress(value) if len(value) == _MAC_LENGTH else None  # a tunnel has another, or none


def _aligned(length: int) -> int:
    return -(-length // _ALIGNMENT) * _ALIGNMENT
