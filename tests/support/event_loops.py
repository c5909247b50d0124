"""The event loops that D4D runs on: asyncio's own, and uvloop's where the extra ``fast`` is there.

What touches sockets is tested on both, as they treat a socket's errors differently.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, TypeVar

import pytest
import uvloop

T = TypeVar("T")

FACTORIES: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "asyncio": asyncio.new_event_loop,
    "uvloop": uvloop.new_event_loop,
}
_chosen = [asyncio.new_event_loop]


@pytest.fixture(params=FACTORIES, autouse=True)
def each_loop(request: pytest.FixtureRequest) -> Iterator[None]:
    """A module of plain tests that imports this has them run once for each loop, by ``run``."""
    _chosen[:] = [FACTORIES[request.param]]
    yield
    _chosen[:] = [asyncio.new_event_loop]


def run(main: Coroutine[Any, Any, T]) -> T:
    """What ``main`` comes to, in a loop of the kind that this test is about."""
    with asyncio.Runner(loop_factory=_chosen[0]) as runner:
        return runner.run(main)
