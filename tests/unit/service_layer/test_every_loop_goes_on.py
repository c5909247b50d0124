"""An exception ends nothing but what it happened in: no loop, no timer, no neighbour.

Each loop beside Docker's calls meets one here, as it came in the field: no file is left (EMFILE).
"""

import ast
import asyncio
import errno
import os
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from datetime import datetime, timedelta
from functools import partial
from ipaddress import IPv4Address
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any, cast

import pytest
import structlog

from d4d.adapters.dhcp.exchange import Exchange
from d4d.adapters.dhcp.routes import Route
from d4d.adapters.dhcp.session import Session
from d4d.adapters.observability.log_setup import log_failures
from d4d.domain.addressing import MacAddress
from d4d.domain.dhcp.client import Client
from d4d.domain.dhcp.effects import Effect, Effects
from d4d.domain.dhcp.messages import Identity, Message, MessageType, Unreadable
from d4d.domain.events import EventKind, LeaseEvent
from d4d.domain.leases import Lease
from d4d.domain.policies import ReclaimPolicy
from d4d.domain.pools import PoolId
from d4d.domain.ports.docker import Attachment, Change, ContainerEvent
from d4d.domain.utilization import PoolUtilization
from d4d.service_layer.background_tasks import BackgroundTasks
from d4d.service_layer.concurrency.supervised_task import failing, forever, until_done
from d4d.service_layer.event_bus import EventBus
from d4d.service_layer.pool_monitor import PoolMonitor
from d4d.service_layer.reconciler import Reconciler
from d4d.service_layer.write_behind import WriteBehind
from tests.support.driver_harness import NET, A, B, Driver
from tests.support.fake_dhcp_server import FakeDhcpServer
from tests.support.fake_ports import FailingStore
from tests.support.virtual_time import NOON, FakeClock, settle
from tests.unit.service_layer.test_reconciler import FakeContainers
from tests.unit.service_layer.test_release_queue import RELEASED, Bench, another

VIRTUAL_TIME = True

SOURCE = Path(__file__).parents[3] / "src" / "d4d"


class Fault:
    """Raises EMFILE for as many times as it is told to, and counts what got through."""

    def __init__(self, times: int = 1) -> None:
        self.times = times
        self.passed = 0

    def __call__(self, *_: object) -> None:
        if self.times:
            self.times -= 1
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        self.passed += 1


@pytest.fixture
def logged() -> Iterator[list[Any]]:
    with structlog.testing.capture_logs() as lines:
        yield lines


@pytest.fixture(autouse=True)
async def handler() -> AsyncIterator[None]:
    loop = asyncio.get_running_loop()
    log_failures(loop)
    yield
    loop.set_exception_handler(None)


def failures(logged: list[Any]) -> list[str]:
    return [line["task"] for line in logged if line["event"] == "background_task_failed"]


# The supervisor


async def test_a_loop_goes_on_after_an_exception_and_says_meanwhile_that_it_fails() -> None:
    fault = Fault(times=3)

    async def step() -> None:
        fault()
        await asyncio.sleep(1)

    task = forever("a loop", step)
    await settle(0.5)
    (failure,) = failing()
    assert (failure.name, failure.times) == ("a loop", 1)
    assert isinstance(failure.error, OSError)
    await settle(2.0)
    assert [each.times for each in failing()] == [2]
    await settle(10.0)
    assert failing() == []
    assert fault.passed
    assert not task.done()
    task.cancel()


async def test_it_backs_off_up_to_a_minute_and_is_quick_again_after_a_success() -> None:
    began = list[float]()

    async def step() -> None:
        began.append(asyncio.get_running_loop().time())
        raise ZeroDivisionError

    task = forever("a loop", step)
    await settle(400)
    task.cancel()
    pauses = [round(after - before) for before, after in pairwise(began)]
    assert pauses[:8] == [1, 2, 4, 8, 16, 32, 60, 60]


async def test_a_step_that_listens_on_for_a_while_does_not_fail_any_more() -> None:
    fault = Fault(times=2)

    async def step() -> None:
        fault()
        await asyncio.Event().wait()

    task = forever("a loop", step)
    await settle(5)
    assert [each.times for each in failing()] == [2]
    await settle(10)
    assert failing() == []
    task.cancel()


async def test_a_cancellation_ends_it_and_nothing_is_said_to_fail() -> None:
    task = forever("a loop", partial(asyncio.sleep, 1))
    await settle(5)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert task.cancelled()
    assert failing() == []


