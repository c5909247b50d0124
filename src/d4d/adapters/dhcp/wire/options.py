"""Which DHCP option is which field of a Message, and how its value looks as bytes and to scapy.

``pack`` gives the option's bytes, for patching them into a template. ``show`` gives the values that
scapy builds the same bytes from. ``split`` takes the bytes apart into the values that scapy finds
there, and ``read`` makes ours of them; both raise ValueError for what no sane server means: the
option is then left out, and the rest of the message is used.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from ipaddress import IPv4Address, IPv4Network
from typing import Any

from d4d.adapters.dhcp.wire.option_fields import walk
from d4d.domain.dhcp.messages import INFINITE, NO_ADDRESS, MessageType

STATIC_ROUTES, CLASSLESS_ROUTES = 33, 121
_FOREVER = 0xFFFFFFFF
_ADDRESS_LENGTH = 4
_LINK_SELECTION = 5
_LEAST_MTU = 68  # RFC 2132 section 5.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A kind of value. Any: each kind has its own type, which Option's field fixes."""

    pack: Callable[[Any], bytes]
    show: Callable[[Any], Sequence[Any]]
    split: Callable[[bytes], Sequence[Any]]
    read: Callable[[Sequence[Any]], Any]
    length: int | None = None
    """Of one value, where there is only one: of an option that is there twice the first counts.

    Only lists and texts are joined (RFC 3396). dnsmasq sends option 54 twice if it is configured.
    """

    def value(self, raw: bytes) -> bytes:
        """What of an option's bytes is its value."""
        return raw if self.length is None else raw[: self.length]


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """Option ``code`` holds the Message's ``field``."""

    code: int
    field: str
    kind: Kind


def _one(values: Sequence[Any]) -> Any:
    if len(values) != 1:
        raise ValueError(f"{len(values)} values where one belongs")
    return values[0]


def _address(values: Sequence[str | IPv4Address]) -> IPv4Address:
    address = IPv4Address(_one(values))
    if address == NO_ADDRESS:
        raise ValueError("0.0.0.0 is nobody's address")
    return address


def _addresses(values: Sequence[str | IPv4Address]) -> tuple[IPv4Address, ...]:
    return tuple(map(IPv4Address, values))


def _mask(values: Sequence[str | IPv4Address]) -> IPv4Address:
    mask = _address(values)
    holes = ~int(mask) & 0xFFFFFFFF
    if holes & (holes + 1):
        raise ValueError(f"subnet mask {mask} has holes")
    return mask


def _seconds(duration: timedelta) -> int:
    return _FOREVER if duration == INFINITE else min(int(duration.total_seconds()), _FOREVER - 1)


def _duration(values: Sequence[int]) -> timedelta:
    seconds = _one(values)
    return INFINITE if seconds == _FOREVER else timedelta(seconds=seconds)


def _pack_text(text: str) -> bytes:
    return text.encode("latin-1", "replace")


def _text(values: Sequence[bytes]) -> str:
    text = bytes(_one(values)).rstrip(b"\0").decode("latin-1")
    if not text:
        raise ValueError("the text is empty")
    return text


def _octets(values: Sequence[bytes]) -> bytes:
    octets = bytes(_one(values))
    if not octets:
        raise ValueError("the value is empty")
    return octets


def _mtu(values: Sequence[int]) -> int:
    mtu: int = _one(values)
    if mtu < _LEAST_MTU:
        raise ValueError(f"an MTU of {mtu} is below {_LEAST_MTU}")
    return mtu


def _type(values: Sequence[int]) -> MessageType:
    return MessageType(_one(values))


