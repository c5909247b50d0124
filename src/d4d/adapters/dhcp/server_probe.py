"""Which DHCP servers answer on a route, and what they offer. Nothing is taken of it."""

import asyncio
import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from random import Random

from d4d.adapters.dhcp.link.base import Deliver, Link, Wants
from d4d.adapters.dhcp.routes import Route, Routes
from d4d.domain.addressing import MacAddress
from d4d.domain.client_identity import synthetic_mac
from d4d.domain.dhcp.client import Client
from d4d.domain.dhcp.effects import Effect, Ignored, Refused
from d4d.domain.dhcp.messages import Identity, Message, MessageType, Unreadable, discover
from d4d.domain.errors import D4DError
from d4d.domain.leases import Terms
from d4d.domain.pools import PoolOptions

DEFAULT_TIMEOUT = timedelta(seconds=4)
"""dnsmasq pings an address for three seconds before it offers it, dhcpd for one."""
_AGAIN = 2.0  # seconds until a DISCOVER is repeated, as one may be lost
_MOST_USELESS = 8  # answers that are told of: anybody on the wire can send them

MakeLink = Callable[[Route, Wants, Deliver], Link]


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """What one server offered."""

    address: IPv4Address
    after: timedelta
    """Since the first DISCOVER."""
    terms: Terms
    server_mac: MacAddress | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeResult:
    """What came of asking on one route."""

    parent: str | None
    relay: str | None = None
    """As a relay: our address, and whom we asked."""
    offers: tuple[Offer, ...] = ()
    """The first offer of each server, the fastest first."""
    useless: tuple[str, ...] = ()
    """What else was answered, that D4D can't use, and why: that is no silence."""
    error: str | None = None
    """Why the servers could not be asked."""


class ServerProbe:
    """Asks servers by DISCOVER alone, under a MAC address that nobody else has."""

    def __init__(self, *, routes: Routes, link: MakeLink, random: Random) -> None:
        self._routes = routes
        self._make_link = link
        self._random = random

    def relayed(self, parent: str | None) -> Route | None:
        """The route by which the settings relay; None where they don't. Raises D4DError."""
        route = self._routes.route(PoolOptions(parent=parent), None)
        return route if route.is_relay else None

    async def ask(self, route: Route, patience: timedelta = DEFAULT_TIMEOUT) -> ProbeResult:
        """All that answer on ``route`` within ``patience``."""
        probed = ProbeResult(parent=route.parent, relay=str(route) if route.is_relay else None)
        clock = asyncio.get_running_loop().time
        heard: list[tuple[float, Effect]] = []
        try:
            client = Client(self._identity(route), random=self._random.random)
        except D4DError as error:
            return replace(probed, error=str(error))
        asked_at = datetime.now(UTC)
        client.start(asked_at, accepts=_nothing)

        def deliver(message: Message | Unreadable) -> bool:
            effects = client.receive(message, asked_at)
            heard.extend((clock(), effect) for effect in effects)
            return isinstance(message, Message) and message.type is MessageType.OFFER

        link = self._make_link(route, client.xid.__eq__, deliver)
        began = clock()
        try:
            await self._send(link, client.identity, client.xid, patience.total_seconds())
        except D4DError as error:
            probed = replace(probed, error=str(error))
        finally:
            link.close()
        offers: dict[IPv4Address, Offer] = {}
        useless: dict[str, None] = {}
        for at, effect in heard:
            if isinstance(effect, Refused) and effect.terms.server not in offers:
                offers[effect.terms.server] = Offer(
                    address=effect.address,
                    after=timedelta(seconds=at - began),
                    terms=effect.terms,
                    server_mac=link.mac_of(effect.terms.server),
                )
            elif isinstance(effect, Ignored) and len(useless) < _MOST_USELESS:
                useless[str(effect)] = None
        return replace(probed, offers=tuple(offers.values()), useless=tuple(useless))

    async def _send(self, link: Link, identity: Identity, xid: int, seconds: float) -> None:
        """Ask, and ask again, until the time has passed. Raises LinkDown."""
        message = discover(identity, xid)
        for number in itertools.count():
            passed = number * _AGAIN
            if passed >= seconds:
                return
            link.broadcast(message._replace(secs=int(passed)))
            await asyncio.sleep(min(_AGAIN, seconds - passed))

    def _identity(self, route: Route) -> Identity:
        """The same at each probe of a host, as a server keeps an offered address for minutes."""
        mac = synthetic_mac(self._routes.anchor(route), purpose=b"probe")
        return Identity(chaddr=mac, client_id=b"\x01" + mac)


def _nothing(_: IPv4Address) -> bool:
    return False
