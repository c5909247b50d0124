"""A bug in what runs beside Docker's calls is logged when it happens."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any

import pytest
import structlog

from d4d.adapters.observability.log_setup import log_failures
from d4d.domain.pools import PoolId
from d4d.domain.utilization import PoolUtilization
from d4d.service_layer.concurrency.supervised_task import spawn
from d4d.service_layer.pool_monitor import PoolMonitor
from tests.support.virtual_time import settle
from tests.unit.service_layer.test_release_queue import RELEASED, Bench, another

VIRTUAL_TIME = True


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


async def test_a_task_that_a_bug_ends_is_logged_at_once_with_the_exception(
    logged: list[Any],
) -> None:
    def fills() -> Mapping[PoolId, PoolUtilization]:
        raise ZeroDivisionError("a bug")

    watch = PoolMonitor(fills, percent=90, report=None)
    watch.start()
    await settle()
    (line,) = logged
    assert (line["event"], line["log_level"]) == ("background_task_failed", "error")
    assert line["task"] == "pool watch"
    assert isinstance(line["exc_info"], ZeroDivisionError)
    await watch.aclose()


async def test_a_task_that_is_cancelled_or_ends_is_no_failure(logged: list[Any]) -> None:
    ends, stays = spawn(settle(), "ends"), spawn(settle(1000), "stays")
    await ends
    stays.cancel()
    await settle()
    assert logged == []


async def test_a_release_that_meets_a_bug_is_logged_and_tried_again_and_others_are_sent(
    logged: list[Any],
) -> None:
    async with Bench() as bench:
        bench.fails = ZeroDivisionError("a bug")
        bench.queue.add(RELEASED)
        await settle(0.5)
        bench.fails = None
        bench.queue.add(another(2))
        await settle(10.0)
    assert [address for address, _ in bench.tries] == [
        "192.168.59.1",
        "192.168.59.2",
        "192.168.59.1",
    ]
    assert [line["task"] for line in logged] == ["giving back"]


async def test_what_others_tell_the_loop_goes_its_usual_way(
    logged: list[Any], caplog: pytest.LogCaptureFixture
) -> None:
    asyncio.get_running_loop().call_exception_handler({"message": "a transport failed"})
    assert logged == []
    assert "a transport failed" in caplog.text
