"""hypercorn, which serves wherever D4D is installed."""

import asyncio
import logging
from collections.abc import Callable

from hypercorn.asyncio import serve as serve_by_hypercorn
from hypercorn.config import Config
from hypercorn.utils import LifespanFailureError
from starlette.applications import Starlette

from d4d.entrypoints.http.errors import CannotStart


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
    config.errorlog = logging.getLogger("d4d.hypercorn")  # its warnings, without "Running on"

    async def stopped() -> None:
        await stop.wait()
        config.graceful_timeout = grace()

    try:
        await serve_by_hypercorn(app, config, shutdown_trigger=stopped)  # type: ignore[arg-type]  # Starlette is an ASGI app; hypercorn's type is narrower
    except LifespanFailureError as error:
        raise CannotStart from error
