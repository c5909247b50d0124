"""The composition root: which adapter serves which port, by the settings, and in what order they
are opened and closed.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from operator import add
from pathlib import Path
from random import Random
from typing import TypeVar

from dependency_injector import containers, providers
from pydantic import SecretStr

from d4d.adapters.dhcp.allocator import DhcpAllocator
from d4d.adapters.dhcp.conflict_detection import ArpMonitor, OnConflict, OwnerOf
from d4d.adapters.dhcp.link.base import Deliver, Link, Wants
from d4d.adapters.dhcp.link.layer2 import Layer2Link
from d4d.adapters.dhcp.link.relay import RelayLink
from d4d.adapters.dhcp.policy import DhcpPolicy
from d4d.adapters.dhcp.routes import Route, Routes
from d4d.adapters.dhcp.server_probe import ServerProbe
from d4d.adapters.docker.engine import DockerEngineClient
from d4d.adapters.docker.plugin_names import PluginNames
from d4d.adapters.extensions import load_extensions
from d4d.adapters.history.store import SqliteHistory
from d4d.adapters.network.arp_watch import ArpWatch
from d4d.adapters.network.interfaces import Interfaces
from d4d.adapters.network.link_news import LinkNews
from d4d.adapters.network.name_followers import NameFollowers
from d4d.adapters.network.neighbours import ArpNeighbours
from d4d.adapters.observability.disturbance_log import DisturbanceLog
from d4d.adapters.observability.event_log import EventLog
from d4d.adapters.observability.event_stream import EventStream
from d4d.adapters.observability.instrumented import (
    InstrumentedAllocator,
    InstrumentedEngine,
    InstrumentedStore,
)
from d4d.adapters.observability.metrics import Metrics
from d4d.adapters.observability.tracing import traces_of
from d4d.adapters.observability.webhook import Webhook
from d4d.adapters.range_allocator import RangeAllocator
from d4d.adapters.stores.memory.hosts import MemoryHosts
from d4d.adapters.stores.memory.store import MemoryLeaseStore
from d4d.adapters.stores.sqlite.store import SqliteLeaseStore
from d4d.adapters.system.clock import AnchoredClock, wall_clock
from d4d.adapters.system.clock_jumps import ClockJumps
from d4d.adapters.system.state_directory import StateDirectory
from d4d.domain.errors import BadRequest
from d4d.domain.policies import IdentityPolicy
from d4d.domain.pools import PoolId
from d4d.domain.ports.allocator import Allocator
from d4d.domain.ports.clock import Clock
from d4d.domain.ports.disturbances import Disturbance, EngineRestarted
from d4d.domain.ports.hosts import HostRegistry, NameRegistry
from d4d.domain.ports.stores import LeaseStore, RangeStore
from d4d.domain.utilization import PoolUtilization
from d4d.lazy_import import import_lazy
from d4d.operations.view import OperatorView
from d4d.service_layer.background_tasks import CALLS_FIRST, BackgroundTasks
from d4d.service_layer.concurrency.supervised_task import until_done
from d4d.service_layer.disturbance_watch import DisturbanceWatch
from d4d.service_layer.event_bus import EventBus
from d4d.service_layer.ipam_service import IpamService
from d4d.service_layer.lost_leases import LostLeaseHandler
from d4d.service_layer.pool_monitor import PoolMonitor
from d4d.service_layer.reconciler import Reconciler
from d4d.service_layer.reservation_service import ReservationService
from d4d.settings.model import BEYOND, Settings

_T = TypeVar("_T")
_HONOURING = frozenset({"range"})  # by its store's ``take``


def _link(
    followers: NameFollowers, src_mac: bool, log_packets: bool
) -> Callable[[Route, Wants, Deliver], Link]:
    """What opens the link of a route."""

    def link(route: Route, wants: Wants, deliver: Deliver) -> Link:
        if route.giaddr is not None:
            return RelayLink(
                route.servers,
                giaddr=route.giaddr,
                link_selection=route.link_selection,
                wants=wants,
                deliver=deliver,
                log_packets=log_packets,
            )
        assert route.parent is not None
        made = Layer2Link(
            route.parent,
            wants=wants,
            deliver=deliver,
            src_mac_container=src_mac,
            log_packets=log_packets,
        )
        return followers.add(made)

    return link


def _watch(
    followers: NameFollowers, parent: str, ours: OwnerOf, on_conflict: OnConflict
) -> ArpMonitor:
    """What watches ARP on a parent."""
    return followers.add(ArpWatch(parent, ours=ours, on_conflict=on_conflict))


def _database(state_dir: Path) -> Path:
    return state_dir / "leases.db"


def _history(state_dir: Path) -> Path:
    return state_dir / "history.db"


def _redis_store(url: str, *, prefix: str, wait: int) -> RangeStore:
    """The store in Redis, whose client takes long to import for those who have none."""
    from d4d.adapters.stores.redis.store import RedisLeaseStore  # noqa: PLC0415 - see above

    return RedisLeaseStore(url, prefix=prefix, wait=wait)


def _days(count: int) -> timedelta:
    return timedelta(days=count)


def _secret(setting: SecretStr | None) -> bytes | None:
    return setting.get_secret_value().encode() if setting else None


def _instrumented(
    allocators: Mapping[str, Allocator], metrics: Metrics, clock: Clock
) -> dict[str, InstrumentedAllocator]:
    return {
        name: InstrumentedAllocator(
            each,
            name,
            metrics,
            clock,
        )
        for name, each in allocators.items()
    }


def _report_to(webhook: Webhook | None) -> Callable[[PoolId, PoolUtilization], None] | None:
    return webhook.nearly_full if webhook else None


def _hosts(store: LeaseStore) -> HostRegistry:
    """A store that hosts share knows them, and has them as ``hosts``."""
    hosts: HostRegistry | None = getattr(store, "hosts", None)
    return hosts or MemoryHosts()


def _names(store: LeaseStore, policy: IdentityPolicy) -> NameRegistry | None:
    """Names that hosts share, where the operator wants that. Raises BadRequest."""
    if policy is not IdentityPolicy.CLUSTER_NAME:
        return None
    names: NameRegistry | None = getattr(store, "names", None)
    if names is None:
        raise BadRequest(
            f"D4D_IDENTITY={policy.value} needs a store that hosts share, and {store!r} is this "
            f"host's alone: set D4D_STORE=redis, or D4D_IDENTITY=auto"
        )
    return names


def _is_parent(ipam: IpamService, parent: str | None, name: str) -> bool:
    """Whether a network of ours stands on the interface, or would."""
    return name == parent or any(name == each.pool.options.parent for each in ipam.pools)


def _where(chosen: object, make: Callable[[], _T]) -> _T | None:
    """What ``make`` makes, where the settings choose it."""
    return make() if chosen else None


class DriverParts(containers.DeclarativeContainer):
    """Everything that one driver is made of."""

    settings = providers.Dependency(instance_of=Settings)

    clock = providers.Singleton(AnchoredClock)
    random = providers.Singleton(Random)  # for xids and delays, which are no secrets
    interfaces = providers.Singleton(Interfaces)
    events = providers.Singleton(EventBus)
    event_log = providers.Singleton(EventLog)
    event_stream = providers.Singleton(EventStream)
    state_dir = providers.Singleton(StateDirectory, settings.provided.state_dir)
    owner = providers.Singleton(state_dir.provided.host.call(settings.provided.host))
    installation = providers.Singleton(state_dir.provided.installation.call())
    traces = providers.Singleton(traces_of, providers.Object(os.environ), host=owner)
    metrics = providers.Singleton(Metrics, traces)

    store = providers.Selector(
        settings.provided.store,
        memory=providers.Singleton(MemoryLeaseStore),
        sqlite=providers.Singleton(
            SqliteLeaseStore, providers.Callable(_database, settings.provided.state_dir)
        ),
        redis=providers.Singleton(
            _redis_store,
            settings.provided.redis_url,
            prefix=settings.provided.redis_prefix,
            wait=settings.provided.redis_wait,
        ),
    )

    names = providers.Callable(_names, store, settings.provided.identity)
    instrumented_store = providers.Singleton(InstrumentedStore, store, metrics)

    routes = providers.Singleton(
        Routes,
        interfaces=interfaces,
        servers=settings.provided.dhcp_server,
        mode=settings.provided.dhcp_mode,
        parent=settings.provided.parent,
        listen_addr=settings.provided.listen_addr,
        keep_anchor=state_dir.provided.anchor,
    )
    dhcp_policy = providers.Singleton(
        DhcpPolicy,
        deadline=settings.provided.dhcp_deadline,
        window=settings.provided.dhcp_window,
        identity=settings.provided.identity,
        host=owner,
        hostname_template=settings.provided.hostname,
        conflict_probe=settings.provided.conflict_probe,
    )
    followers = providers.Singleton(NameFollowers)
    watch = providers.Factory(partial, _watch, followers)
    link = providers.Callable(_link, followers, settings.provided.src_mac, settings.provided.debug)
    probe = providers.Factory(ServerProbe, routes=routes, link=link, random=random)
    dhcp_allocator = providers.Singleton(
        DhcpAllocator,
        routes=routes,
        link=link,
        watch=watch,
        policy=dhcp_policy,
        events=events,
        clock=clock,
        random=random,
    )
    range_allocator = providers.Singleton(
        RangeAllocator,
        store=instrumented_store,
        owner=owner,
        clock=clock,
        rest=settings.provided.rest,
    )
    allocators = providers.Dict(dhcp=dhcp_allocator, range=range_allocator)

    neighbours = providers.Singleton(
        ArpNeighbours,
        watch,
        interfaces=interfaces,
        parent=settings.provided.parent,
        asks=providers.Callable(bool, settings.provided.conflict_probe),
    )

    instrumented_allocators = providers.Singleton(_instrumented, allocators, metrics, clock)
    history_file = providers.Singleton(
        SqliteHistory,
        providers.Callable(_history, settings.provided.state_dir),
        host=owner,
        keep=providers.Callable(_days, settings.provided.history_days),
        clock=clock,
    )
    history = providers.Callable(_where, settings.provided.history_days, history_file.provider)
    webhook_client = providers.Singleton(
        Webhook,
        settings.provided.webhook_url.secret,
        secret=providers.Callable(_secret, settings.provided.webhook_secret),
        host=owner,
        clock=clock,
        metrics=metrics,
    )
    webhook = providers.Callable(_where, settings.provided.webhook_url, webhook_client.provider)

    ipam = providers.Singleton(
        IpamService,
        store=instrumented_store,
        allocators=instrumented_allocators,
        default_allocator=settings.provided.allocator,
        events=events,
        clock=clock,
        owner=owner,
        hosts=providers.Callable(_hosts, store),
        installation=installation,
        grace=settings.provided.host_grace,
        neighbours=neighbours,
        wall=providers.Object(wall_clock),
        hold=settings.provided.hold,
        reservations=instrumented_store,
        names=names,
        honouring=providers.Object(_HONOURING),
        subnet_at=interfaces.provided.subnet_at,
        bridge_of=interfaces.provided.bridge_of,
        driver=settings.provided.plugin_socket.stem,
    )

    plugin_names = providers.Singleton(PluginNames, settings.provided.plugin_socket)
    containers = providers.Singleton(
        DockerEngineClient,
        settings.provided.docker_socket,
        driver=settings.provided.plugin_socket.stem,
        is_ours=plugin_names.provided.is_ours,
    )
    instrumented_engine = providers.Singleton(InstrumentedEngine, containers, metrics)
    reservation_service = providers.Singleton(
        ReservationService,
        ipam=ipam,
        store=instrumented_store,
        containers=instrumented_engine,
        clock=clock,
    )
    reconciler = providers.Singleton(
        Reconciler,
        ipam=ipam,
        containers=instrumented_engine,
        clock=clock,
        grace=settings.provided.reconcile,
    )
    lost_leases = providers.Singleton(
        LostLeaseHandler,
        action=settings.provided.on_lost,
        grace=settings.provided.on_lost_after,
        leasing=ipam.provided.leasing,
        containers=instrumented_engine,
    )
    view = providers.Singleton(
        OperatorView,
        ipam=ipam,
        reservation_service=reservation_service,
        host=owner,
        clock=clock,
        stream=event_stream,
        history=history,
        webhook=webhook,
        metrics=metrics,
        traces=traces,
        store=instrumented_store,
        allocators=instrumented_allocators,
        interfaces=interfaces,
        silences=dhcp_allocator.provided.silences,
    )
    background = providers.Singleton(
        BackgroundTasks,
        reconciler=reconciler,
        containers=instrumented_engine,
        interval=settings.provided.reconcile,
        ipam=ipam,
        reclaim=settings.provided.reclaim,
    )
    pool_monitor = providers.Singleton(
        PoolMonitor,
        view.provided.fills,
        percent=settings.provided.pool_nearly_full,
        report=providers.Callable(_report_to, webhook),
    )
    disturbances = providers.Singleton(
        DisturbanceWatch,
        providers.List(providers.Singleton(LinkNews), providers.Singleton(ClockJumps)),
    )
    disturbance_log = providers.Singleton(
        DisturbanceLog,
        providers.Callable(_is_parent, ipam, settings.provided.parent).provider,
    )
    deadline = providers.Callable(add, settings.provided.dhcp_deadline, BEYOND)


def _add_third_party(container: DriverParts) -> None:
    stores, allocators = container.store.providers, container.allocators.kwargs
    for name, make in load_extensions("d4d.stores", known=stores.__contains__).items():
        store = providers.Singleton(make, settings=container.settings)
        container.store.set_providers(**{**container.store.providers, name: store})
    for name, make in load_extensions("d4d.allocators", known=allocators.__contains__).items():
        allocator = providers.Singleton(
            make,
            settings=container.settings,
            store=container.store,
            owner=container.owner,
            clock=container.clock,
        )
        container.allocators.add_kwargs({name: allocator})


def compose(settings: Settings) -> DriverParts:
    """The container for ``settings``. Raises BadRequest where they choose what is not there."""
    container = DriverParts(settings=settings)
    _add_third_party(container)
    for name, chosen, known in (
        ("D4D_STORE", settings.store, container.store.providers),
        ("D4D_ALLOCATOR", settings.allocator, container.allocators.kwargs),
    ):
        if chosen not in known:
            raise BadRequest(f"{name}={chosen}: known are {', '.join(sorted(known))}")
    return container


@dataclass(frozen=True, slots=True, kw_only=True)
class Driver:
    """A driver while it is open."""

    ipam: IpamService
    disturbances: DisturbanceWatch
    """Hears of Docker that it was started."""
    view: OperatorView
    deadline: timedelta
    """For a whole call: dockerd waits without end, and holds the container's lock meanwhile."""


