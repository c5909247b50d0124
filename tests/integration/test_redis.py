"""The Redis store on real servers: the contracts of all stores, and what only Redis has."""

from collections.abc import AsyncIterator, Iterator
from itertools import count

import pytest

from d4d.adapters.stores.redis import RedisLeaseStore
from tests.lab.redis_servers import PROGRAMS, RedisServer
from tests.unit.adapters.stores import test_range_store_contract, test_store_contract

_numbers = count()

for contract in (test_store_contract, test_range_store_contract):
    tests = {name: test for name, test in vars(contract).items() if name.startswith("test_")}
    assert not tests.keys() & globals().keys(), "one test would replace another"
    globals().update(tests)


@pytest.fixture(scope="module", params=PROGRAMS)
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RedisServer]:
    running = RedisServer(tmp_path_factory.mktemp("redis"), program=request.param).start()
    yield running
    running.stop()


@pytest.fixture
async def store(server: RedisServer) -> AsyncIterator[RedisLeaseStore]:
    opened = RedisLeaseStore(server.url, prefix=f"test{next(_numbers)}:", steps=50)
    yield opened
    await opened.aclose()
