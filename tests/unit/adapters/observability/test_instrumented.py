"""Calls of the store are measured and their trouble is told, whoever makes them."""

from collections.abc import AsyncIterator
from ipaddress import ip_network
from pathlib import Path

import pytest
from dependency_injector import providers

from d4d.adapters.stores.memory.store import MemoryLeaseStore
from d4d.bootstrap import DriverParts, compose
from d4d.domain.address_selection import AddressClaim
from d4d.domain.addressing import MacAddress
from d4d.domain.errors import BadRequest, NoAddress, StoreUnavailable
from d4d.domain.leases import Endpoint, Lease
from d4d.domain.pools import PoolOptions, PoolRequest
from d4d.domain.ports.stores import LeaseStore
from d4d.settings.loading import load_settings
from tests.support.allocation import asks
from tests.support.fake_ports import FailingStore

REQUEST = PoolRequest(subnet=ip_network("10.1.0.0/29"), options=PoolOptions(allocator="range"))


class FlakyStore(MemoryLeaseStore):
    """It raises the next error that it was given, instead of taking an address."""

    def __init__(self) -> None:
        super().__init__()
        self.errors: list[Exception] = []

    async def take(self, claim: AddressClaim) -> Lease:
        if self.errors:
            raise self.errors.pop(0)
        return await super().take(claim)


@pytest.fixture
async def container(tmp_path: Path) -> AsyncIterator[DriverParts]:
    composed = compose(load_settings(files=(), state_dir=tmp_path, host="host-a"))
    yield composed
    for allocator in composed.allocators().values():
        await allocator.aclose()


async def allocate(container: DriverParts, store: LeaseStore) -> Lease:
    container.store.override(providers.Object(store))
    allocator = container.allocators()["range"]
    pool = await allocator.open(REQUEST)
    endpoint = Endpoint(mac=MacAddress.parse("02:42:0a:01:00:02"))
    lease: Lease = await allocator.allocate(asks(pool, endpoint))
    return lease


async def test_an_address_that_the_store_chooses_is_measured(container: DriverParts) -> None:
    await allocate(container, FlakyStore())
    text = container.metrics().text().decode()
    assert 'd4d_store_duration_seconds_count{call="take",result="ok"} 1.0' in text


async def test_a_store_that_is_away_when_it_is_to_choose_is_in_trouble_until_it_answers(
    container: DriverParts,
) -> None:
    store = FlakyStore()
    store.errors = [StoreUnavailable("redis is away"), NoAddress("full")]
    with pytest.raises(StoreUnavailable):
        await allocate(container, store)
    assert container.instrumented_store().trouble == "redis is away"
    with pytest.raises(NoAddress):
        await allocate(container, store)
    assert container.instrumented_store().trouble == ""
    text = container.metrics().text().decode()
    assert 'd4d_store_duration_seconds_count{call="take",result="unavailable"} 1.0' in text


async def test_a_store_that_chooses_no_addresses_is_named_to_who_asks_for_one(
    container: DriverParts,
) -> None:
    with pytest.raises(BadRequest, match=r"FailingStore.* chooses no addresses"):
        await allocate(container, FailingStore())