def _disturbed(parts: DriverParts, disturbance: Disturbance) -> None:
    """What was decided before is decided anew; what runs out is confirmed."""
    if isinstance(disturbance, EngineRestarted):
        parts.background().docker_restarted()
    for allocator in parts.allocators().values():
        if (disturbed := getattr(allocator, "disturbed", None)) is not None:
            disturbed(disturbance)


async def _keep_anchors(parts: DriverParts) -> None:
    """Have the anchors of all parents kept before one gets another MAC; an absent one's later."""
    await asyncio.sleep(CALLS_FIRST)
    parents = {each.pool.options.parent for each in parts.ipam().pools} - {None}
    if parents:
        await asyncio.to_thread(import_lazy)  # to look at interfaces
    routes = parts.routes()
    for parent in parents:
        with suppress(BadRequest):
            routes.anchor(Route(parent=parent))


@asynccontextmanager
async def open_driver(parts: DriverParts) -> AsyncIterator[Driver]:
    """A driver that serves from the state directory, which is its alone until it ends.

    What is opened here is closed here, the last first. Raises D4DError.
    """
    async with AsyncExitStack() as stack:
        state_dir = parts.state_dir()
        state_dir.lock()
        stack.callback(state_dir.close)
        stack.push_async_callback(parts.traces().aclose)
        stack.push_async_callback(parts.store().aclose)
        for allocator in parts.allocators().values():
            if (aclose := getattr(allocator, "aclose", None)) is not None:  # no part of the port
                stack.push_async_callback(aclose)
        stack.push_async_callback(parts.containers().aclose)
        events = parts.events()
        for listener in (parts.event_log(), parts.metrics(), parts.event_stream()):
            events.add(listener)
        for writer in (parts.history(), parts.webhook()):
            if writer is not None:
                events.add(writer)
                writer.start()
                stack.push_async_callback(writer.aclose)
        stack.push_async_callback(asyncio.sleep, 0)  # the last events are heard
        ipam, lost_leases = parts.ipam(), parts.lost_leases()
        events.add(lost_leases)
        stack.push_async_callback(lost_leases.aclose)
        stack.push_async_callback(ipam.aclose)
        disturbances = parts.disturbances()
        # Sockets go over first: what is sent of leases then goes out by the right wire.
        for notify in (parts.disturbance_log(), parts.metrics().disturbed, parts.followers()):
            disturbances.add(notify)
        disturbances.add(partial(_disturbed, parts))
        stack.push_async_callback(disturbances.aclose)
        disturbances.start()  # before the first route is decided
        await ipam.open()
        background, pool_monitor = parts.background(), parts.pool_monitor()
        for tasks in (background, pool_monitor):
            stack.push_async_callback(tasks.aclose)
            tasks.start()
        anchors = until_done("anchors of client ids", partial(_keep_anchors, parts))
        stack.callback(anchors.cancel)
        events.add(pool_monitor)
        yield Driver(
            ipam=ipam,
            disturbances=disturbances,
            view=parts.view(),
            deadline=parts.deadline(),
        )
