"""``d4d server``: Docker's socket and the operator's, served by one process until it is stopped."""

import asyncio
import gc
import signal
import socket
import sys
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import structlog
from starlette.applications import Starlette

from d4d.adapters.dhcp.codec import scapy_layers
from d4d.domain.errors import D4DError
from d4d.entrypoints import http
from d4d.entrypoints.background import CALLS_FIRST
from d4d.entrypoints.ipam import Driver, create_app
from d4d.entrypoints.logs import configure_logs
from d4d.entrypoints.operations import Operations
from d4d.entrypoints.plugin_socket import PluginSocket
from d4d.entrypoints.sd_notify import Notifier
from d4d.late import import_late, late
from d4d.settings import Settings, load_settings

if TYPE_CHECKING:
    from d4d.entrypoints import admin
else:
    admin = late("d4d.entrypoints.admin")

_OPENING = 1.0  # seconds after which operators are told that the driver still starts
_OPERATORS_END = 1.0  # seconds for an operator's request at the end; a stream has none of its own

log = structlog.get_logger()


def serve_until_stopped(given: Mapping[str, Any]) -> None:
    """Serve with the settings, of which ``given`` come from the command line. Raises D4DError."""
    settings = load_settings(**given)
    configure_logs(debug=settings.debug)
    with ExitStack() as stack:
        plugin_socket = PluginSocket(settings.plugin_socket)
        stack.callback(plugin_socket.close)
        plugin_socket.open()
        notifier, served = Notifier(), asyncio.Event()

        def on_ready() -> None:
            plugin_socket.publish()
            log.info(
                "serving",
                version=version("d4d"),
                plugin_socket=str(settings.plugin_socket),
                operators=str(settings.admin_bind),
            )
            notifier.ready()
            served.set()

        app = create_app(lambda: settings, on_ready=on_ready)
        admin_socket = _admin_socket(settings, stack)
        serve = http.server()

        def admin_app() -> Starlette:
            return admin.create_admin_app(lambda: _operations(app), settings=settings, given=given)

        async def run() -> None:
            stop = asyncio.Event()
            for number in (signal.SIGTERM, signal.SIGINT):
                asyncio.get_running_loop().add_signal_handler(number, stop.set)

            async def tell_the_end() -> None:
                await stop.wait()
                notifier.stopping()

            told = asyncio.create_task(notifier.run(lambda: _status(app)))
            ending = asyncio.create_task(tell_the_end())
            rest = asyncio.create_task(_serve_operators(admin_app, admin_socket, served, stop))
            grace = settings.dhcp_deadline.total_seconds() + 1
            try:
                await serve(app, plugin_socket.detach(), stop=stop, grace=grace)
            finally:
                stop.set()
                served.set()
                told.cancel()
                for each in await asyncio.gather(told, ending, rest, return_exceptions=True):
                    if isinstance(each, Exception):  # no cancellation is one
                        raise each

        try:
            http.run(run)
        except http.CannotStart:
            sys.exit(1)  # what failed stands in the log


async def _serve_operators(
    make: Callable[[], Starlette],
    descriptor: int | None,
    served: asyncio.Event,
    stop: asyncio.Event,
) -> None:
    """Serve the operator at ``descriptor``, where there is one, once Docker is served.

    All that was not imported before is imported then, also what Docker's calls will need.
    """
    try:
        with suppress(TimeoutError):
            async with asyncio.timeout(_OPENING):
                await served.wait()
                await asyncio.sleep(CALLS_FIRST)
        if stop.is_set():
            return
        await asyncio.to_thread(_import_rest)
        if descriptor is not None:
            await http.server()(make(), descriptor, stop=stop, grace=_OPERATORS_END)
    except Exception:  # Docker is served all the same
        log.exception("operator not served any more")


def _import_rest() -> None:
    scapy_layers()  # first, as a container's start needs it
    import_late()
    gc.freeze()  # nor is it looked at again
    gc.enable()


def _operations(app: Starlette) -> Operations | None:
    driver: Driver | None = getattr(app.state, "driver", None)
    return driver.operations if driver else None


def _status(app: Starlette) -> str:
    """For ``systemctl status``."""
    operations = _operations(app)
    if operations is None:
        return "starting, or stopping"
    fills = operations.fills()
    used, late = sum(fill.used for fill in fills.values()), len(operations.overdue())
    return f"{used} leases in {len(fills)} pools, {late} renewals late"


def _admin_socket(settings: Settings, stack: ExitStack) -> int | None:
    """The operator's socket to serve; None where there is to be none, or can be none."""
    bind = settings.admin_bind
    try:
        if bind.path is not None:
            opened = PluginSocket(bind.path, inherited=None, setting="D4D_ADMIN_BIND")
            stack.callback(opened.close)
            opened.open()
            opened.publish()
            return opened.detach()
        if bind.address is not None:
            family = socket.AF_INET6 if bind.address.version == 6 else socket.AF_INET  # noqa: PLR2004 - IPv6
            return socket.create_server((str(bind.address), bind.port), family=family).detach()
    except (D4DError, OSError) as error:
        log.warning("operator not served", bind=str(bind), error=str(error))
    return None
