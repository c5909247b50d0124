"""Which event loops tests run in, in which order, and how many examples a property has.

A module that says VIRTUAL_TIME = True has them run where waiting takes no time; one that says
BOTH_LOOPS = True, and each in tests/integration and tests/contracts, on asyncio's and on uvloop's.

Hypothesis' examples are the same each time, and few: no change fails for what another one broke.
With --hypothesis-profile=nightly they are many, and others each time.
"""

import asyncio
import logging
from collections.abc import Callable, Iterator, Mapping

import pytest
import structlog
from hypothesis import HealthCheck, settings

from tests.support.event_loops import FACTORIES
from tests.support.virtual_time import VirtualTimeLoop

# No example has a deadline, and none is too slow: a clock measures what else the machine does.
settings.register_profile(
    "any-machine", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
any_machine = settings.get_profile("any-machine")
settings.register_profile("fast", any_machine, max_examples=40, derandomize=True)
settings.register_profile("nightly", any_machine, max_examples=2000)
settings.load_profile("fast")

FIRST = (
    "test_redis_cut",
    "test_renewal",
    "test_redis_waits",
    "test_recovery",
    "test_lost_lease",
    "test_benchmarks",
    "test_bridges",
    "test_operators_port",
    "test_web_page",
    "test_container_lease",
    "test_doctor",
    "test_probe",
    "test_server_command",
    "test_engine_api",
    "test_silent_hosts",
)
"""The modules that take longest. Begun last, they would be waited for when all else is done."""
KINDS = ("e2e", "integration", "contracts", "docs", "unit")
"""The others, from those that wait to those that don't."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Have what takes long begin first; the tests of a module stay together, in their order."""
    items.sort(key=_turn)


def _turn(item: pytest.Item) -> int:
    name, parts = item.path.stem, item.path.parts
    if name in FIRST:
        return FIRST.index(name)
    return len(FIRST) + next((n for n, kind in enumerate(KINDS) if kind in parts), len(KINDS))


def pytest_asyncio_loop_factories(
    item: pytest.Item,
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    module = item.getparent(pytest.Module)
    if module is None:
        return {"real": asyncio.new_event_loop}
    if getattr(module.obj, "VIRTUAL_TIME", False):
        return {"virtual": VirtualTimeLoop}
    is_outside = {"integration", "contracts"} & set(module.path.parts)
    if getattr(module.obj, "BOTH_LOOPS", bool(is_outside)):
        return FACTORIES
    return {"real": asyncio.new_event_loop}


@pytest.fixture(autouse=True)
def logs_as_they_are_by_default() -> Iterator[None]:
    """An app that a test started has configured the logs of the whole process."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    structlog.reset_defaults()
    logging.captureWarnings(False)
    root.handlers[:] = handlers
    root.setLevel(level)
