"""Answers of Docker's API, engine 20.10 and later: only what we read of them, checked on entry."""

from collections.abc import Iterator
from ipaddress import ip_interface
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError

from d4d.domain.addressing import MacAddress, parse_address, parse_subnet
from d4d.domain.errors import BadRequest, DockerUnavailable
from d4d.domain.ports.docker import Attachment, Change, ContainerEvent, DockerNetwork, NetworkSubnet

_BRIDGE_NAME = "com.docker.network.bridge.name"
_WAY_OUT = "DefaultGatewayIPv4"  # an auxiliary address that the bridge driver reads
_SHORT_ID = 12  # digits of an id in names that Docker makes of it
BUILTIN_IPAM_DRIVERS = frozenset({"default", "null", "host-local", "windows"})
"""IPAM drivers that are no plugins, as Docker names them."""
_WITHOUT_ADDRESSES = frozenset({"host", "null"})
"""Drivers of networks whose containers have none of Docker."""

Options = Annotated[dict[str, str], BeforeValidator(lambda value: value or {})]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


T = TypeVar("T")


def read(model: type[T], content: bytes, *, request: str) -> T:
    """The answer to ``request``, checked. Raises DockerUnavailable."""
    try:
        return TypeAdapter(model).validate_json(content)
    except ValidationError as error:
        raise _unreadable(request, error) from error


def _unreadable(request: str, error: Exception) -> DockerUnavailable:
    reason = str(error).replace("\n", " ")
    return DockerUnavailable(f"Docker's answer to {request} is not what D4D understands: {reason}")


class Version(_Model):
    """GET /version."""

    newest: str = Field(alias="ApiVersion", pattern=r"^\d+\.\d+$")
    oldest: str = Field("1.0", alias="MinAPIVersion", pattern=r"^\d+\.\d+$")


class _Subnet(_Model):
    subnet: str = Field("", alias="Subnet")
    range: str = Field("", alias="IPRange")
    gateway: str = Field("", alias="Gateway")
    auxiliary: Options = Field(default_factory=dict, alias="AuxiliaryAddresses")

    def value(self) -> NetworkSubnet:
        way_out = self.auxiliary.get(_WAY_OUT)
        return NetworkSubnet(
            subnet=parse_subnet(self.subnet, what="subnet"),
            range=parse_subnet(self.range, what="range") if self.range else None,
            gateway=parse_address(self.gateway, what="gateway") if self.gateway else None,
            auxiliary=tuple(
                parse_address(text, what="auxiliary address") for text in self.auxiliary.values()
            ),
            way_out=parse_address(way_out, what="auxiliary address") if way_out else None,
        )


class _Ipam(_Model):
    driver: str = Field("", alias="Driver")
    options: Options = Field(default_factory=dict, alias="Options")
    config: Annotated[tuple[_Subnet, ...], BeforeValidator(lambda value: value or ())] = Field(
        (), alias="Config"
    )


class _End(_Model):
    name: str = Field("", alias="Name")
    mac: str = Field("", alias="MacAddress")
    ipv4: str = Field("", alias="IPv4Address")
    ipv6: str = Field("", alias="IPv6Address")


class _ConfigFrom(_Model):
    network: str = Field("", alias="Network")


class NetworkModel(_Model):
    """GET /networks/ID; in the list of GET /networks, ``ends`` are left out.

    The list of a swarm's manager also lacks the IPAM of networks that are made from another's
    configuration: their driver is empty there.
    """

    id: str = Field(alias="Id")
    name: str = Field(alias="Name")
    driver: str = Field(alias="Driver")
    ipam: _Ipam = Field(alias="IPAM")
    options: Options = Field(default_factory=dict, alias="Options")
    config_only: bool = Field(False, alias="ConfigOnly")
    config_from: Annotated[_ConfigFrom, BeforeValidator(lambda value: value or {})] = Field(
        _ConfigFrom(Network=""), alias="ConfigFrom"
    )
    ends: Annotated[dict[str, _End], BeforeValidator(lambda value: value or {})] = Field(
        default_factory=dict, alias="Containers"
    )

    def is_served_by(self, driver: str) -> bool:
        """Whether it has pools of this IPAM driver: a ``--config-only`` network has none."""
        return self.ipam.driver == driver and not self.config_only

    def may_be_served_by(self, driver: str) -> bool:
        """Whether its addresses may be ours, as far as this model tells.

        A plugin of another name may be us, and what tells no driver may have ours.
        """
        if self.config_only or self.driver in _WITHOUT_ADDRESSES:
            return False
        if self.ipam.driver == driver or self.ipam.driver not in BUILTIN_IPAM_DRIVERS:
            return True
        return bool(self.config_from.network)

    def network(self, *, ends: tuple[Attachment, ...] = (), is_ours: bool = True) -> DockerNetwork:
        """The network. Raises DockerUnavailable."""
        bridge = f"br-{self.id[:_SHORT_ID]}" if self.driver == "bridge" else None
        try:
            subnets = tuple(each.value() for each in self.ipam.config)
        except BadRequest as error:
            raise _unreadable(f"GET /networks ({self.name})", error) from error
        return DockerNetwork(
            id=self.id,
            name=self.name,
            driver=self.driver,
            subnets=subnets,
            options=self.ipam.options,
            parent=self.options.get("parent") or self.options.get(_BRIDGE_NAME) or bridge,
            is_ours=is_ours,
            ends=ends,
        )

    def attachments(self) -> Iterator[Attachment]:
        """Each address of each end. Raises DockerUnavailable."""
        for container_id, end in self.ends.items():
            for text in filter(None, (end.ipv4, end.ipv6)):
                try:
                    interface = ip_interface(text)
                    mac = MacAddress.parse(end.mac)
                except (ValueError, BadRequest) as error:
                    raise _unreadable(f"GET /networks/{self.id} ({end.name})", error) from error
                yield Attachment(
                    network_id=self.id,
                    container_id=container_id,
                    name=end.name,
                    mac=mac,
                    address=interface.ip,
                    subnet=interface.network,
                )


