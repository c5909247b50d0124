"""uvicorn with httptools, of the extra ``fast``."""

import asyncio
import math
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import uvicorn
from starlette.applications import Starlette

from d4d.domain.errors import D4DError
from d4d.entrypoints.http.errors import CannotStart


class _Server(uvicorn.Server):
    """Ends when it is told to, not by a signal, and does not look ten times a second whether."""

    def __init__(
        self, config: uvicorn.Config, *, stop: asyncio.Event, grace: Callable[[], float]
    ) -> None:
        super().__init__(config)
        self._stop = stop
        self._grace = grace

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave them to the command."""
        yield

    async def main_loop(self) -> None:
        """Serve until the end."""
        await self._stop.wait()
        self.config.timeout_graceful_shutdown = math.ceil(self._grace())


async def serve(
    app: Starlette,
    descriptor: int,
    *,
    stop: asyncio.Event,
    grace: Callable[[], float],
    idle: int,
) -> None:
    """See ``Serve``."""
    config = uvicorn.Config(
        app,
        http="httptools",
        ws="none",
        lifespan="off",
        log_config=None,
        log_level="warning",
        access_log=False,
        server_header=False,
        date_header=False,
        proxy_headers=False,
        timeout_keep_alive=idle,
    )
    server = _Server(config, stop=stop, grace=grace)
    try:
        async with app.router.lifespan_context(app):  # by uvicorn, a failure is a traceback
            await server.serve(sockets=[socket.socket(fileno=descriptor)])
    except D4DError as error:
        raise CannotStart from error
