"""Leases from the site's DHCP server, kept alive for as long as Docker holds them.

An acquisition goes through these hands: ``ways.py`` says which way the servers are reached,
``identities.py`` who asks, ``acquisition.py`` what is asked for and taken, ``Exchange`` awaits what
one client comes to, ``Session`` drives all clients of one way; ``lease_keeper.py`` has the lease
from then on.
"""

import asyncio
from dataclasses import replace
from datetime import datetime
from functools import partial
from ipaddress import IPv4Address
from itertools import islice
from random import Random

from d4d.adapters.dhcp.acquisition import Acquisition
from d4d.adapters.dhcp.conflict_detection import ConflictDetector, MakeWatch
from d4d.adapters.dhcp.exchange import Exchange
from d4d.adapters.dhcp.identities import Identities
from d4d.adapters.dhcp.lease_keeper import KeptLease, LeaseKeeper
from d4d.adapters.dhcp.policy import DhcpPolicy
from d4d.adapters.dhcp.pool_discovery import MOST_STRAYS, PoolDiscovery
from d4d.adapters.dhcp.routes import Route, Routes
from d4d.adapters.dhcp.ways import MakeLink, Way, Ways
from d4d.domain.addressing import Address
from d4d.domain.dhcp.client import Client
from d4d.domain.dhcp.effects import Grant, Ignored
from d4d.domain.dhcp.lease_mapping import grant_of, granted_lease, identity_of
from d4d.domain.dhcp.messages import Identity
from d4d.domain.dhcp.states import State
from d4d.domain.errors import NoAddress
from d4d.domain.events import EventKind, LeaseEvent
from d4d.domain.lease_states import Standing
from d4d.domain.leases import Endpoint, Lease
from d4d.domain.pools import Pool, PoolId, PoolRequest
from d4d.domain.ports.allocator import AllocationRequest
from d4d.domain.ports.clock import Clock
from d4d.domain.ports.disturbances import (
    ClockJumped,
    Disturbance,
    LinkChange,
    LinkChanged,
    RoutesChanged,
)
from d4d.domain.ports.events import EventSink, LeaseObserver
from d4d.domain.verdicts import Verdict
from d4d.service_layer.concurrency.keyed_lock import KeyedLock, KeyedLocks, Window


