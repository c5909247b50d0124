"""Pools: a subnet that Docker takes addresses from, and everything needed to serve it.

A pool's id is the only thing that Docker keeps and gives back, so it prints the whole pool and
parses back into it: a driver that lost its store serves an old network all the same.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from enum import Enum
from ipaddress import IPv4Address, IPv4Network, IPv6Network
from typing import NewType
from urllib.parse import parse_qsl, urlencode

from d4d.domain.addressing import Address, Subnet, parse_address, parse_subnet
from d4d.domain.errors import BadRequest
from d4d.domain.policies import Mode

PoolId = NewType("PoolId", str)

_POINT_TO_POINT = 2  # host bits at most of a subnet without network and broadcast address


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolOptions:
    """What ``--ipam-opt`` may say of a pool; None leaves it to the settings."""

    parent: str | None = None
    allocator: str | None = None
    server: tuple[IPv4Address, ...] | None = None
    mode: Mode | None = None

    @classmethod
    def parse(cls, options: Mapping[str, str]) -> "PoolOptions":
        """Options as Docker sends them. Raises BadRequest, naming the known ones."""
        known = [field.name for field in fields(cls)]
        for name in options:
            if name not in known:
                raise BadRequest(f"unknown --ipam-opt {name!r}: known are {', '.join(known)}")
        server, mode = options.get("server"), options.get("mode")
        return cls(
            parent=options.get("parent") or None,
            allocator=options.get("allocator") or None,
            server=parse_servers(server) if server else None,
            mode=_parse_mode(mode) if mode else None,
        )

    def as_text(self) -> dict[str, str]:
        """The options that are set, as ``parse`` reads them."""
        server = self.server
        texts = {
            "parent": self.parent,
            "allocator": self.allocator,
            # any server, whatever the settings say, is not the same as nothing said
            "server": ",".join(map(str, server or ("0.0.0.0",))) if server is not None else None,
            "mode": self.mode.value if self.mode else None,
        }
        return {name: text for name, text in texts.items() if text}


def parse_servers(text: str) -> tuple[IPv4Address, ...]:
    """DHCP servers, comma-separated; the seed's ``0.0.0.0`` means any, so it is left out.

    Raises BadRequest.
    """
    servers = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        address = parse_address(part, what="DHCP server")
        if not isinstance(address, IPv4Address):
            raise BadRequest(f"DHCP server {part!r} is no IPv4 address")
        if not address.is_unspecified:
            servers.append(address)
    return tuple(servers)


def _parse_mode(text: str) -> Mode:
    try:
        return Mode(text)
    except ValueError as error:
        modes = ", ".join(mode.value for mode in Mode)
        raise BadRequest(f"unknown mode {text!r}: known are {modes}") from error


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolRequest:
    """What RequestPool asks for; a subnet of None is to be learnt from the network."""

    subnet: Subnet | None = None
    range: Subnet | None = None
    options: PoolOptions = PoolOptions()
    version: int = 4

    def __post_init__(self) -> None:
        if self.range is None:
            return
        if self.subnet is None:
            raise BadRequest(f"--ip-range {self.range} needs a --subnet")
        if not _within(self.range, self.subnet):
            raise BadRequest(f"--ip-range {self.range} is not within --subnet {self.subnet}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """A subnet, the part of it that containers may get, and how its addresses are had."""

    subnet: Subnet
    range: Subnet | None = None
    gateway: Address | None = None
    """Learnt from the DHCP server; a gateway that the user names is a reservation instead."""
    options: PoolOptions = PoolOptions()
    id: PoolId = field(init=False, repr=False, compare=False)
    """The pool in print, such as ``192.168.59.0/24?gateway=192.168.59.1&parent=enp0s8``."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "id", self._print())  # frozen, and asked for with each lease

    def _print(self) -> PoolId:
        parts = {
            "range": str(self.range) if self.range else None,
            "gateway": str(self.gateway) if self.gateway else None,
            **self.options.as_text(),
        }
        query = urlencode({name: text for name, text in parts.items() if text}, safe="/:,")
        return PoolId(f"{self.subnet}?{query}" if query else str(self.subnet))

    @classmethod
    def parse(cls, pool_id: str) -> "Pool":
        """The pool that ``pool_id`` prints. Raises BadRequest where it is none of ours."""
        subnet, _, query = pool_id.partition("?")
        options = dict(parse_qsl(query))
        range_, gateway = options.pop("range", None), options.pop("gateway", None)
        return cls(
            subnet=parse_subnet(subnet, what="pool id"),
            range=parse_subnet(range_, what="range") if range_ else None,
            gateway=parse_address(gateway, what="gateway") if gateway else None,
            options=PoolOptions.parse(options),
        )

    @property
    def assignable(self) -> Subnet:
        """Where an address comes from when Docker names none: the range, or the whole subnet."""
        return self.range or self.subnet

    def __contains__(self, address: Address) -> bool:
        return address in self.subnet

    def is_edge(self, address: Address) -> bool:
        """Whether this is the network's or the broadcast address, which no host may have."""
        if self.subnet.max_prefixlen - self.subnet.prefixlen < _POINT_TO_POINT:
            return False
        if address == self.subnet.network_address:
            return True
        return self.subnet.version == 4 and address == self.subnet.broadcast_address  # noqa: PLR2004 - IPv4

    def refuse_unusable(self, address: Address) -> None:
        """Raises BadRequest where no host of the subnet may have ``address``."""
        if address not in self:
            raise BadRequest(f"{address} is not in the pool's subnet {self.subnet}")
        if self.is_edge(address):
            raise BadRequest(
                f"{address} is the network or broadcast address of {self.subnet}: "
                f"no host may have it"
            )

    def overlaps(self, other: "Pool") -> bool:
        """Whether the two could hand out the same address on one wire."""
        return self.options.parent == other.options.parent and self.subnet.overlaps(other.subnet)

    def cidr(self, address: Address) -> str:
        """The address as Docker wants it: with the subnet's prefix length."""
        return f"{address!s}/{self.subnet.prefixlen}"


def _within(inner: Subnet, outer: Subnet) -> bool:
    if isinstance(inner, IPv4Network) and isinstance(outer, IPv4Network):
        return inner.subnet_of(outer)
    if isinstance(inner, IPv6Network) and isinstance(outer, IPv6Network):
        return inner.subnet_of(outer)
    return False


class Purpose(Enum):
    """Why an address is reserved."""

    GATEWAY = "gateway"
    AUXILIARY = "auxiliary"
    CLAIMED = "claimed"
    """Containers were answered with it more often than once: see ``claims``. No bar to them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReservedAddress:
    """An address held without a lease; as often as Docker asked for it, so often it is let go."""

    address: Address
    purpose: Purpose
    count: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolRecord:
    """A pool as it is stored: with the networks that use it, and its reservations."""

    pool: Pool
    users: int
    reservations: tuple[ReservedAddress, ...] = ()
    version: int = 0
    """Which record of this pool it is: a later one has a higher number."""

    @property
    def reserved(self) -> Mapping[Address, Purpose]:
        """What no container may have: its networks' gateways and auxiliary addresses.

        The pool's own gateway is nobody's where its only network named another.
        """
        given = {
            each.address: each.purpose
            for each in self.reservations
            if each.purpose is not Purpose.CLAIMED
        }
        gateway = self.pool.gateway
        if gateway is None or (self.users == 1 and Purpose.GATEWAY in given.values()):
            return given
        return {gateway: Purpose.GATEWAY, **given}
