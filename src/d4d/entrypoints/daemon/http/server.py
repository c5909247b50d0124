"""Chooses what speaks HTTP at the listening socket.

uvicorn on uvloop's event loop where they are installed, which the extra ``fast`` does; hypercorn on
asyncio's otherwise. docs/performance/results.md shows what that gains.
"""

import asyncio
from collections.abc import Callable, Coroutine
from importlib.util import find_spec
from typing import Protocol

from starlette.applications import Starlette

WITHOUT_END = 10**9  # seconds: thirty years


class Serve(Protocol):
    """Serves ``app`` at the listening socket ``descriptor``, which it closes, until ``stop``.

    Requests in flight then have ``grace`` seconds left, as it is by then. A connection that is
    idle is closed after ``idle`` seconds, and at the end. Raises CannotStart
    where the app does not start, which has said why.
    """

    async def __call__(
        self,
        app: Starlette,
        descriptor: int,
        *,
        stop: asyncio.Event,
        grace: Callable[[], float],
        idle: int,
    ) -> None:
        """See above."""


def is_fast() -> bool:
    """Whether the extra ``fast`` is installed."""
    return all(find_spec(name) for name in ("uvicorn", "httptools", "uvloop"))


def choose_server() -> Serve:
    """The fastest server that is installed."""
    if is_fast():
        from d4d.entrypoints.daemon.http.uvicorn_server import serve  # noqa: PLC0415 - it may be missing
    else:
        from d4d.entrypoints.daemon.http.hypercorn_server import serve  # noqa: PLC0415 - imports what it runs on
    return serve


def run(main: Callable[[], Coroutine[None, None, None]]) -> None:
    """Run ``main`` on that server's event loop."""
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(main())


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    if not is_fast():
        return None
    from uvloop import new_event_loop  # noqa: PLC0415 - it may be missing

    return new_event_loop