def _without_null(value: Any) -> Any:
    """A map of ends without those that are null: Docker has not made them yet."""
    return {name: end for name, end in (value or {}).items() if end is not None}


class EndModel(_Model):
    """A container's settings on one network: what was asked for, among what came of it."""

    network_id: str = Field("", alias="NetworkID")
    ipv4: str = Field("", alias="IPAddress")
    ipv6: str = Field("", alias="GlobalIPv6Address")
    ipv4_length: int = Field(0, alias="IPPrefixLen")
    ipv6_length: int = Field(0, alias="GlobalIPv6PrefixLen")
    aliases: Annotated[tuple[str, ...], BeforeValidator(lambda value: value or ())] = Field(
        (), alias="Aliases"
    )
    ipam: Any = Field(None, alias="IPAMConfig")
    links: Any = Field(None, alias="Links")
    driver_options: Any = Field(None, alias="DriverOpts")
    gateway_priority: Any = Field(None, alias="GwPriority")
    mac: Any = Field(None, alias="MacAddress")

    def configuration(self, container_id: str) -> dict[str, Any]:
        """What to connect with so that the end becomes what it was.

        The MAC address is among it, as nothing tells a chosen one from a random one; engines heed
        it from API 1.54 on, older ones draw another.
        """
        # Docker adds the short id by itself; from 25 on what we send would stay beside it
        aliases = [each for each in self.aliases if each != container_id[:_SHORT_ID]]
        settings = {
            "Aliases": aliases,
            "IPAMConfig": self.ipam,
            "Links": self.links,
            "DriverOpts": self.driver_options,
            "GwPriority": self.gateway_priority,
            "MacAddress": self.mac,
        }
        return {name: value for name, value in settings.items() if value}


class _Settings(_Model):
    ends: Annotated[dict[str, EndModel], BeforeValidator(_without_null)] = Field(
        default_factory=dict, alias="Networks"
    )


class ListedContainer(_Model):
    """One of GET /containers/json: of those that run, or are paused."""

    id: str = Field(alias="Id")
    names: Annotated[tuple[str, ...], BeforeValidator(lambda value: value or ())] = Field(
        (), alias="Names"
    )
    settings: Annotated[_Settings, BeforeValidator(lambda value: value or {})] = Field(
        _Settings(), alias="NetworkSettings"
    )

    def attachments(self) -> Iterator[Attachment]:
        """Each address of each end that has a MAC; of others' drivers, some have none.

        Raises DockerUnavailable.
        """
        for end in self.settings.ends.values():
            if not end.mac:
                continue
            for address, length in ((end.ipv4, end.ipv4_length), (end.ipv6, end.ipv6_length)):
                if not address:
                    continue
                try:
                    interface = ip_interface(f"{address}/{length}")
                    mac = MacAddress.parse(str(end.mac))
                except (ValueError, BadRequest) as error:
                    raise _unreadable(f"GET /containers/json ({self.name})", error) from error
                yield Attachment(
                    network_id=end.network_id,
                    container_id=self.id,
                    name=self.name,
                    mac=mac,
                    address=interface.ip,
                    subnet=interface.network,
                )

    @property
    def name(self) -> str:
        """Its own: those that other containers have for it, by links, have two slashes."""
        own = [each for each in self.names if each.count("/") == 1]
        return (own or [""])[0].removeprefix("/")


class ContainerModel(_Model):
    """GET /containers/ID/json."""

    settings: _Settings = Field(alias="NetworkSettings")

    def end_on(self, network_id: str) -> EndModel | None:
        """Its end on the network, if it has one; a stopped container's has no addresses."""
        ends = self.settings.ends.values()
        return next((each for each in ends if each.network_id == network_id), None)


class _Actor(_Model):
    id: str = Field("", alias="ID")
    attributes: Options = Field(default_factory=dict, alias="Attributes")


class _Event(_Model):
    kind: str = Field(alias="Type")
    action: str = Field(alias="Action")
    actor: _Actor = Field(alias="Actor")


EVENTS = {"type": ["container", "network"], "event": ["connect", "start", "rename"]}
"""The filters of GET /events that let through what ``read_event`` knows."""


def read_event(line: bytes) -> ContainerEvent | None:
    """The event on a line of GET /events; None if it is of no interest.

    Of a line that makes no sense only this much is known: that something was missed.
    """
    try:
        event = _Event.model_validate_json(line)
    except ValidationError:
        return ContainerEvent(change=Change.MISSED)
    actor = event.actor
    if (event.kind, event.action) == ("network", "connect"):
        container_id = actor.attributes.get("container")
        return ContainerEvent(
            change=Change.CONNECTED, container_id=container_id, network_id=actor.id
        )
    changes = {"start": Change.STARTED, "rename": Change.RENAMED}
    if event.kind == "container" and event.action in changes:
        name = actor.attributes.get("name")
        return ContainerEvent(change=changes[event.action], container_id=actor.id, name=name)
    return None
