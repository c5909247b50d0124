"""Many hosts on one Redis and one range pool: ``scripts/scaling``.

Each host is a whole driver but for HTTP and Docker. Some processes share the hosts among them, and
each works for a few of its hosts at a time. Redis counts what it is asked, and tells it after each
phase.
"""

import argparse
import asyncio
import json
import logging
import multiprocessing
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from ipaddress import ip_address, ip_network
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import structlog

from d4d.bootstrap import DriverParts, compose
from d4d.domain.addressing import MacAddress
from d4d.domain.leases import Endpoint, LeaseState
from d4d.domain.pools import PoolOptions, PoolRequest
from d4d.settings.loading import load_settings
from lab.engineless_range_host import patiently
from lab.redis_meter import Meter
from lab.redis_servers import RedisServer
from lab.scaling_report import Size, lines, write

SUBNET = "10.64.0.0/14"
PHASES = ("start", "allocate", "heartbeat", "hosts", "restart", "release")
_DURABLE = (
    "appendonly yes",
    "appendfsync always",
    "auto-aof-rewrite-percentage 0",  # else the log shrinks meanwhile, and its bytes say nothing
    "maxclients 20000",
)
_PAUSE = 0.01
_GRACE = timedelta(days=1)
"""So that no driver beats by itself: heartbeats are counted apart."""


class Host:
    """One driver, and what its Docker asks of it."""

    def __init__(self, number: int, directory: Path, url: str, size: Size) -> None:
        self._number = number
        self._size = size
        self._settings = load_settings(
            files=(),
            host=f"host-{number:04}",
            state_dir=directory / f"host-{number:04}",
            store="redis",
            redis_url=url,
            history_days=0,
            host_grace=_GRACE,
        )
        self._driver: DriverParts | None = None
        self._pool = ""
        self._addresses: list[str] = []

    @property
    def driver(self) -> DriverParts:
        assert self._driver is not None, "it was not started"
        return self._driver

    async def start(self) -> None:
        await self._open()
        request = PoolRequest(subnet=ip_network(SUBNET), options=PoolOptions(allocator="range"))
        pool = await patiently(lambda: self.driver.ipam().request_pool(request))
        self._pool = pool.id

    async def allocate(self) -> None:
        for number in range(self._size.containers):
            mac = MacAddress(b"\x02\x42" + self._number.to_bytes(2) + number.to_bytes(2))
            endpoint = Endpoint(mac=mac, name=f"c{number}")
            self._addresses.append(await patiently(partial(self._lease, endpoint)))

    async def heartbeat(self) -> None:
        await self.driver.store().hosts.beat(
            self._settings.host, self.driver.installation(), _GRACE, datetime.now(UTC)
        )

    async def hosts(self) -> None:
        if self._number == 0:  # as an operator asks one driver
            hosts = await patiently(self.driver.ipam().host_drain.hosts)
            assert {each.leases for each in hosts} == {self._size.containers}
            assert len(hosts) == self._size.hosts

    async def restart(self) -> None:
        if self._number >= self._size.releasing:
            return
        await self.close()
        await self._open()
        held = {str(lease.address) for lease in self.driver.ipam().leasing.leases}
        assert held == {*self._addresses}, "it came back with other leases"

    async def release(self) -> None:
        if self._number >= self._size.releasing:
            return
        ipam = self.driver.ipam()
        for address in self._addresses:
            release = partial(ipam.release_address, self._pool, ip_address(address))
            await patiently(release)

        def is_busy() -> bool:
            released = any(each.state is LeaseState.RELEASED for each in ipam.leasing.leases)
            return bool(ipam.leasing.ledger.writes) or released

        while is_busy():  # noqa: ASYNC110 - the driver tells nobody when it is idle
            await asyncio.sleep(_PAUSE)

    async def close(self) -> None:
        if self._driver is not None:
            await self._driver.ipam().aclose()
            await self._driver.store().aclose()
            self._driver.state_dir().close()
            self._driver = None

    async def _lease(self, endpoint: Endpoint) -> str:
        cidr = await self.driver.ipam().request_address(self._pool, endpoint, None)
        return cidr.partition("/")[0]

    async def _open(self) -> None:
        self._driver = compose(self._settings)
        self._driver.state_dir().lock()
        await self._driver.ipam().open()
        await patiently(self._driver.ipam().heartbeat.confirm)


