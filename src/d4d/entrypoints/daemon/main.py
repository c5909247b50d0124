"""``d4d server``: one process, which answers Docker from its first moment until it is stopped.

Most of a start is importing. So Docker's calls are accepted as soon as there is a socket and a
server. Constants are answered at once; the other calls wait for the driver, which is imported and
opened meanwhile: see ``driver_task``.
"""

import asyncio
import signal
import sys
from collections.abc import Awaitable, Callable, Mapping
from contextlib import ExitStack, suppress
from typing import Any

from d4d.adapters.system.descriptors import raise_limit
from d4d.adapters.system.listening_socket import ListeningSocket
from d4d.entrypoints.daemon.http.errors import CannotStart
from d4d.entrypoints.daemon.http.server import WITHOUT_END, choose_server, run
from d4d.entrypoints.daemon.state import ServiceState
from d4d.entrypoints.docker_plugin.app import create_calls_app, expect
from d4d.lazy_import import without_packages
from d4d.settings.files import plugin_socket

_TURN = 0.0005
"""Seconds for which a busy thread keeps Python from the event loop's thread. The default is ten
times as long, and a call of Docker's may meet that in each of its ten turns of the loop."""


def serve_until_stopped(given: Mapping[str, Any]) -> None:
    """Serve with the settings, of which ``given`` come from the command line. Raises D4DError."""
    raise_limit()
    sys.setswitchinterval(_TURN)
    with ExitStack() as stack:
        listening = ListeningSocket(plugin_socket())
        stack.callback(listening.close)
        listening.open()
        try:
            run(lambda: _serve(given, listening))
        except CannotStart:
            sys.exit(1)  # the log says what failed


async def _serve(given: Mapping[str, Any], listening: ListeningSocket) -> None:
    stop = asyncio.Event()
    app = create_calls_app(closes=stop.is_set)
    service = ServiceState(given, driver=expect(app), stop=stop)
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, service.stop.set)
    listening.publish()
    ending = asyncio.create_task(_notify_of_end(service))
    driving = asyncio.create_task(_drive(service))
    driving.add_done_callback(lambda _: service.stop.set())
    try:
        await choose_server()(
            app,
            listening.detach(),
            stop=service.stop,
            grace=lambda: service.grace,
            idle=WITHOUT_END,
        )
    finally:
        service.stop.set()
        service.answered.set()
        await ending
        if not service.driver.done():  # stopped before it was open
            driving.cancel()
        with suppress(asyncio.CancelledError):
            await driving
        service.notifier.close()


async def _drive(service: ServiceState) -> None:
    """Open the driver, and close it at the end. Raises what keeps it from opening."""
    try:
        drive = await asyncio.to_thread(_import_driver_task)
        await drive(service)
    except BaseException as error:
        service.fail(error)
        raise


def _import_driver_task() -> Callable[[ServiceState], Awaitable[None]]:
    # with it, structlog would format tracebacks in colours, which our logs have none of
    with without_packages("rich"):
        from d4d.entrypoints.daemon.driver_task import drive  # noqa: PLC0415 - Docker is answered meanwhile
    return drive


async def _notify_of_end(service: ServiceState) -> None:
    await service.stop.wait()
    service.notifier.stopping()
