"""Ways to the DHCP servers: a route, and the session that all its clients share.

A way is opened with its first use, and closed when nobody used it for a while. Which route a pool
has is decided once, and anew when the host's interfaces changed: see ``Ways.decide_anew``.
"""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from ipaddress import IPv4Network
from random import Random

from d4d.adapters.dhcp.link.base import Deliver, Link, Wants
from d4d.adapters.dhcp.routes import Route, Routes
from d4d.adapters.dhcp.session import Session
from d4d.domain.dhcp.client import Client
from d4d.domain.dhcp.messages import Identity
from d4d.domain.errors import D4DError
from d4d.domain.leases import RenewalForm
from d4d.domain.pools import Pool, PoolId, PoolOptions
from d4d.domain.ports.clock import Clock

_IDLE = 60.0  # seconds without a user after which a way is closed: containers come and go

MakeLink = Callable[[Route, Wants, Deliver], Link]


class Way:
    """One route, its session, and how many use them."""

    def __init__(self, route: Route, session: Session, random: Callable[[], float]) -> None:
        self.route = route
        self.session = session
        self.users = 0
        self._random = random

    def client(self, identity: Identity) -> Client:
        """A client of the servers that this way leads to."""
        client = Client(
            identity,
            random=self._random,
            servers=() if self.route.is_relay else self.route.servers,
        )
        if self.route.is_relay:
            client.forms = (RenewalForm.RENEWING,)
        return client


class Ways:
    """All that are open, and which pool has which route."""

    def __init__(self, *, routes: Routes, link: MakeLink, clock: Clock, random: Random) -> None:
        self._routes = routes
        self._make_link = link
        self._clock = clock
        self._random = random.random  # bound once: each client keeps it
        self._route_of: dict[PoolId, Route] = {}
        self._ways: dict[Route, Way] = {}
        self._closings: dict[Route, asyncio.TimerHandle] = {}

    def resolve(self, options: PoolOptions, subnet: IPv4Network | None) -> PoolOptions:
        """See ``Routes``."""
        return self._routes.resolve(options, subnet)

    def route_to(self, pool: Pool) -> Route:
        """The route of ``pool``. Raises BadRequest, LinkDown."""
        route = self._route_of.get(pool.id)
        if route is None or route.is_provisional:
            route = self._route_of[pool.id] = self._route(pool)
        return route

    def decide_anew(self) -> list[PoolId]:
        """Find each route anew; the pools that have another one now.

        One that can't be found at present stays what it was: its parent may come back.
        """
        moved = []
        for pool_id, old in tuple(self._route_of.items()):
            try:
                route = self._route(Pool.parse(pool_id))
            except D4DError:
                continue
            if route != old:
                self._route_of[pool_id] = route
                moved.append(pool_id)
        return moved

    def forget(self, pool_id: PoolId) -> None:
        """No network has the pool any more."""
        self._route_of.pop(pool_id, None)

    @contextmanager
    def used(self, route: Route) -> Iterator[Way]:
        """The way by ``route``, open while it is used."""
        way = self.enter(route)
        try:
            yield way
        finally:
            self.leave(way)

    def enter(self, route: Route) -> Way:
        """One more use of the way by ``route``, until ``leave``."""
        way = self._ways.get(route)
        if way is None:
            session = Session(partial(self._make_link, route), clock=self._clock)
            way = self._ways[route] = Way(route, session, self._random)
        if (closing := self._closings.pop(route, None)) is not None:
            closing.cancel()
        way.users += 1
        return way

    def leave(self, way: Way) -> None:
        """One use less; the last one's way is closed a while later."""
        way.users -= 1
        assert way.users >= 0, f"{way.route} was left more often than entered"
        if not way.users and self._ways.get(way.route) is way:
            loop = asyncio.get_running_loop()
            self._closings[way.route] = loop.call_later(_IDLE, self._close, way)

    def parents(self) -> set[str | None]:
        """The interfaces that pools' routes go by, or are named by."""
        return {
            Pool.parse(pool_id).options.parent or route.parent
            for pool_id, route in self._route_of.items()
        }

    def sessions(self) -> list[Session]:
        """The sessions of all ways that are open."""
        return [way.session for way in self._ways.values()]

    def close(self) -> None:
        """Close all, whoever uses them."""
        for closing in self._closings.values():
            closing.cancel()
        self._closings.clear()
        for way in self._ways.values():
            way.session.close()
        self._ways.clear()

    def _close(self, way: Way) -> None:
        self._closings.pop(way.route, None)
        if not way.users and self._ways.get(way.route) is way:
            del self._ways[way.route]
            for pool_id in [each for each, route in self._route_of.items() if route == way.route]:
                del self._route_of[pool_id]
            way.session.close()

    def _route(self, pool: Pool) -> Route:
        subnet = pool.subnet
        assert isinstance(subnet, IPv4Network)
        return self._routes.route(self._routes.resolve(pool.options, subnet), subnet)