async def test_what_ends_by_itself_is_begun_anew_until_it_does() -> None:
    fault = Fault(times=2)

    async def work() -> None:
        fault()

    task = until_done("work", work)
    await settle(10)
    assert task.done()
    assert fault.passed == 1


async def test_a_step_that_never_waits_leaves_the_others_their_turn() -> None:
    async def step() -> None:
        """Nothing to do."""

    task = forever("a loop", step)
    await asyncio.wait_for(asyncio.sleep(0), 1)
    task.cancel()


# Each loop


class FaultyContainers(FakeContainers):
    def __init__(self, *, networks: Fault, attachments: Fault, started: Fault) -> None:
        super().__init__()
        self._networks, self._attachments, self._started = networks, attachments, started
        self.heard = 0

    async def attachments(self) -> tuple[Attachment, ...]:
        self._attachments()
        return await super().attachments()

    async def started(self) -> AsyncIterator[ContainerEvent]:
        self._started()
        yield ContainerEvent(change=Change.MISSED)
        self.heard += 1
        await asyncio.Event().wait()


NEVER = timedelta(days=1)


def background_of(
    driver: Driver, docker: FakeContainers, *, interval: timedelta = timedelta(seconds=10)
) -> BackgroundTasks:
    background = BackgroundTasks(
        reconciler=Reconciler(
            ipam=driver.ipam, containers=docker, clock=driver.clock, grace=timedelta(0)
        ),
        containers=docker,
        interval=interval,
        ipam=driver.ipam,
        reclaim=ReclaimPolicy.MANUAL,
    )
    background._has_imported = True  # a thread's import takes no virtual time
    return background


async def test_the_heartbeat(logged: list[Any]) -> None:
    async with Driver() as driver:
        fault = Fault()

        class FaultyHosts:
            def __getattr__(self, name: str) -> Any:
                return getattr(hosts, name)

            async def beat(self, *given: Any, **named: Any) -> Any:
                fault()
                return await hosts.beat(*given, **named)

        hosts = driver.ipam.heartbeat._hosts
        driver.ipam.heartbeat._hosts = cast(Any, FaultyHosts())
        background = background_of(driver, FakeContainers(), interval=timedelta(0))
        background.start()
        await settle(120)
        await background.aclose()
    assert failures(logged) == ["heartbeat"]
    assert fault.passed > 1


async def test_the_reconciliation(logged: list[Any]) -> None:
    docker = FaultyContainers(networks=Fault(0), attachments=Fault(), started=Fault(0))
    async with Driver() as driver:
        await driver.run(await driver.pool(), A)
        background = background_of(driver, docker)
        background.start()
        await settle(60)
        await background.aclose()
        assert driver.allocator.freed  # its container is gone, as two later looks said
    assert failures(logged)[:1] == ["reconciliation"] or failures(logged)[:1] == [
        "containers' names"
    ]


async def test_a_lease_whose_release_fails_keeps_no_other_from_its_own(logged: list[Any]) -> None:
    async with Driver() as driver:
        pool = await driver.pool()
        first = await driver.run(pool, A)
        await driver.run(pool, B)
        release, fault = driver.ipam.leasing.release, Fault()

        async def faulty(holdings: Any, lease: Lease, reason: str = "") -> None:
            if first.startswith(f"{lease.address}/"):
                fault()
            await release(holdings, lease, reason)

        driver.ipam.leasing.release = faulty  # type: ignore[method-assign]  # a bug of one lease
        background = background_of(driver, FakeContainers())
        background.start()
        await settle(60)
        await background.aclose()
        assert len(driver.allocator.freed) == 2
    assert failures(logged) == [f"release of {first.partition('/')[0]}"]


async def test_dockers_events(logged: list[Any]) -> None:
    docker = FaultyContainers(networks=Fault(0), attachments=Fault(0), started=Fault())
    async with Driver() as driver:
        background = background_of(driver, docker)
        background.start()
        await settle(10)
        await background.aclose()
    assert failures(logged) == ["Docker's events"]
    assert docker.heard == 1


async def test_names_are_learnt_though_the_first_look_failed(logged: list[Any]) -> None:
    docker = FaultyContainers(networks=Fault(0), attachments=Fault(2), started=Fault(0))
    async with Driver() as driver:
        address = await driver.run(await driver.pool(), A)
        docker.runs(A, address, name="web")
        background = background_of(driver, docker, interval=NEVER)
        background.start()
        await settle(10)
        await background.aclose()
        (lease,) = driver.ipam.leasing.leases
        assert lease.endpoint.name == "web"
    assert sorted(failures(logged)) == ["containers' names", "reconciliation"]


