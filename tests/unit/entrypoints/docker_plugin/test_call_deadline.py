"""One deadline for a whole call of Docker's, which says what was waited for."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from d4d.domain.leases import LeaseState
from tests.support.fake_dockerd import Docker, started
from tests.support.virtual_time import settle

VIRTUAL_TIME = True

POOL = "192.168.60.0/24"
REQUEST_POOL = (
    f'{{"AddressSpace":"d4d-local","Pool":"{POOL}","SubPool":"","Options":null,"V6":false}}\n'
)
RELEASE = f'{{"PoolID":"{POOL}","Address":"192.168.60.1"}}\n'
BOUND = 27.0
"""Seconds: D4D_DHCP_DEADLINE, and two more."""


def container(number: int = 1, name: str = "") -> str:
    named = f',"com.docker.network.endpoint.name":"{name}"' if name else ""
    mac = f"02:42:b9:d4:03:{number:02x}"
    return (
        f'{{"PoolID":"{POOL}","Address":"",'
        f'"Options":{{"com.docker.network.endpoint.macaddress":"{mac}"{named}}}}}\n'
    )


@pytest.fixture
async def network(tmp_path: Path) -> AsyncIterator[Docker]:
    async with started(Docker(tmp_path)) as docker:
        await docker.ask("RequestPool", REQUEST_POOL)
        yield docker


def now() -> float:
    return asyncio.get_running_loop().time()


async def states(network: Docker) -> set[LeaseState]:
    return {lease.state for lease in (await network.store.inner.load("host-a")).leases}


async def test_a_store_that_says_nothing_is_named(network: Docker) -> None:
    network.store.takes = 3600.0
    began = now()
    text = await network.fail("RequestAddress", container(), 503)
    assert now() - began == BOUND
    assert text.startswith(
        "RequestAddress was given up after 27 s, waiting for the lease store, "
    ), text
    network.store.takes = 0.0
    await settle(2 * 3600.0)
    assert await states(network) <= {LeaseState.FREED}
    assert [str(address) for address in network.allocator.freed] == ["192.168.60.1"]


async def test_a_turn_that_does_not_come_is_named(network: Docker) -> None:
    """One call of the container is served, and the others wait for it."""
    network.allocator.allocate_takes = 3600.0
    calls = [network.fail("RequestAddress", container(n, "web"), 503) for n in range(1, 4)]
    texts = await asyncio.gather(*calls)
    assert "waiting for its turn: another call for web was not over" in texts[-1]
    assert now() == BOUND


async def test_an_allocator_that_does_not_end_is_given_up(network: Docker) -> None:
    network.allocator.allocate_takes = 3600.0
    began = now()
    calls = [network.fail("RequestAddress", container(number), 503) for number in range(40)]
    texts = await asyncio.gather(*calls)
    assert now() - began == BOUND
    assert all("given up after 27 s" in text and "try again" in text for text in texts)
    await settle(2 * 3600.0)
    assert network.allocator.allocated == []


async def test_a_network_is_answered_within_it_too(network: Docker) -> None:
    network.store.takes = 3600.0
    began = now()
    body = REQUEST_POOL.replace("192.168.60.", "192.168.61.")
    text = await network.fail("RequestPool", body, 503)
    assert now() - began == BOUND
    assert "RequestPool was given up" in text
    network.store.takes = 0.0
    await settle(2 * 3600.0)
    (record,) = (await network.store.inner.load("host-a")).pools
    assert str(record.pool.subnet) == POOL


async def test_a_release_is_answered_well_within_it(network: Docker) -> None:
    await network.ask("RequestAddress", container())
    network.store.takes = 3600.0
    began = now()
    await network.ask("ReleaseAddress", RELEASE)
    assert now() - began <= 2.0
    network.store.takes = 0.0
    await settle(2 * 3600.0)
    assert await states(network) == {LeaseState.FREED}
