"""Addresses, subnets and MAC addresses: how they are read and written."""

import re
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from d4d.domain.errors import BadRequest

Address = IPv4Address | IPv6Address

Subnet = IPv4Network | IPv6Network


def parse_subnet(text: str, *, what: str) -> Subnet:
    """The network that ``text`` (CIDR, host bits allowed) names; ``what`` it is, for the error.

    Raises BadRequest.
    """
    if "/" not in text:
        raise BadRequest(f"{what} {text!r} has no prefix length: write it as 192.168.59.0/24")
    try:
        return ip_network(text, strict=False)
    except ValueError as error:
        raise BadRequest(f"{what} {text!r} is no CIDR: {error}") from error


def parse_address(text: str, *, what: str) -> Address:
    """The address that ``text`` names; ``what`` it is, for the error. Raises BadRequest."""
    try:
        return ip_address(text)
    except ValueError as error:
        raise BadRequest(f"{what} {text!r} is no IP address") from error


_MAC = re.compile(r"[0-9a-fA-F]{2}([:-][0-9a-fA-F]{2}){5}")

_MAC_LENGTH = 6


class MacAddress(bytes):
    """An Ethernet address: six bytes, printed as ``02:42:c0:a8:3b:0a``."""

    __slots__ = ()

    def __new__(cls, octets: bytes) -> "MacAddress":
        """Raises ValueError unless ``octets`` are six."""
        if len(octets) != _MAC_LENGTH:
            raise ValueError(f"a MAC address has 6 bytes, not {len(octets)}")
        return super().__new__(cls, octets)

    @classmethod
    def parse(cls, text: str) -> "MacAddress":
        """Read ``02:42:c0:a8:3b:0a``. Raises BadRequest, also for a group or zero address."""
        if not _MAC.fullmatch(text):
            raise BadRequest(f"MAC address {text!r} is malformed: write it as 02:42:c0:a8:3b:0a")
        octets = bytes.fromhex(text.replace(":", "").replace("-", ""))
        if octets[0] & 1 or not any(octets):
            raise BadRequest(f"MAC address {text!r} is no host's: it is a group or zero address")
        return cls(octets)

    def __str__(self) -> str:
        return self.hex(":")

    def __repr__(self) -> str:
        return f"MacAddress.parse({self.hex(':')!r})"


_IPV4_LENGTH = 4  # bytes


def to_number(address: Address) -> str:
    """The address in hex, all of one version in one length, so that texts sort as addresses do."""
    return address.packed.hex()


def from_number(number: str) -> Address:
    """What ``to_number`` wrote. Raises ValueError."""
    packed = bytes.fromhex(number)
    return IPv4Address(packed) if len(packed) == _IPV4_LENGTH else IPv6Address(packed)
