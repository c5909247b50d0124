"""The verbs of Docker's IPAM protocol, on pools, reservations and leases.

Docker repeats itself, asks again after a crash, forgets to tell, and never tells twice. So every
verb may be repeated; what is handed out is in the store before Docker hears of it; and a pool that
nobody remembers is rebuilt from its id.
"""

from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import replace
from datetime import timedelta
from functools import partial

from d4d.domain.addressing import Address, Subnet
from d4d.domain.bridges import Bridge
from d4d.domain.errors import AddressInUse, BadRequest, NoAddress, PoolOverlap, UnknownPool
from d4d.domain.leases import Endpoint
from d4d.domain.pool_state import PoolState
from d4d.domain.pools import Pool, PoolId, PoolRecord, PoolRequest, Purpose
from d4d.domain.ports.allocator import Allocator
from d4d.domain.ports.clock import Clock
from d4d.domain.ports.events import EventSink
from d4d.domain.ports.hosts import HostRegistry, NameRegistry
from d4d.domain.ports.neighbours import Neighbours
from d4d.domain.ports.reservations import ReservationStore
from d4d.domain.ports.stores import LeaseStore
from d4d.domain.stored import StoreContents
from d4d.service_layer.concurrency.keyed_lock import KeyedLocks
from d4d.service_layer.concurrency.patience import patiently
from d4d.service_layer.heartbeat import HeartbeatService
from d4d.service_layer.host_drain import HostDrain
from d4d.service_layer.host_watch import HostWatch
from d4d.service_layer.lease_service import LeaseService
from d4d.service_layer.ledger import Ledger
from d4d.service_layer.pool_registry import PoolRegistry