async def _serve(orders: Connection, hosts: Sequence[Host], at_once: int) -> None:
    """Do for each host what is ordered, until that is ``close``.

    Answers how long each took, and how much of a core all of them.
    """
    slots = asyncio.Semaphore(at_once)

    async def timed(work: Callable[[], Awaitable[None]]) -> float:
        async with slots:
            began = time.perf_counter()
            await work()
            return time.perf_counter() - began

    phase = ""
    while phase != "close":
        phase = await asyncio.to_thread(orders.recv)
        spent = time.process_time()
        took = await asyncio.gather(*(timed(getattr(host, phase)) for host in hosts))
        orders.send((took, time.process_time() - spent))


def _process(orders: Connection, numbers: range, directory: Path, url: str, size: Size) -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    hosts = [Host(number, directory, url, size) for number in numbers]
    asyncio.run(_serve(orders, hosts, size.at_once))


def measure(size: Size, directory: Path) -> dict[str, Any]:
    """Run all phases; answers for each what Redis did, and how long it and its hosts took."""
    server = RedisServer(directory / "redis", config=_DURABLE).start()
    context = multiprocessing.get_context("spawn")
    share = -(-size.hosts // size.processes)
    orders, processes = [], []
    try:
        for first in range(0, size.hosts, share):
            numbers = range(first, min(first + share, size.hosts))
            ours, theirs = context.Pipe()
            arguments = (theirs, numbers, directory, server.url, size)
            process = context.Process(target=_process, args=arguments, daemon=True)
            process.start()
            theirs.close()
            orders.append(ours)
            processes.append(process)
        return _phases(size, server, orders)
    finally:
        for order, process in zip(orders, processes, strict=True):
            order.close()
            process.kill()
            process.join()
        server.kill()


def _phases(size: Size, server: RedisServer, orders: Sequence[Connection]) -> dict[str, Any]:
    meter, results = Meter(server), {}
    for phase in PHASES:
        began = time.perf_counter()
        for order in orders:
            order.send(phase)
        answers = [order.recv() for order in orders]
        took = sorted(seconds for each, _ in answers for seconds in each)
        took = took[-size.count(phase)[1] :]  # the others had nothing to do
        seconds = time.perf_counter() - began
        results[phase] = {
            **meter.since(),
            "seconds": seconds,
            "driver_seconds": sum(spent for _, spent in answers),
            "host_median": took[len(took) // 2],
            "host_longest": took[-1],
        }
        if phase == "allocate":
            held = meter.count(f"d4d:{{{SUBNET}}}:held:")
            assert held == size.hosts * size.containers, f"{held} addresses are held"
    held = meter.count(f"d4d:{{{SUBNET}}}:held:")
    left = (size.hosts - size.releasing) * size.containers
    assert held == left, f"{held} addresses are held after the releases"
    meter.close()
    return results


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; answers the exit code."""
    parser = argparse.ArgumentParser(prog="scripts/scaling", description=__doc__)
    parser.add_argument("--hosts", type=int, default=1000, help="(default: 1000)")
    parser.add_argument("--containers", type=int, default=100, help="on each (default: 100)")
    parser.add_argument(
        "--releasing",
        type=int,
        default=100,
        help="of the hosts, which restart as well (default: 100)",
    )
    parser.add_argument("--processes", type=int, default=2, help="(default: 2)")
    parser.add_argument("--at-once", type=int, default=4, help="hosts of each (default: 4)")
    parser.add_argument("--json", action="store_true", help="the figures as they were counted")
    parser.add_argument(
        "--write", action="store_true", help="into docs/performance/many-hosts.md as well"
    )
    given = parser.parse_args(arguments)
    size = Size(
        hosts=given.hosts,
        containers=given.containers,
        releasing=min(given.hosts, given.releasing),
        processes=given.processes,
        at_once=given.at_once,
    )
    with tempfile.TemporaryDirectory(prefix="d4d-scaling-", dir="/tmp") as directory:
        results = measure(size, Path(directory))
    if given.write:
        write(size, results)
    print(json.dumps(results) if given.json else "\n".join(lines(size, results)))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