class DhcpAllocator:
    """Allocates from DHCP servers."""

    def __init__(
        self,
        *,
        routes: Routes,
        link: MakeLink,
        watch: MakeWatch,
        policy: DhcpPolicy,
        events: EventSink,
        clock: Clock,
        random: Random,
    ) -> None:
        self._policy = policy
        self._events = events
        self._clock = clock
        self._ways = Ways(routes=routes, link=link, clock=clock, random=random)
        self._identities = Identities(routes, policy)
        self._conflicts = ConflictDetector(watch, wait=policy.conflict_probe, report=self._conflict)
        self._keeper = LeaseKeeper(
            ways=self._ways,
            conflicts=self._conflicts,
            rename=self._identities.renamed,
            mismatch=self._mismatch,
        )
        self._window = Window(policy.window, who="asking DHCP servers (D4D_DHCP_WINDOW)")
        self._turns = KeyedLocks()
        self._discovery = PoolDiscovery(
            ways=self._ways,
            routes=routes,
            policy=policy,
            clock=clock,
            turns=self._turns,
            window=self._window,
        )

    async def open(self, request: PoolRequest) -> Pool:
        """See ``PoolDiscovery``."""
        return await self._discovery.open(request)

    async def allocate(self, request: AllocationRequest) -> Lease:
        """A lease that the server acknowledged. Raises NoAddress, AddressInUse, LinkDown."""
        route = self._ways.route_to(request.pool)
        way = self._ways.enter(route)
        try:
            identity = self._identity(request.pool, request.endpoint, route, request)
            kept = await self._acquire(request, way, way.client(identity))
        except BaseException:
            self._ways.leave(way)
            raise
        self._keeper.hold(kept)
        return kept.lease

    def adopt(self, pool: Pool, endpoint: Endpoint, address: Address, *, at: datetime) -> Lease:
        """The lease as it must have been made, but for its times: ``maintain`` learns them."""
        identity = self._identity(pool, endpoint, self._ways.route_to(pool), None)
        return Lease(
            pool=pool.id,
            address=address,
            endpoint=endpoint,
            acquired_at=at,
            client_id=identity.client_id,
            hostname=identity.hostname,
        )

    def rename(self, lease: Lease, name: str) -> Lease:
        """See ``LeaseKeeper``."""
        return self._keeper.rename(lease, name)

    def maintain(self, lease: Lease, observer: LeaseObserver, *, confirm: bool = False) -> None:
        """See ``LeaseKeeper``."""
        self._keeper.maintain(lease, observer, confirm=confirm)

    def forget(self, lease: Lease) -> None:
        """See ``LeaseKeeper``."""
        self._keeper.forget(lease)

    async def free(self, lease: Lease) -> None:
        """Send the RELEASE, and forget the lease. Raises LinkDown: nothing was sent then."""
        route = self._ways.route_to(Pool.parse(lease.pool))
        identity = identity_of(lease)
        with self._ways.used(route) as way:
            async with self._turn(identity):
                kept = self._keeper.kept(lease)
                if kept is not None and kept.lease.acquired_at != lease.acquired_at:
                    return  # the address was got anew meanwhile: this RELEASE would free that
                if kept is not None and kept.client.state is not State.INIT:
                    client = kept.client
                else:  # the lease is from the store, or its RELEASE could not be sent before
                    client = way.client(identity)
                    lost = lease.standing is Standing.LOST
                    client.resume(grant_of(lease), lease.bound_at or lease.acquired_at, lost=lost)
                way.session.perform(client, client.release(self._clock()))
                self._keeper.forget(lease)

    def disturbed(self, disturbance: Disturbance) -> None:
        """Routes are decided anew, and the leases that may be affected confirmed, in turn."""
        match disturbance:
            case ClockJumped():
                for session in self._ways.sessions():
                    session.disturbed(self._clock())
            case RoutesChanged():
                self._decide_anew()
            case LinkChanged(name=name, changes=changes):
                is_ours = name in self._ways.parents() or self._keeper.is_waiting()
                if is_ours or LinkChange.ADDRESSES in changes:
                    self._decide_anew()
                if changes - {LinkChange.WENT, LinkChange.DOWN}:
                    self._keeper.confirm_all(name)

    def _decide_anew(self) -> None:
        for pool_id in self._ways.decide_anew():
            self._keeper.moved(pool_id)
        self._keeper.retry_waiting()

    def silences(self) -> dict[str, str]:
        """What is known of each link by which requests go out and nothing comes in."""
        said = {session.name: session.silence for session in self._ways.sessions()}
        return {name: silence for name, silence in said.items() if silence}

    async def aclose(self) -> None:
        """Close the links. No server hears of it: the containers go on using their addresses."""
        self._keeper.close()
        self._ways.close()
        self._conflicts.close()

    async def _acquire(self, request: AllocationRequest, way: Way, client: Client) -> KeptLease:
        """What the servers that ``way`` leads to give the request's container."""
        exchange = Exchange(way.session, client, now=self._clock)
        async with self._turn(client.identity), self._window:
            acquisition = Acquisition(
                request=request,
                client=client,
                exchange=exchange,
                wire=self._conflicts.on(way.route.parent),
                report=partial(self._report, request.pool.id, request.endpoint),
            )
            exchange.on_offer = partial(self._offered, request, client, acquisition)
            exchange.on_ignored = partial(self._ignored, request.pool.id, request.endpoint)
            seconds = self._policy.deadline.total_seconds()
            began = asyncio.get_running_loop().time()
            try:
                async with asyncio.timeout(seconds):
                    grant = await acquisition.run()
            except TimeoutError:
                exchange.abandon()
                raise NoAddress(acquisition.silence(seconds)) from None
            except BaseException as error:
                exchange.abandon()
                if isinstance(error, asyncio.CancelledError):
                    waited = round(asyncio.get_running_loop().time() - began, 1)
                    error.add_note(f"the DHCP server: {acquisition.silence(waited)}")
                raise
        self._tell_of_strays(request, exchange)
        return KeptLease(client, way, _lease(request, client.identity, grant))

    def _offered(
        self,
        request: AllocationRequest,
        client: Client,
        acquisition: Acquisition,
        address: IPv4Address,
    ) -> None:
        if acquisition.offered(address):
            expected = client.expected(self._clock())
            if expected is not None:
                request.on_offer(_lease(request, client.identity, expected))

    def _tell_of_strays(self, request: AllocationRequest, exchange: Exchange) -> None:
        pool = request.pool
        strays = {each.terms.server: each for each in exchange.refused if each.address not in pool}
        for server, refused in islice(strays.items(), MOST_STRAYS):
            detail = f"{server} offers it, outside {pool.subnet}"
            self._report(pool.id, request.endpoint, EventKind.MISMATCH, refused.address, detail)

    def _identity(
        self, pool: Pool, endpoint: Endpoint, route: Route, request: AllocationRequest | None
    ) -> Identity:
        def is_anothers(client_id: bytes) -> bool:
            """Whether the lease by it is in use by another: one that was given back is nobody's."""
            lease = self._keeper.by_client_id(client_id)
            if lease is None or lease.endpoint.mac == endpoint.mac:
                return False
            if request is None or lease.pool != pool.id:
                return lease.is_live
            return request.judge(lease.address).verdict is Verdict.OURS_IN_USE

        return self._identities.of(pool, endpoint, route, is_anothers=is_anothers)

    def _turn(self, identity: Identity) -> KeyedLock:
        """To be alone with this MAC and this client id."""
        return self._turns.of(identity.chaddr, identity.client_id)

    def _ignored(self, pool: PoolId, endpoint: Endpoint, ignored: Ignored) -> None:
        """Tell of an answer that can't be used, but of servers that we do not ask."""
        if not ignored.is_foreign:
            address = ignored.server or IPv4Address(0)
            self._report(pool, endpoint, EventKind.MISMATCH, address, str(ignored))

    def _mismatch(self, lease: Lease, detail: str) -> None:
        self._report(lease.pool, lease.endpoint, EventKind.MISMATCH, lease.address, detail)

    def _conflict(self, lease: Lease, detail: str) -> None:
        self._report(lease.pool, lease.endpoint, EventKind.CONFLICT, lease.address, detail)

    def _report(
        self, pool: PoolId, endpoint: Endpoint, kind: EventKind, address: Address, detail: str
    ) -> None:
        event = LeaseEvent(
            kind=kind,
            at=self._clock(),
            pool=pool,
            address=address,
            endpoint=endpoint,
            detail=detail,
        )
        self._events.record(event)


def _lease(request: AllocationRequest, identity: Identity, grant: Grant) -> Lease:
    lease = granted_lease(request.pool, request.endpoint, identity, request.owner, grant)
    return replace(lease, acquired_at=request.at)