class IpamService:
    """The driver: what Docker asks, and what becomes of it."""

    def __init__(
        self,
        *,
        store: LeaseStore,
        allocators: Mapping[str, Allocator],
        default_allocator: str,
        events: EventSink,
        clock: Clock,
        owner: str,
        hosts: HostRegistry,
        installation: str,
        grace: timedelta,
        neighbours: Neighbours,
        wall: Clock | None = None,
        hold: timedelta = timedelta(0),
        reservations: ReservationStore | None = None,
        names: NameRegistry | None = None,
        honouring: Collection[str] = (),
        subnet_at: Callable[[Address], Subnet | None] = lambda _: None,
        bridge_of: Callable[[str | None, Subnet], Bridge | None] = lambda *_: None,
        driver: str = "talkingdata",
    ) -> None:
        """``hosts`` are those of the store; one not heard of for ``grace`` may lose its leases.

        ``neighbours`` are asked before who still uses them. ``wall`` is this host's clock that may
        be set, where ``clock`` is another.
        ``installation`` tells ``owner`` from another host that has its name by mistake.
        ``names`` are those that hosts share, if they do. ``honouring`` are allocators whose store
        sees to reservations as it chooses. ``subnet_at`` finds this host's subnet of
        a network address, for the seed's pool ids. ``bridge_of`` finds this host's bridge that a
        network on that parent, with that subnet, may stand on; ``driver`` is what Docker's users
        call us.
        """
        self._bridge_of = bridge_of
        self._driver = driver
        self._withheld: dict[PoolId, Address | None] = {}
        """The routers that were learnt for pools on bridges, and not handed out: for the error."""
        self._opening = KeyedLocks()
        self._pools = PoolRegistry(
            allocators=allocators, default_allocator=default_allocator, subnet_at=subnet_at
        )
        ledger = Ledger(store=store, pools=self._pools, events=events, clock=clock, owner=owner)
        self.leasing = LeaseService(
            pools=self._pools,
            ledger=ledger,
            clock=clock,
            hold=hold,
            reservations=reservations,
            names=names,
            honouring=honouring,
        )
        """The leases, for those who ask outside of Docker's calls."""
        self.heartbeat = HeartbeatService(
            load=ledger.load,
            hosts=hosts,
            owner=owner,
            installation=installation,
            clock=clock,
            watch=HostWatch(hosts, clock=clock, wall=wall or clock, grace=grace),
            grace=grace,
            take_up=self._take_up,
            compare=self.leasing.compare,
        )
        """Whether the leases are known to be ours."""
        self.host_drain = HostDrain(
            ledger=ledger,
            hosts=hosts,
            allocator=self._pools.allocator,
            neighbours=neighbours,
            events=events,
            clock=clock,
            watch=HostWatch(hosts, clock=clock, wall=wall or clock, grace=grace),
            owner=owner,
            grace=grace,
        )
        """The other hosts."""
        self._told_early: list[Callable[[], Awaitable[None]]] = []

    async def open(self) -> None:
        """Take up what the store holds: pools, leases with their timers, releases still to send.

        Where it is away, that is done when it is back: see ``HeartbeatService``.
        Raises StoreUnavailable, StoreTooNew.
        """
        await self.heartbeat.open()

    async def _take_up(self, contents: StoreContents) -> None:
        for record in contents.pools:
            self._pools.add(record)
        self.leasing.open(contents.leases)
        told, self._told_early = self._told_early, []
        for release in told:
            await release()

    async def aclose(self) -> None:
        """Stop. Nothing is released: the containers go on using their addresses."""
        await self.leasing.aclose()

    @property
    def pools(self) -> list[PoolRecord]:
        """Every pool that a network uses, or of which leases are held."""
        return [holdings.record for holdings in self._pools if holdings.is_used]

    # Pools

    async def request_pool(self, request: PoolRequest) -> Pool:
        """The pool for ``request``, used by one network more.

        On a bridge of the host's it has no gateway: see ``bridges``. Raises BadRequest,
        PoolOverlap, AddressInUse, NoAddress where subnet or gateway can't be learnt.
        """
        await patiently(self.heartbeat.confirm)
        allocator = self._pools.allocator_named(request.options.allocator)
        pool = await allocator.open(request)
        bridge = self._bridge_of(pool.options.parent, pool.subnet)
        if bridge is not None:
            if request.subnet is None:  # and so, Docker takes no --gateway either
                bridge.refuse(pool, router=pool.gateway, driver=self._driver)
            router, pool = pool.gateway, replace(pool, gateway=None)
            self._withheld[pool.id] = router
        async with self._opening.of("the creation of networks"):
            holdings = self._pools.alike(pool)
            if holdings is None:
                self._pools.refuse_overlap(pool)
                holdings = self._pools.at(pool.id)
            elif request.subnet is None:  # Docker would ask again, and get the same, for ever
                raise PoolOverlap(
                    f"{pool.subnet}, which the DHCP server on {pool.options.parent} serves, is "
                    f"another network's, or Docker refuses it as the host has a route into it: "
                    f"give --subnet={pool.subnet}"
                )
            if holdings.users:
                self._refuse_leased_gateway(holdings)
            holdings.users += 1
            await self.leasing.ledger.save_pool_first(holdings, undo=partial(_leave, holdings))
        return holdings.pool if bridge is None else pool

    async def release_pool(self, pool_id: str) -> None:
        """One network less uses the pool; with the last one its reservations go.

        Leases stay: they go when Docker releases them, or when their containers prove to be gone.
        An unknown pool is no error.
        """
        if not self.heartbeat.is_loaded:
            self._told_early.append(partial(self.release_pool, pool_id))
            return
        holdings = self._pools.find(pool_id)
        if holdings is None:
            return
        _leave(holdings)
        await self.leasing.ledger.save_pool(holdings)

    async def forget_pool(self, pool_id: PoolId) -> None:
        """No network has the pool, though Docker's release of it was not heard."""
        holdings = self._pools.find(pool_id)
        if holdings is not None and holdings.users:
            holdings.users = 0
            holdings.clear_reservations()
            await self.leasing.ledger.save_pool(holdings)

    async def adopt_pool(
        self, request: PoolRequest, reserved: Mapping[Address, Purpose]
    ) -> PoolState:
        """The pool of a network that Docker has, as it was before our store was lost.

        Raises what ``request_pool`` does.
        """
        pool = await self._pools.allocator_named(request.options.allocator).open(request)
        holdings = self._pools.alike(pool)
        if holdings is None:
            self._pools.refuse_overlap(pool)
            holdings = self._pools.at(pool.id)
            holdings.users = 1
            for address, purpose in reserved.items():
                holdings.reserve(address, purpose)
            await self.leasing.ledger.save_pool_first(holdings, undo=_nothing)
        return holdings

    # Reservations

    async def request_gateway(self, pool_id: str, address: Address | None) -> str:
        """Reserve the network's gateway; without ``address`` it is the DHCP server's router.

        On a bridge of the host's it must be given: see ``bridges``. Returns it in CIDR. Raises
        UnknownPool, BadRequest, AddressInUse, NoAddress.
        """
        holdings = await self._known(pool_id)
        if address is None:
            self._refuse_to_choose(holdings.pool)
        address = address or holdings.pool.gateway or await self._learn_gateway(holdings.pool)
        lease = holdings.lease(address)
        if lease is not None:
            raise AddressInUse(f"gateway {address} is leased to {lease.endpoint}: choose another")
        return await self._reserve(holdings, address, Purpose.GATEWAY)

    async def request_auxiliary(self, pool_id: str, address: Address) -> str:
        """Reserve an auxiliary address.

        A container that Docker replays would come in the same form; but no engine replays to a
        driver that asks for none, and what is answered here is released with its network, though
        the container runs on. Returns it in CIDR. Raises UnknownPool, BadRequest, AddressInUse.
        """
        holdings = await self._known(pool_id)
        lease = holdings.lease(address)
        if lease is not None:
            raise AddressInUse(
                f"auxiliary address {address} is leased to {lease.endpoint}: choose another, or "
                f"create the network while that container does not run"
            )
        return await self._reserve(holdings, address, Purpose.AUXILIARY)

    # Endpoints

    async def request_address(
        self, pool_id: str, endpoint: Endpoint, address: Address | None
    ) -> str:
        """A lease for ``endpoint``: the one it has, or a new one, of ``address`` if given.

        Returns it in CIDR, once it is durable. Raises UnknownPool, BadRequest, AddressInUse,
        NoAddress, LinkDown, StoreUnavailable.
        """
        holdings = await self._known(pool_id)
        if address is not None:
            holdings.pool.refuse_unusable(address)
        lease = await self.leasing.request(holdings, endpoint, address)
        return holdings.pool.cidr(lease.address)

    async def release_address(self, pool_id: str, address: Address) -> None:
        """Docker takes back one request for the address; what is unknown is no error.

        A lease that was answered to one request is marked in the store, and the server is told
        behind the answer. One that was answered to more stays until Docker's API proves that no
        container has it: see ``Reconciler``.
        """
        if not self.heartbeat.is_loaded:
            self._told_early.append(partial(self.release_address, pool_id, address))
            return
        holdings = self._pools.find(pool_id)
        if holdings is None:
            return
        lease = holdings.lease(address)
        if holdings.unreserve(address):
            if lease is not None:  # reserved while a server was asked: nobody knows which is meant
                holdings.claims.doubt(address)
            await self.leasing.ledger.save_pool(holdings)
        elif not holdings.claims.release(address):
            if lease is None and holdings.claims.is_given_back(address):
                holdings.claims.forget(address)
            await self.leasing.ledger.save_pool(holdings)
        elif lease is not None:
            await self.leasing.release(holdings, lease)

    # Within

    async def _known(self, pool_id: str) -> PoolState:
        """The pool of that id, rebuilt from it if nobody remembers.

        Raises UnknownPool, StoreUnavailable where it is not known what is held here.
        """
        await patiently(self.heartbeat.confirm)
        holdings = self._pools.find(pool_id)
        if holdings is None:
            try:
                pool = self._pools.parse(pool_id)
                self._pools.allocator(pool)
            except BadRequest as error:
                raise UnknownPool(
                    f"pool id {pool_id!r} is none of ours ({error}): remove the network and "
                    f"create it again"
                ) from error
            holdings = self._pools.at(pool.id)
            holdings.users = 1
            await self.leasing.ledger.save_pool_first(holdings, undo=_nothing)
        return holdings

    async def _reserve(self, holdings: PoolState, address: Address, purpose: Purpose) -> str:
        holdings.pool.refuse_unusable(address)
        holdings.reserve(address, purpose)
        await self.leasing.ledger.save_pool_first(
            holdings, undo=partial(holdings.unreserve, address)
        )
        return holdings.pool.cidr(address)

    def _refuse_leased_gateway(self, holdings: PoolState) -> None:
        """Raises AddressInUse where a container has what would be one more network's gateway."""
        gateway = holdings.pool.gateway
        lease = holdings.lease(gateway) if gateway is not None else None
        if lease is not None:
            raise AddressInUse(
                f"{gateway}, the gateway of {holdings.pool.subnet} where a network names no other, "
                f"is leased to {lease.endpoint}: remove that container before you create the "
                f"network, and start it again after"
            )

    def _refuse_to_choose(self, pool: Pool) -> None:
        """Raises BadRequest where Docker may put the gateway on a bridge of this host's."""
        bridge = self._bridge_of(pool.options.parent, pool.subnet)
        if bridge is not None:
            unlearnt = replace(pool, gateway=None)
            router = self._withheld.get(unlearnt.id, pool.gateway)
            bridge.refuse(unlearnt, router=router, driver=self._driver)

    async def _learn_gateway(self, pool: Pool) -> Address:
        request = PoolRequest(subnet=pool.subnet, range=pool.range, options=pool.options)
        learnt = await self._pools.allocator(pool).open(request)
        if learnt.gateway is None:
            raise NoAddress(
                f"no DHCP server on {pool.options.parent or 'the way to it'} named a router of "
                f"{pool.subnet}: give the network's gateway with --gateway"
            )
        return learnt.gateway


def _nothing() -> None:
    """What is to be undone where nothing was told."""


def _leave(holdings: PoolState) -> None:
    """One network less uses the pool; with the last one its reservations go."""
    holdings.users = max(holdings.users - 1, 0)
    if not holdings.users:
        holdings.clear_reservations()
