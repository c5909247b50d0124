"""The Redis of a module."""

from collections.abc import Iterator

import pytest

from lab.redis_servers import PROGRAMS, RedisServer


@pytest.fixture(scope="module", params=PROGRAMS)
def redis_server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RedisServer]:
    """Redis, and Valkey where there is one; what is in it, tests leave."""
    running = RedisServer(tmp_path_factory.mktemp("redis"), program=request.param).start()
    yield running
    running.stop()
