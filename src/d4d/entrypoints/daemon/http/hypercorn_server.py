"""Serves by hypercorn, which is always installed."""

import asyncio
import logging
from collections.abc import Callable

from hypercorn.asyncio import run as hypercorn_run
from hypercorn.asyncio import serve as serve_by_hypercorn
from hypercorn.asyncio.tcp_server import TCPServer
from hypercorn.config import Config
from hypercorn.utils import LifespanFailureError
from starlette.applications import Starlette
from starlette.types import ASGIApp, Receive, Scope, Send

from d4d.entrypoints.daemon.http.errors import CannotStart


class _Connection(TCPServer):
    """A connection that ends when its client closes it.

    hypercorn's waits until its idle time is over, which for Docker is never: each connection that
    dockerd closed would keep its descriptor.
    """

    async def _read_data(self) -> None:
        await super()._read_data()
        await self.idle_task.stop()


class _Ending:
    """An app whose calls can be ended: from Python 3.12 on hypercorn waits for them without end."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._calls: set[asyncio.Task[None]] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        call = asyncio.current_task()
        if call is not None and scope["type"] == "http":
            self._calls.add(call)
            call.add_done_callback(self._calls.discard)
        await self._app(scope, receive, send)

    def end(self) -> None:
        """Cancel what still runs."""
        for call in tuple(self._calls):
            call.cancel()


async def serve(
    app: Starlette,
    descriptor: int,
    *,
    stop: asyncio.Event,
    grace: Callable[[], float],
    idle: int,
) -> None:
    """See ``Serve``."""
    config = Config()
    config.bind = [f"fd://{descriptor}"]
    config.keep_alive_timeout = idle
    config.errorlog = logging.getLogger("d4d.hypercorn")  # warnings only, without "Running on"

    ending = _Ending(app)

    async def stopped() -> None:
        await stop.wait()
        config.graceful_timeout = grace()
        asyncio.get_running_loop().call_later(grace(), ending.end)

    hypercorn_run.TCPServer = _Connection  # type: ignore[attr-defined]  # there is no other way
    try:
        await serve_by_hypercorn(ending, config, shutdown_trigger=stopped)  # type: ignore[arg-type]  # an ASGI app; hypercorn's type is narrower
    except LifespanFailureError as error:
        raise CannotStart from error
