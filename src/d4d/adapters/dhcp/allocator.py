"""Leases from the site's DHCP server, kept alive for as long as Docker holds them.

An acquisition goes through these hands: ``routes.py`` says which way the servers are reached,
``acquisition.py`` what is asked for and taken, ``Exchange`` awaits what one client comes to,
``Session`` drives all clients of one link.
"""

import asyncio
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from ipaddress import IPv4Address, IPv4Network
from itertools import islice
from random import Random

import structlog

from d4d.adapters.dhcp.acquisition import Acquisition
from d4d.adapters.dhcp.conflict_detection import ConflictDetector, MakeWatch
from d4d.adapters.dhcp.exchange import Exchange
from d4d.adapters.dhcp.link.base import Deliver, Link, Wants
from d4d.adapters.dhcp.routes import Route, Routes
from d4d.adapters.dhcp.session import Session
from d4d.domain.addressing import Address
from d4d.domain.client_identity import client_id, hostname, synthetic_mac
from d4d.domain.dhcp.client import Client
from d4d.domain.dhcp.effects import Bound, Effect, Late, Lost, Refused
from d4d.domain.dhcp.lease_mapping import confirmed, grant_of, granted_lease, identity_of
from d4d.domain.dhcp.messages import Identity
from d4d.domain.dhcp.states import State
from d4d.domain.errors import BadRequest, D4DError, NoAddress
from d4d.domain.events import EventKind, LeaseEvent
from d4d.domain.leases import Endpoint, Lease, RenewalForm
from d4d.domain.policies import IdentityPolicy
from d4d.domain.pool_state import is_same
from d4d.domain.pools import Pool, PoolId, PoolOptions, PoolRequest
from d4d.domain.ports.clock import Clock
from d4d.domain.ports.events import EventSink, LeaseObserver
from d4d.domain.ports.stores import LeaseStore, ReservationStore
from d4d.domain.reservations import ReservationSet
from d4d.domain.segments import segment_of
from d4d.service_layer.concurrency.keyed_lock import KeyedLock, KeyedLocks, Window
from d4d.service_layer.concurrency.supervised_task import report_failure
from d4d.service_layer.provisional_lease import ProvisionalLease

_SURVEY = 6.0  # seconds for an offer that names the router, where we can do without
_ROUTE_RETRY = 5.0  # seconds until an interface that is not there yet is looked for again
_MOST_STRAYS = 4  # servers of another subnet that are told of at once

MakeLink = Callable[[Route, Wants, Deliver], Link]
Key = tuple[PoolId, Address]


log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class DhcpPolicy:
    """How an operator wants leases to be had."""

    deadline: timedelta = timedelta(seconds=25)
    """For one allocation, from when its turn comes."""
    window: int = 64
    """Acquisitions in flight at once."""
    identity: IdentityPolicy = IdentityPolicy.AUTO
    host: str = ""
    hostname_template: str = "{name}"
    conflict_probe: timedelta = timedelta(milliseconds=50)
    """How long to wait for another user of an address to answer ARP; 0 asks nobody."""