async def test_releases_on_their_way(logged: list[Any]) -> None:
    async with Bench() as bench:
        clock = bench.queue._clock
        fault = Fault()

        def faulty() -> Any:
            fault()
            return clock()

        bench.queue._clock = faulty
        bench.queue.add(RELEASED)
        await settle(10.0)
        bench.queue.add(another(2))
        await settle(10.0)
    assert [address for address, _ in bench.tries] == ["192.168.59.1", "192.168.59.2"]
    assert failures(logged) == ["giving back"]


async def test_writes_behind_and_a_neighbour_is_written_meanwhile(logged: list[Any]) -> None:
    faulty = another(3)
    store = FailingStore()
    stored = [await store.add(lease) for lease in (faulty, another(4))]
    written, fault = list[Lease](), Fault(times=3)

    class Faulty:
        async def update(self, lease: Lease) -> None:
            if lease.address == faulty.address:
                fault()
            written.append(lease)

    async def unasked(_: Lease) -> None:
        """Nothing is superseded here."""

    writes = WriteBehind(Faulty(), "host-a", on_superseded=unasked)  # type: ignore[arg-type]  # all that is asked here
    for lease in stored:
        writes.add(lease)
    await settle(0.5)
    assert [str(lease.address) for lease in written] == ["192.168.59.4"]
    assert writes.is_held_up
    await settle(10)
    assert {str(lease.address) for lease in written} == {"192.168.59.3", "192.168.59.4"}
    assert len(writes) == 0
    assert failures(logged) == ["write behind of 192.168.59.3"]  # once, however often
    await writes.aclose()


async def test_the_watch_over_pools_looks_again_at_what_it_could_not(logged: list[Any]) -> None:
    fault = Fault()

    def fills() -> Mapping[PoolId, PoolUtilization]:
        fault()
        return {}

    watch = PoolMonitor(fills, percent=90, report=None)
    watch.start()
    await settle(5)
    assert fault.passed == 1
    assert failures(logged) == ["pool watch"]
    await watch.aclose()


# The DHCP session: its timer, and its listeners


class Clients:
    """Three bound clients on one session; the first meets a fault."""

    def __init__(self) -> None:
        self.server = FakeDhcpServer()
        self.clock = FakeClock()
        self.session = Session(partial(self.server.link, Route(parent="eth0")), clock=self.clock)
        self.heard: dict[int, list[Effect]] = {1: [], 2: [], 3: []}
        self._random = Random(7)

    async def bind(self, number: int, listener: Callable[[Effect], None] | None = None) -> Client:
        mac = MacAddress(bytes([2, 66, 0, 0, 0, number]))
        client = Client(Identity(chaddr=mac), random=self._random.random)
        exchange = Exchange(self.session, client, now=self.clock)
        assert await exchange.run(client.start, linger=None) is not None
        self.session.follow(client, listener or self.heard[number].append)
        return client


async def test_a_clients_waking_that_fails_is_its_own(logged: list[Any]) -> None:
    clients = Clients()
    bad = await clients.bind(1)
    await clients.bind(2)
    fault = Fault()
    now, bad_random = clients.clock, bad._random

    def faulty() -> float:
        fault()
        return bad_random()

    bad._random = faulty
    await settle(3600)
    clients.session.close()
    assert len(clients.heard[2]) >= 2  # renewed at half of each hour
    assert len(clients.heard[1]) >= 1  # woken again a bit later
    assert len(failures(logged)) == 1
    assert now() > NOON


async def test_a_send_that_fails_by_a_bug_is_made_again_when_it_is_due(logged: list[Any]) -> None:
    clients = Clients()
    await clients.bind(1)
    await clients.bind(2)
    fault = Fault(times=1)
    (link,) = clients.server.links
    broadcast = link.broadcast

    def faulty(message: Message) -> None:
        if message.type is MessageType.REQUEST:
            fault()
        broadcast(message)

    link.broadcast = faulty  # type: ignore[method-assign]  # a link that meets a bug once
    await settle(3600)
    clients.session.close()
    assert clients.heard[1]
    assert clients.heard[2]
    assert fault.passed
    assert len(failures(logged)) == 1


