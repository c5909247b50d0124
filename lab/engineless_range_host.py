"""A Docker host without Docker: a driver over Redis that is asked for addresses at random.

Run as ``python -m lab.engineless_range_host NAME STATE_DIR REDIS_URL JOURNAL SEED``; with the seed
``settle`` it asks for nothing, puts in order what it finds, and ends. What it was told
stands in the journal, one line for each: ``+ TIME ADDRESS MAC`` once a lease was answered,
``- TIME ADDRESS`` before it is released. Times are of the machine's monotonic clock, the same for
all hosts. It may be killed at any time; when it starts anew it compares what it finds.
"""

import asyncio
import logging
import random
import sys
import time
from collections.abc import Awaitable, Callable
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import TypeVar

import structlog

from d4d.bootstrap import compose
from d4d.domain.addressing import MacAddress
from d4d.domain.errors import AddressInUse, NoAddress, StoreUnavailable
from d4d.domain.leases import Endpoint, LeaseState
from d4d.domain.pools import PoolOptions, PoolRequest
from d4d.service_layer.ipam_service import IpamService
from d4d.settings.loading import load_settings

T = TypeVar("T")

POOL = "10.8.0.0/26"
_PAUSE = 0.002


class Journal:
    """What this host was told, on disk before it goes on."""

    def __init__(self, path: Path) -> None:
        self.told: dict[str, str] = {}
        for line in path.read_text().splitlines() if path.exists() else ():
            match line.split():
                case ["+", _, address, mac]:
                    self.told[address] = mac
                case ["-", _, address]:
                    del self.told[address]
        self._file = path.open("a", buffering=1)

    def got(self, address: str, mac: str) -> None:
        self.told[address] = mac
        self._file.write(f"+ {time.monotonic_ns()} {address} {mac}\n")

    def gives(self, address: str) -> None:
        del self.told[address]
        self._file.write(f"- {time.monotonic_ns()} {address}\n")

    def wrong(self, what: str) -> None:
        self._file.write(f"! {what}\n")


class Host:
    """One driver, and what a Docker would ask of it."""

    def __init__(self, ipam: IpamService, journal: Journal, seed: str) -> None:
        self._ipam = ipam
        self._journal = journal
        self._random = random.Random(seed)

    async def run(self) -> None:
        """Ask and release, for ever."""
        request = PoolRequest(subnet=ip_network(POOL), options=PoolOptions(allocator="range"))
        pool = await patiently(lambda: self._ipam.request_pool(request))
        await self._compare()
        while True:
            try:
                await self._step(pool.id)
            except (StoreUnavailable, NoAddress, AddressInUse):
                await asyncio.sleep(10 * _PAUSE)
            await asyncio.sleep(self._random.random() * _PAUSE)

    async def settle(self) -> None:
        """Put in order what is found, until nothing is left to write."""
        await self._compare()
        leasing = self._ipam.leasing

        def is_idle() -> bool:
            released = any(lease.state is LeaseState.RELEASED for lease in leasing.leases)
            return not leasing.ledger.writes and not released

        while not is_idle():  # noqa: ASYNC110 - the driver tells nobody when it is idle
            await asyncio.sleep(_PAUSE)

    async def _compare(self) -> None:
        """As reconciliation does: what was told is held, and what was not is given up."""
        live = {str(lease.address): lease for lease in self._ipam.leasing.leases if lease.is_live}
        for address, mac in self._journal.told.items():
            if address not in live or str(live[address].endpoint.mac) != mac:
                self._journal.wrong(f"{address} of {mac} was told, and is not in the store")
        for address, lease in live.items():
            if address not in self._journal.told:
                await self._ipam.leasing.give_up(lease, "nobody was told of it")

    async def _step(self, pool_id: str) -> None:
        told = self._journal.told
        if told and self._random.random() < 0.48:
            address = self._random.choice([*told])
            self._journal.gives(address)
            await self._ipam.release_address(pool_id, ip_address(address))
            return
        mac = MacAddress(bytes([2, 66, *(self._random.randrange(256) for _ in range(4))]))
        cidr = await self._ipam.request_address(pool_id, Endpoint(mac=mac), None)
        self._journal.got(cidr.partition("/")[0], str(mac))


async def patiently(call: Callable[[], Awaitable[T]]) -> T:
    """What ``call`` comes to when Redis is there."""
    while True:
        try:
            return await call()
        except StoreUnavailable:
            await asyncio.sleep(10 * _PAUSE)


async def main(name: str, state_dir: str, url: str, journal: str, seed: str) -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    settings = load_settings(
        files=(), host=name, state_dir=Path(state_dir), store="redis", redis_url=url, rest="100ms"
    )
    container = compose(settings)
    container.state_dir().lock()
    ipam = container.ipam()
    await ipam.open()
    await patiently(ipam.heartbeat.confirm)
    host = Host(ipam, Journal(Path(journal)), seed)
    if seed == "settle":
        await host.settle()
        await ipam.aclose()
        await container.store().aclose()
    else:
        await host.run()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
