"""Which event loops tests run in.

A module that says VIRTUAL_TIME = True has them run where waiting takes no time; one that says
BOTH_LOOPS = True, and each in tests/integration and tests/contracts, on asyncio's and on uvloop's.
"""

import asyncio
import logging
from collections.abc import Callable, Iterator, Mapping

import pytest
import structlog

from tests.support.event_loops import FACTORIES
from tests.support.virtual_time import VirtualTimeLoop


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