def _pack_routes(routes: tuple[tuple[IPv4Network, IPv4Address], ...]) -> bytes:
    return b"".join(
        bytes([to.prefixlen]) + to.network_address.packed[: (to.prefixlen + 7) // 8] + via.packed
        for to, via in routes
    )


def _routes(values: Sequence[str]) -> tuple[tuple[IPv4Network, IPv4Address], ...]:
    """From scapy's ``10.0.0.0/8:10.77.0.1``; bits behind the prefix mean nothing."""
    pairs = (route.split(":") for route in values)
    return tuple((IPv4Network(to, strict=False), IPv4Address(via)) for to, via in pairs)


def _classful_routes(
    values: Sequence[str | IPv4Address],
) -> tuple[tuple[IPv4Network, IPv4Address], ...]:
    """Option 33's pairs (RFC 2132 section 5.8): the prefix is the class's, or 32 for a host."""
    if len(values) % 2:
        raise ValueError("a destination lacks its router")
    addresses = _addresses(values)
    pairs = zip(addresses[::2], addresses[1::2], strict=True)
    return tuple((_classful(to), via) for to, via in pairs if to != NO_ADDRESS)


def _classful(to: IPv4Address) -> IPv4Network:
    first = to.packed[0]
    prefix = 8 if first < 128 else 16 if first < 192 else 24  # noqa: PLR2004 - classes A, B, C
    network = IPv4Network((to, prefix), strict=False)
    return network if network.network_address == to else IPv4Network(to)


def _pack_relay(link: IPv4Address) -> bytes:
    return bytes([_LINK_SELECTION, _ADDRESS_LENGTH]) + link.packed


def _relay(values: Sequence[bytes]) -> IPv4Address:
    area = bytes(_one(values))
    for code, at, length in walk(area):
        if code == _LINK_SELECTION and length == _ADDRESS_LENGTH:
            return IPv4Address(area[at : at + length])
    raise ValueError("the relay names no link")


def _whole(raw: bytes) -> Sequence[bytes]:
    return [raw]


def _split_addresses(raw: bytes) -> Sequence[IPv4Address]:
    """Addresses, one behind the other. Raises ValueError."""
    return [IPv4Address(raw[at : at + _ADDRESS_LENGTH]) for at in range(0, len(raw), 4)]


def _numbers(raw: bytes, length: int) -> Sequence[int]:
    if len(raw) % length:
        raise ValueError(f"{len(raw)} bytes are no numbers of {length}")
    return [int.from_bytes(raw[at : at + length], "big") for at in range(0, len(raw), length)]


def _split_routes(raw: bytes) -> Sequence[str]:
    """RFC 3442: a prefix length, as much of the destination as it says, and the router."""
    routes, at = [], 0
    while at < len(raw):
        prefix, begin = raw[at], at + 1
        at = begin + (prefix + 7) // 8 + _ADDRESS_LENGTH
        to, via = raw[begin : at - _ADDRESS_LENGTH], raw[at - _ADDRESS_LENGTH : at]
        to = to.ljust(_ADDRESS_LENGTH, b"\0")
        routes.append(f"{IPv4Address(to)}/{prefix}:{IPv4Address(via)}")
    return routes


_ADDRESS = Kind(
    pack=lambda a: a.packed,
    show=lambda a: [str(a)],
    split=_split_addresses,
    read=_address,
    length=_ADDRESS_LENGTH,
)
_MASK = replace(_ADDRESS, read=_mask)
_ADDRESSES = Kind(
    pack=lambda many: b"".join(a.packed for a in many),
    show=lambda many: [str(a) for a in many],
    split=_split_addresses,
    read=_addresses,
)
_DURATION = Kind(
    pack=lambda d: _seconds(d).to_bytes(4, "big"),
    show=lambda d: [_seconds(d)],
    split=lambda raw: _numbers(raw, 4),
    read=_duration,
    length=4,
)
_TEXT = Kind(pack=_pack_text, show=lambda t: [_pack_text(t)], split=_whole, read=_text)
_OCTETS = Kind(pack=bytes, show=lambda o: [o], split=_whole, read=_octets)
_CODES = Kind(pack=bytes, show=lambda codes: [list(codes)], split=list, read=tuple)
_MTU = Kind(
    pack=lambda m: m.to_bytes(2, "big"),
    show=lambda m: [m],
    split=lambda raw: _numbers(raw, 2),
    read=_mtu,
    length=2,
)
_TYPE = Kind(pack=lambda t: bytes([t]), show=lambda t: [int(t)], split=list, read=_type, length=1)
_ROUTES = Kind(
    pack=_pack_routes,
    show=lambda routes: [[f"{to}:{via}" for to, via in routes]],
    split=_split_routes,
    read=_routes,
)
CLASSFUL = replace(_ROUTES, split=_split_addresses, read=_classful_routes)
"""Option 33, which is read only: it means the same as option 121."""
_RELAY = Kind(pack=_pack_relay, show=lambda link: [_pack_relay(link)], split=_whole, read=_relay)

OPTIONS = (
    Option(code=53, field="type", kind=_TYPE),
    Option(code=61, field="client_id", kind=_OCTETS),
    Option(code=50, field="requested", kind=_ADDRESS),
    Option(code=54, field="server_id", kind=_ADDRESS),
    Option(code=12, field="hostname", kind=_TEXT),
    Option(code=51, field="lease_time", kind=_DURATION),
    Option(code=58, field="renewal_time", kind=_DURATION),
    Option(code=59, field="rebinding_time", kind=_DURATION),
    Option(code=1, field="subnet_mask", kind=_MASK),
    Option(code=3, field="routers", kind=_ADDRESSES),
    Option(code=6, field="dns_servers", kind=_ADDRESSES),
    Option(code=42, field="ntp_servers", kind=_ADDRESSES),
    Option(code=15, field="domain", kind=_TEXT),
    Option(code=26, field="mtu", kind=_MTU),
    Option(code=CLASSLESS_ROUTES, field="static_routes", kind=_ROUTES),
    Option(code=56, field="text", kind=_TEXT),
    Option(code=55, field="parameters", kind=_CODES),
    Option(code=82, field="link_selection", kind=_RELAY),
)
"""In the order in which they are sent: the type first, the relay's own last (RFC 3046, 2.1)."""
