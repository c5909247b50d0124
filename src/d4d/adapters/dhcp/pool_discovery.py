"""What DHCP servers say of a network before it has a container: its subnet and its router."""

import asyncio
from functools import partial
from ipaddress import IPv4Address, IPv4Network
from itertools import islice

from d4d.adapters.dhcp.exchange import Exchange
from d4d.adapters.dhcp.policy import DhcpPolicy
from d4d.adapters.dhcp.routes import Route, Routes
from d4d.adapters.dhcp.ways import Ways
from d4d.domain.client_identity import synthetic_mac
from d4d.domain.dhcp.effects import Ignored, Refused
from d4d.domain.dhcp.messages import Identity
from d4d.domain.errors import BadRequest, NoAddress
from d4d.domain.pools import Pool, PoolOptions, PoolRequest
from d4d.domain.ports.clock import Clock
from d4d.service_layer import log_messages as log
from d4d.service_layer.concurrency.keyed_lock import KeyedLocks, Window

_LINGER = 0.5  # seconds for offers of other servers, after the first that says what the network is
_SURVEY = 6.0  # seconds for an offer that names the router, where we can do without
MOST_STRAYS = 4
"""So many servers of another subnet are told of at once."""


class PoolDiscovery:
    """Asks with a MAC that no container has, and takes nothing."""

    def __init__(
        self,
        *,
        ways: Ways,
        routes: Routes,
        policy: DhcpPolicy,
        clock: Clock,
        turns: KeyedLocks,
        window: Window,
    ) -> None:
        """``turns`` are of MACs and client ids, ``window`` is for all that ask at a time."""
        self._ways = ways
        self._routes = routes
        self._policy = policy
        self._clock = clock
        self._turns = turns
        self._window = window

    async def open(self, request: PoolRequest) -> Pool:
        """The pool for ``request``, with the subnet and the router that the servers name.

        Raises BadRequest, LinkDown, NoAddress where the subnet can't be learnt.
        """
        subnet = request.subnet
        if request.version != 4 or (subnet and not isinstance(subnet, IPv4Network)):  # noqa: PLR2004 - IPv4
            raise BadRequest(
                f"the DHCP allocator leases IPv4 addresses only, and none of "
                f"{subnet or 'an IPv6 pool'}: create the network without --ipv6"
            )
        assert subnet is None or isinstance(subnet, IPv4Network)
        options = self._routes.resolve(request.options, subnet)
        offers, useless = await self._survey(self._routes.route(options, subnet), subnet)
        if subnet is None:
            subnet = _subnet_of(offers, options, useless)
        named = [router for offer in offers for router in offer.terms.default_routers]
        routers = [router for router in named if router in subnet]
        return Pool(
            subnet=subnet,
            range=request.range,
            gateway=routers[0] if routers else None,
            options=options,
        )

    async def _survey(
        self, route: Route, subnet: IPv4Network | None
    ) -> tuple[list[Refused], list[Ignored]]:
        """Offers that are not taken, for what they say of the network; and what can't be used."""
        mac = synthetic_mac(self._routes.anchor(route))
        seconds = self._policy.deadline.total_seconds() if subnet is None else _SURVEY
        with self._ways.used(route) as way:
            client = way.client(Identity(chaddr=mac, client_id=b"\x01" + mac))
            exchange = Exchange(way.session, client, now=self._clock)
            async with self._turns.of(mac, client.identity.client_id), self._window:
                try:
                    async with asyncio.timeout(seconds):
                        # The first may be a stranger's: all that come in soon after it count.
                        await exchange.run(partial(client.start, accepts=_nothing), linger=_LINGER)
                except TimeoutError:
                    pass  # then nothing is known, which the caller may do without
                finally:
                    exchange.abandon()
        fitting = [each for each in exchange.refused if subnet is None or each.address in subnet]
        strays = {each.terms.server: each for each in exchange.refused if each not in fitting}
        for server, each in islice(strays.items(), MOST_STRAYS):
            log.foreign_subnet_offered(
                link=exchange.link,
                server=str(server),
                offered=str(each.address),
                subnet=str(subnet),
            )
        return fitting, exchange.ignored


def _nothing(_: IPv4Address) -> bool:
    return False


def _subnet_of(offers: list[Refused], options: PoolOptions, useless: list[Ignored]) -> IPv4Network:
    """The one subnet that is offered. Raises NoAddress, BadRequest."""
    masked = {
        IPv4Network(f"{offer.address}/{offer.terms.subnet_mask}", strict=False): offer
        for offer in reversed(offers)
        if offer.terms.subnet_mask is not None
    }
    if not masked:
        said = "".join(f". But {each}" for each in useless[:1])
        raise NoAddress(
            f"no DHCP server on {options.parent} said which subnet it serves, and no --subnet was "
            f"given: give --subnet and --gateway, or check that a server answers there{said}"
        )
    if len(masked) > 1:
        told = " and ".join(f"{offer.terms.server} {net}" for net, offer in masked.items())
        raise BadRequest(
            f"DHCP servers on {options.parent} offer different subnets, {told}: give --subnet, or "
            f"name the server that counts in DHCP_SERVER"
        )
    ((subnet, offer),) = masked.items()
    if subnet.prefixlen == subnet.max_prefixlen:
        raise BadRequest(
            f"DHCP server {offer.terms.server} on {options.parent} offers {offer.address} with the "
            f"subnet mask {offer.terms.subnet_mask}, which is no subnet for containers: give "
            f"--subnet and --gateway, or correct the server's mask"
        )
    return subnet
