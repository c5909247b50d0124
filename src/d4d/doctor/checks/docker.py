"""Judges Docker, and compares our networks with what is on the wire."""

from collections.abc import Iterator
from ipaddress import IPv4Interface, IPv4Network

from d4d.adapters.dhcp.server_probe import Offer
from d4d.doctor import catalogue
from d4d.doctor.facts import HostFacts, RouterHere
from d4d.doctor.findings import Finding
from d4d.domain.policies import IdentityPolicy
from d4d.domain.ports.docker import DockerNetwork, NetworkSubnet

_OLDEST_API = (1, 41)  # engine 20.10
_FIRST_WITH_NAMES = (1, 52)  # engine 29.0
_BRIDGE = "bridge"


def summary(facts: HostFacts) -> str:
    """Which engine runs."""
    docker = facts.docker
    if docker is None:
        return "not known"
    if docker.error is not None:
        return "does not answer"
    names = "tells" if docker.api >= _FIRST_WITH_NAMES else "does not tell"
    networks = ", ".join(network.name for network in docker.networks) or "none"
    return f"Engine {docker.engine}, which {names} container names; networks of ours: {networks}"


def judge(facts: HostFacts) -> Iterator[Finding]:
    """What is wrong with Docker, and with its networks."""
    for here in facts.routers_here:
        yield from _judge_router_here(facts, here)
    docker = facts.docker
    if docker is None:
        return
    if docker.error is not None:
        yield catalogue.DOCKER_UNREACHABLE.found(docker.error)
        return
    if docker.api < _OLDEST_API:
        yield catalogue.DOCKER_TOO_OLD.found(f"this is Docker Engine {docker.engine}")
    if docker.api < _FIRST_WITH_NAMES and facts.settings.identity is IdentityPolicy.NAME:
        yield catalogue.DOCKER_NO_NAMES.found(
            f"D4D_IDENTITY=name, and Docker Engine {docker.engine} tells no container names"
        )
    for name, driver in docker.others:
        yield catalogue.DOCKER_OTHER_DRIVER.found(
            f"network {name} takes its addresses from {driver}, which is not D4D "
            f"({facts.settings.plugin_socket.stem})"
        )
    for network in docker.networks:
        yield from _judge_network(network, _offers(facts, network))


def _judge_router_here(facts: HostFacts, here: RouterHere) -> Iterator[Finding]:
    """A host may rightly be the router: then nobody else has the address, and it has a way out."""
    router, bridge = here.address.ip, here.bridge
    makers = [
        network.name
        for network in facts.networks
        if network.driver == _BRIDGE and network.parent == bridge
    ]
    by = f" (Docker's network {', '.join(makers)} stands on it)" if makers else ""
    text = f"{bridge} has the address {router}{by}, and DHCP server {here.server} names that router"
    fields = {
        "bridge": bridge,
        "router": router,
        "address": here.address,
        "prefix": here.address.network.prefixlen,
    }
    if here.other is not None:
        yield catalogue.BRIDGE_TOOK_ROUTER.found(
            f"{text}, which is another machine: {here.other} answers for it, too", **fields
        )
    elif facts.has_default_route is False:
        yield catalogue.BRIDGE_IS_ROUTER.found(
            f"{text}; nobody else answers for it, and this host has no default route", **fields
        )


def _offers(facts: HostFacts, network: DockerNetwork) -> list[Offer]:
    """The offers of those servers whose leases the network accepts."""
    return [
        offer
        for way in facts.probed or ()
        if network in way.networks
        for offer in way.probed.offers
        if not way.servers or str(offer.terms.server) in way.servers
    ]


def _judge_network(network: DockerNetwork, offers: list[Offer]) -> Iterator[Finding]:
    for config in network.subnets:
        subnet = config.subnet
        if not isinstance(subnet, IPv4Network):
            continue
        fitting = [offer for offer in offers if offer.address in subnet]
        masked = [offer for offer in fitting if _subnet_of(offer) not in (None, subnet)]
        for offer in masked[:1] if fitting else offers[:1]:
            yield catalogue.SUBNET_MISMATCH.found(
                f"network {network.name} has the subnet {subnet}, and DHCP server "
                f"{offer.terms.server} offers {offer.address} of {_subnet_of(offer) or 'another'}"
            )
        routers = [offer for offer in fitting if offer.terms.default_routers]
        for offer in routers[:1]:
            if network.driver == _BRIDGE:
                yield from _judge_way_out(network, config, offer)
            elif config.gateway is not None and config.gateway not in offer.terms.default_routers:
                yield catalogue.GATEWAY_MISMATCH.found(
                    f"network {network.name} has the gateway {config.gateway}, and DHCP server "
                    f"{offer.terms.server} names the router {offer.terms.default_routers[0]}",
                    router=offer.terms.default_routers[0],
                )


def _judge_way_out(
    network: DockerNetwork, config: NetworkSubnet, offer: Offer
) -> Iterator[Finding]:
    """On a bridge the gateway is the host's own address, and the router has another name."""
    way_out = config.way_out or config.gateway
    if way_out is None or way_out in offer.terms.default_routers:
        return
    router = offer.terms.default_routers[0]
    called = "DefaultGatewayIPv4" if config.way_out else "gateway"
    missing = "" if config.way_out else " and no DefaultGatewayIPv4"
    yield catalogue.BRIDGE_WAY_OUT.found(
        f"network {network.name}, on a bridge, has the {called} {way_out}{missing}, and DHCP "
        f"server {offer.terms.server} names the router {router}",
        router=router,
        bridge=network.parent or "its bridge",
    )


def _subnet_of(offer: Offer) -> IPv4Network | None:
    mask = offer.terms.subnet_mask
    return IPv4Interface(f"{offer.address}/{mask}").network if mask else None
