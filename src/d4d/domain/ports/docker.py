"""What Docker has: networks that take their addresses from us, or may, and running containers."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol

from d4d.domain.addressing import Address, MacAddress, Subnet


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkSubnet:
    """One subnet of a network, as its user wrote it, or as we named it where the user did not."""

    subnet: Subnet
    range: Subnet | None = None
    gateway: Address | None = None
    auxiliary: tuple[Address, ...] = ()
    way_out: Address | None = None
    """The one of them that is called DefaultGatewayIPv4: the containers' router on a bridge."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DockerNetwork:
    """A Docker network whose IPAM driver we are, or a plugin that may be us by another name."""

    id: str
    name: str
    driver: str
    """``macvlan``, ``bridge`` ..."""
    subnets: tuple[NetworkSubnet, ...]
    options: Mapping[str, str] = field(default_factory=dict)
    """What ``--ipam-opt`` said; only by these are networks with the same subnet told apart."""
    parent: str | None = None
    """The host's interface that it stands on: of ``-o parent=``, or its bridge."""
    is_ours: bool = True
    """False where its IPAM driver is a name that is not known to lead to us."""
    ends: "tuple[Attachment, ...]" = ()
    """Those that it has, also of no container yet, or of none any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attachment:
    """An address that a container's end on a network has now.

    An end with two addresses, such as an IPv4 and an IPv6 one, is two attachments.
    """

    network_id: str
    container_id: str
    """``ep-`` and the endpoint's id, for the moment in which it is no container's yet."""
    name: str
    """The container's name, without a slash."""
    mac: MacAddress
    address: Address
    subnet: Subnet
    """The network's, in which the address lies."""


class Change(Enum):
    """What became of a container."""

    CONNECTED = "connected"
    """To a network, of anybody's; it may not be running yet."""
    STARTED = "started"
    RENAMED = "renamed"
    MISSED = "missed"
    """Docker was not listened to until now: anything may have happened."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerEvent:
    """One change, with what Docker says of it."""

    change: Change
    container_id: str | None = None
    """None if MISSED, only then."""
    network_id: str | None = None
    """Of CONNECTED only."""
    name: str | None = None
    """The container's, of STARTED and RENAMED only."""


class DockerEngine(Protocol):
    """Docker's API. Nothing of it is called while Docker waits for an answer of ours.

    Methods raise DockerUnavailable where Docker does not answer, or refuses: what it has is unknown
    then, which is not the same as nothing.
    """

    @property
    def gives_names(self) -> bool:
        """Whether Docker names the container when it asks for an address: engine 29 and later.

        False until Docker was asked something.
        """

    async def networks(self) -> tuple[DockerNetwork, ...]:
        """All networks whose addresses may be ours, each with its ends.

        That is more than those of our driver's name: the list of a swarm's manager lacks the IPAM
        driver of some, and a plugin has as many names as there are links to its socket. One that
        is not among these was not seen, which is not to say that it is not there.
        """

    async def attachments(self) -> tuple[Attachment, ...]:
        """All addresses of all containers that run or are paused, on whatever network.

        A container is missing until the answer to its request for an address has reached Docker,
        and while it waits to be restarted. One that ends is there still when its address has been
        released.
        """

    def started(self) -> AsyncIterator[ContainerEvent]:
        """Changes from now on, without end; MISSED comes first, and after each gap.

        It never raises: while Docker is away it waits.
        """

    async def reconnect(self, attachment: Attachment) -> None:
        """Disconnect the container from the network and connect it again as it was.

        Docker then releases its address and asks for another. Call it again if it raises: it may
        have been disconnected only.
        """

    async def restart(self, container_id: str) -> None:
        """Restart the container: it is given the time to stop that it was created with."""

    async def stop(self, container_id: str) -> None:
        """Stop the container; Docker does not start it again by itself."""

    async def aclose(self) -> None:
        """Let go of connections."""
