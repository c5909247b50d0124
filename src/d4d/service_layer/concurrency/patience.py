"""What Docker waits for waits a moment for a store that comes back: Redis may be starting anew."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import ParamSpec, TypeVar

from d4d.domain.errors import StoreAway
from d4d.service_layer.concurrency.shared_attempt import PAUSE

PATIENCE = 2.5
"""Seconds after the first failure in which it is tried again."""

P = ParamSpec("P")
T = TypeVar("T")


async def patiently(call: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """What ``call`` comes to, which may be repeated. Raises StoreAway when patience is over."""
    try:
        return await call(*args, **kwargs)
    except StoreAway:
        over = asyncio.get_running_loop().time() + PATIENCE
    while True:
        await asyncio.sleep(PAUSE)
        try:
            return await call(*args, **kwargs)
        except StoreAway:
            if asyncio.get_running_loop().time() > over:
                raise
