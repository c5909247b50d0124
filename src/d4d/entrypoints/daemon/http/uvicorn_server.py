"""Serves by uvicorn with httptools, of the extra ``fast``."""

import asyncio
import math
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, cast

import uvicorn
from starlette.applications import Starlette
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from d4d.domain.errors import D4DError
from d4d.entrypoints.daemon.http.errors import CannotStart

_END_OF_HEAD = b"\r\n\r\n"


class Gathering:
    """A transport that sends an answer's head with its body, or else in the loop's next round.

    uvicorn writes the two separately, and the reader would be woken for the head alone.
    """

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._head = b""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """See ``asyncio.WriteTransport``."""
        if data.endswith(_END_OF_HEAD) and not self._head:
            self._head = data
            asyncio.get_running_loop().call_soon(self._send_head)
        else:
            self._transport.write(self._head + data)
            self._head = b""

    def close(self) -> None:
        """See ``asyncio.BaseTransport``."""
        self._send_head()
        self._transport.close()

    def _send_head(self) -> None:
        if self._head:
            self._transport.write(self._head)
            self._head = b""


class _Protocol(HttpToolsProtocol):
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's
        """See ``asyncio.Protocol``."""
        super().connection_made(cast("asyncio.Transport", Gathering(transport)))


class _Server(uvicorn.Server):
    """Ends by an event, not by a signal, and does not poll ten times a second."""

    def __init__(
        self, config: uvicorn.Config, *, stop: asyncio.Event, grace: Callable[[], float]
    ) -> None:
        super().__init__(config)
        self._stop = stop
        self._grace = grace

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to the command."""
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
        http=_Protocol,
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