@dataclass(slots=True)
class _Held:
    """A lease that is kept alive: its client, and who hears of it."""

    client: Client
    session: Session
    parent: str | None
    lease: Lease
    holder: LeaseObserver | None = None

    def hear(self, effect: Effect) -> None:
        """Take in what the client came to, and tell."""
        if isinstance(effect, Bound):
            kind = EventKind.REBOUND if effect.rebound else EventKind.RENEWED
            if effect.recovered:
                kind = EventKind.RECOVERED
            self._tell(confirmed(self.lease, effect.grant), kind, "")
        elif isinstance(effect, Lost):
            lost = self.lease.denied()
            self._tell(lost, EventKind.LOST, effect.reason)
        elif isinstance(effect, Late):
            self._tell(self.lease, EventKind.LATE, effect.reason)

    def _tell(self, lease: Lease, kind: EventKind, detail: str) -> None:
        self.lease = lease
        if self.holder is not None:
            self.holder.changed(lease, kind, detail)


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
        store: LeaseStore,
        reservations: ReservationStore | None = None,
    ) -> None:
        """Leases are stored in ``store`` as early as can be; where that fails, by who asked."""
        self._store = store
        self._removals: set[asyncio.Task[None]] = set()
        self._reservations = reservations
        self._routes = routes
        self._make_link = link
        self._events = events
        self._conflicts = ConflictDetector(watch, wait=policy.conflict_probe, report=self._conflict)
        self._policy = policy
        self._clock = clock
        self._random = random.random  # bound once: each client keeps it
        self._route_of: dict[PoolId, Route] = {}
        self._sessions: dict[Route, Session] = {}
        self._held: dict[Key, _Held] = {}
        self._by_client_id: dict[bytes, Key] = {}
        self._routeless: dict[Key, asyncio.TimerHandle] = {}
        self._window = Window(policy.window, who="asking DHCP servers (D4D_DHCP_WINDOW)")
        self._turns = KeyedLocks()

    async def open(self, request: PoolRequest) -> Pool:
        """The pool for ``request``, with the subnet and the router that the servers name."""
        subnet = request.subnet
        if request.version != 4 or (subnet and not isinstance(subnet, IPv4Network)):  # noqa: PLR2004 - IPv4
            raise BadRequest(
                f"the DHCP allocator leases IPv4 addresses only, and none of "
                f"{subnet or 'an IPv6 pool'}: create the network without --ipv6"
            )
        assert subnet is None or isinstance(subnet, IPv4Network)
        options = self._routes.resolve(request.options, subnet)
        offer = await self._survey(self._routes.route(options, subnet), subnet)
        if subnet is None:
            subnet = _subnet_of(offer, options)
        routers = [router for router in offer.terms.routers if router in subnet] if offer else []
        return Pool(
            subnet=subnet,
            range=request.range,
            gateway=routers[0] if routers else None,
            options=options,
        )

    async def allocate(
        self,
        pool: Pool,
        endpoint: Endpoint,
        *,
        address: Address | None,
        hint: Address | None,
        taken: Collection[Address],
    ) -> Lease:
        """A lease that the server acknowledged, with a generation where it is stored already.

        Raises NoAddress, AddressInUse, LinkDown.
        """
        route = self._route(pool)
        session = self._session(route)
        client = self._client(self._identity(pool, endpoint, route), route)
        exchange = Exchange(session, client, now=self._clock)
        async with self._turn(client.identity), self._window:
            reserved = await self._reserved(pool)
            if address is not None and (kept := reserved.against(address, endpoint)):
                kept.refuse()
            acquisition = Acquisition(
                pool=pool,
                client=client,
                exchange=exchange,
                taken=taken,
                wire=self._conflicts.on(route.parent),
                report=partial(self._report, pool.id, endpoint),
                endpoint=endpoint,
                reserved=reserved,
            )
            ahead = ProvisionalLease(
                self._store,
                partial(granted_lease, pool, endpoint, client.identity, self._policy.host),
                self._removals,
            )
            exchange.on_offer = partial(self._offered, client, acquisition, ahead)
            seconds = self._policy.deadline.total_seconds()
            began = asyncio.get_running_loop().time()
            try:
                async with asyncio.timeout(seconds):
                    grant = await acquisition.run(_v4(address), _v4(hint))
                lease = await ahead.stored(grant)
            except TimeoutError:
                exchange.abandon()
                raise NoAddress(acquisition.silence(seconds)) from None
            except BaseException as error:
                exchange.abandon()
                if isinstance(error, asyncio.CancelledError):
                    waited = round(asyncio.get_running_loop().time() - began, 1)
                    error.add_note(f"the DHCP server: {acquisition.silence(waited)}")
                raise
            finally:
                ahead.discard()
        strays = {each.terms.server: each for each in exchange.refused if each.address not in pool}
        for server, refused in islice(strays.items(), _MOST_STRAYS):
            detail = f"{server} offers it, outside {pool.subnet}"
            self._report(pool.id, endpoint, EventKind.MISMATCH, refused.address, detail)
        own = reserved.of(endpoint)
        if address is None and own is not None and own.address != grant.address:
            detail = f"reserved for it, but the DHCP server gave it {grant.address}"
            self._report(pool.id, endpoint, EventKind.MISMATCH, own.address, detail)
        self._hold(_Held(client, session, route.parent, lease))
        return lease

    def adopt(self, pool: Pool, endpoint: Endpoint, address: Address) -> Lease:
        """The lease as it must have been made, but for its times: ``keep`` learns them."""
        identity = self._identity(pool, endpoint, self._route(pool))
        return Lease(
            pool=pool.id,
            address=address,
            endpoint=endpoint,
            acquired_at=self._clock(),
            client_id=identity.client_id,
            hostname=identity.hostname,
        )

    def rename(self, lease: Lease, name: str) -> Lease:
        """The lease with its hostname, told to the server by a renewal before T1."""
        policy, endpoint = self._policy, replace(lease.endpoint, name=name)
        text = hostname(endpoint, template=policy.hostname_template, host=policy.host)
        lease = replace(lease, endpoint=endpoint, hostname=text)
        held = self._held.get((lease.pool, lease.address))
        if held is not None:
            held.lease = lease
            held.client.identity = identity_of(lease)
            if held.client.state is not State.INIT:  # else its turn to resume comes, and says so
                held.session.begin_in_turn(held.client, held.client.renew)
        return lease

    def keep(self, lease: Lease, holder: LeaseObserver, *, confirm: bool = False) -> None:
        """Keep ``lease`` alive; one whose T1 has passed is confirmed at once, or if ``confirm``."""
        key = (lease.pool, lease.address)
        held = self._held.get(key)
        if held is not None and held.lease.endpoint == lease.endpoint:
            held.lease, held.holder = lease, holder
            return
        self._forget(key)
        try:
            route = self._route_to(lease.pool)
        except Exception as error:  # of a bug, too: the next look may not meet it
            if not isinstance(error, D4DError):
                report_failure(error, f"route of {lease.address}")
            log.warning("lease waits for its route", address=str(lease.address), error=str(error))
            self._routeless[key] = asyncio.get_running_loop().call_later(
                _ROUTE_RETRY, partial(self.keep, lease, holder, confirm=confirm)
            )
            return
        session = self._session(route)
        client = self._client(identity_of(lease), route)
        self._hold(_Held(client, session, route.parent, lease, holder))
        session.begin_in_turn(client, partial(client.resume, grant_of(lease), confirm=confirm))

    def forget(self, lease: Lease) -> None:
        """Keep ``lease`` alive no longer; no server hears of it."""
        self._forget((lease.pool, lease.address))

    async def free(self, lease: Lease) -> None:
        """Send the RELEASE, and forget the lease. Raises LinkDown: nothing was sent then."""
        key = (lease.pool, lease.address)
        route = self._route_to(lease.pool)
        identity = identity_of(lease)
        async with self._turn(identity):
            held = self._held.get(key)
            if held is not None and held.lease.generation != lease.generation:
                return  # the address was got anew meanwhile: this RELEASE would free that
            if held is not None and held.client.state is not State.INIT:
                client = held.client
            else:  # the lease is from the store, or its RELEASE could not be sent before
                client = self._client(identity, route)
                client.resume(grant_of(lease), lease.bound_at or lease.acquired_at)
            self._session(route).perform(client, client.release(self._clock()))
            self._forget(key)

    def silences(self) -> dict[str, str]:
        """What is known of each link by which requests go out and nothing comes in."""
        said = {session.name: session.silence for session in self._sessions.values()}
        return {name: silence for name, silence in said.items() if silence}

    async def aclose(self) -> None:
        """Close the links. No server hears of it: the containers go on using their addresses."""
        for timer in self._routeless.values():
            timer.cancel()
        self._routeless.clear()
        for session in self._sessions.values():
            session.close()
        self._sessions.clear()
        self._conflicts.close()
        self._held.clear()
        await asyncio.gather(*self._removals, return_exceptions=True)

    def _offered(
        self,
        client: Client,
        acquisition: Acquisition,
        ahead: ProvisionalLease,
        address: IPv4Address,
    ) -> None:
        if not acquisition.offered(address):
            return
        expected = client.expected(self._clock())
        if expected is not None:
            ahead.offered(expected)

    async def _reserved(self, pool: Pool) -> ReservationSet:
        """What an operator reserved where ``pool`` is. Raises StoreUnavailable."""
        if self._reservations is None:
            return ReservationSet()
        return await self._reservations.reserved(segment_of(pool.id))

    # Routes and sessions

    def _route_to(self, pool_id: PoolId) -> Route:
        return self._route_of.get(pool_id) or self._route(Pool.parse(pool_id))

    def _route(self, pool: Pool) -> Route:
        route = self._route_of.get(pool.id)
        if route is None:
            subnet = pool.subnet
            assert isinstance(subnet, IPv4Network)
            options = self._routes.resolve(pool.options, subnet)
            route = self._route_of[pool.id] = self._routes.route(options, subnet)
        return route

    def _session(self, route: Route) -> Session:
        session = self._sessions.get(route)
        if session is None:
            session = Session(partial(self._make_link, route), clock=self._clock)
            self._sessions[route] = session
        return session

    def _client(self, identity: Identity, route: Route) -> Client:
        client = Client(
            identity,
            random=self._random,
            servers=() if route.is_relay else route.servers,
        )
        if route.is_relay:
            client.forms = (RenewalForm.RENEWING,)
        return client

    def _identity(self, pool: Pool, endpoint: Endpoint, route: Route) -> Identity:
        policy = self._policy

        # Looking at the host's interfaces takes long, and only a name needs to be anchored.
        anchor = self._routes.anchor(route) if endpoint.name else b""

        def identify(by: IdentityPolicy) -> bytes:
            return client_id(
                endpoint,
                policy=by,
                host=policy.host,
                anchor=anchor,
                subnet=pool.subnet,
            )

        identified = identify(policy.identity)
        key = self._by_client_id.get(identified)
        held = self._held.get(key) if key else None
        if held is not None and not is_same(held.lease.endpoint, endpoint):
            identified = identify(IdentityPolicy.MAC)  # its name was another's, now renamed
        return Identity(
            chaddr=endpoint.mac,
            client_id=identified,
            hostname=hostname(endpoint, template=policy.hostname_template, host=policy.host),
        )

    def _turn(self, identity: Identity) -> KeyedLock:
        """To be alone with this MAC and this client id."""
        return self._turns.of(identity.chaddr, identity.client_id)

    async def _survey(self, route: Route, subnet: IPv4Network | None) -> Refused | None:
        """An offer that is not taken, for what it says of the network; None where none came."""
        session = self._session(route)
        mac = synthetic_mac(self._routes.anchor(route))
        client = self._client(Identity(chaddr=mac, client_id=b"\x01" + mac), route)
        exchange = Exchange(session, client, now=self._clock)
        seconds = self._policy.deadline.total_seconds() if subnet is None else _SURVEY
        async with self._turn(client.identity), self._window:
            try:
                async with asyncio.timeout(seconds):
                    await exchange.run(partial(client.start, accepts=_nothing), linger=0.0)
            except TimeoutError:
                pass  # then nothing is known, which the caller may do without
            finally:
                exchange.abandon()
        fitting = [each for each in exchange.refused if subnet is None or each.address in subnet]
        strays = {each.terms.server: each for each in exchange.refused if each not in fitting}
        for server, each in islice(strays.items(), _MOST_STRAYS):
            log.warning(
                "a server offers addresses of another subnet",
                link=session.name,
                server=str(server),
                offered=str(each.address),
                subnet=str(subnet),
            )
        return fitting[0] if fitting else None

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

    # What becomes of the leases

    def _hold(self, held: _Held) -> None:
        key = (held.lease.pool, held.lease.address)
        self._forget(key)
        self._held[key] = held
        self._by_client_id[held.lease.client_id or b""] = key
        held.session.follow(held.client, held.hear)
        self._conflicts.watch_over(held.parent, held)

    def _forget(self, key: Key) -> None:
        if (timer := self._routeless.pop(key, None)) is not None:
            timer.cancel()
        held = self._held.pop(key, None)
        if held is not None:
            held.session.drop(held.client)
            if self._by_client_id.get(held.lease.client_id or b"") == key:
                del self._by_client_id[held.lease.client_id or b""]
            self._conflicts.let_go(held.parent, held.lease)


def _nothing(_: IPv4Address) -> bool:
    return False


def _v4(address: Address | None) -> IPv4Address | None:
    assert address is None or isinstance(address, IPv4Address)
    return address


def _subnet_of(offer: Refused | None, options: PoolOptions) -> IPv4Network:
    if offer is None or offer.terms.subnet_mask is None:
        raise NoAddress(
            f"no DHCP server on {options.parent} said which subnet it serves, and no --subnet was "
            f"given: give --subnet and --gateway, or check that a server answers there"
        )
    return IPv4Network(f"{offer.address}/{offer.terms.subnet_mask}", strict=False)