async def test_a_listener_that_fails_keeps_no_other_from_hearing(logged: list[Any]) -> None:
    clients = Clients()
    fault = Fault()
    await clients.bind(1, fault)
    await clients.bind(2)
    await settle(3600)
    clients.session.close()
    assert fault.passed
    assert clients.heard[2]
    assert len(failures(logged)) == 1


async def test_an_exchange_whose_listener_fails_tells_its_caller() -> None:
    clients = Clients()
    client = Client(Identity(chaddr=MacAddress(bytes(6))), random=Random(1).random)
    exchange = Exchange(clients.session, client, now=clients.clock)
    exchange.on_offer = Fault()
    with pytest.raises(OSError, match="Too many open files"):
        await exchange.run(client.start, linger=None)
    exchange.abandon()
    clients.session.close()


async def test_a_message_at_which_a_client_fails_does_not_end_the_reading(
    logged: list[Any],
) -> None:
    class Faulty(Client):
        fault = Fault()

        def receive(self, message: Message | Unreadable, now: datetime) -> Effects:
            self.fault()
            return super().receive(message, now)

    clients = Clients()
    await clients.bind(2)
    client = Faulty(Identity(chaddr=MacAddress(bytes(6))), random=Random(1).random)
    exchange = Exchange(clients.session, client, now=clients.clock)
    assert await exchange.run(client.start, linger=None) is not None  # by its second DISCOVER
    assert client.fault.passed
    assert len(failures(logged)) == 1
    clients.session.close()


# Listeners of events


async def test_an_events_listener_that_fails_keeps_no_other_from_hearing(
    logged: list[Any],
) -> None:
    class Listener:
        def __init__(self, record: Callable[[LeaseEvent], None]) -> None:
            self.record = record

    heard, bus = list[LeaseEvent](), EventBus()
    fault = Fault()
    bus.add(Listener(fault))
    bus.add(Listener(heard.append))
    event = LeaseEvent(
        kind=EventKind.LOST, at=NOON, pool=PoolId(NET), address=IPv4Address("192.168.59.9")
    )
    bus.record(event)
    bus.record(event)
    await settle()
    assert heard == [event, event]
    assert fault.passed == 1
    assert len(failures(logged)) == 1


# And those to come


_TASKS = {
    "service_layer/concurrency/supervised_task.py": "the supervisor itself",
    "service_layer/background_tasks.py": "one round of drains, each with its own tries",
    "service_layer/concurrency/shared_attempt.py": "one attempt, whose end its callers hear",
    "service_layer/provisional_lease.py": "one removal, told of if it fails",
    "service_layer/lost_leases.py": "one lease's action, with its own tries",
    "adapters/range_allocator.py": "one claim's end, with its own tries",
    "entrypoints/daemon/http/bounded_server.py": "one connection's, which ends by what it meets",
    "entrypoints/daemon/main.py": "the service itself: its end is the process's",
    "entrypoints/daemon/driver_task.py": "the operator's side, which says what ended it",
}


def test_no_loop_is_without_a_supervisor() -> None:
    """A coroutine without end ends with its first exception, unless ``forever`` makes it again."""
    endless = [
        f"{path.relative_to(SOURCE)}: {function.name}"
        for path in SOURCE.rglob("*.py")
        for function in ast.walk(ast.parse(path.read_text()))
        if isinstance(function, ast.AsyncFunctionDef)
        for loop in ast.walk(function)
        if isinstance(loop, ast.While)
        and isinstance(loop.test, ast.Constant)
        and not any(isinstance(each, ast.Return | ast.Break) for each in ast.walk(loop))
        and path.name != "supervised_task.py"
    ]
    assert sorted(endless) == [
        "adapters/docker/engine.py: started",  # Docker's events, made anew by forever
        "adapters/observability/webhook.py: _send_all",  # a step of forever's: one client
        "adapters/system/clock_jumps.py: watch",  # a step of forever's: one timer of the kernel's
    ]


def test_each_task_has_a_supervisor_or_a_reason() -> None:
    made = {
        str(path.relative_to(SOURCE))
        for path in SOURCE.rglob("*.py")
        for call in ast.walk(ast.parse(path.read_text()))
        if isinstance(call, ast.Call)
        and getattr(call.func, "attr", getattr(call.func, "id", "")) in ("create_task", "spawn")
        and getattr(call.func, "attr", "") != "spawn"
    }
    assert made == set(_TASKS)
