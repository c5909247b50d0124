"""The driver of ``d4d server``, and the operator's side next to it: opened, served, closed."""

import asyncio
import gc
import socket
from contextlib import ExitStack
from functools import partial
from importlib.metadata import version
from typing import TYPE_CHECKING, cast

from d4d.adapters.observability.log_setup import configure_logs, log_failures
from d4d.adapters.system.listening_socket import ListeningSocket
from d4d.bootstrap import Driver, compose, open_driver
from d4d.domain.errors import D4DError
from d4d.entrypoints.daemon.http.errors import CannotStart
from d4d.entrypoints.daemon.state import ServiceState
from d4d.entrypoints.docker_plugin.handlers import PluginCalls
from d4d.lazy_import import import_lazy, lazy
from d4d.operations.view import OperatorView
from d4d.service_layer import log_messages as log
from d4d.service_layer.background_tasks import CALLS_FIRST
from d4d.service_layer.concurrency.pace import Pace
from d4d.service_layer.concurrency.supervised_task import forever
from d4d.settings.loading import load_settings
from d4d.settings.model import BEYOND, Settings

if TYPE_CHECKING:
    from d4d.entrypoints.admin_api import app as admin_app
    from d4d.entrypoints.daemon.http import bounded_server
else:
    admin_app = lazy("d4d.entrypoints.admin_api.app")
    bounded_server = lazy("d4d.entrypoints.daemon.http.bounded_server")

_OPENING = 1.0  # seconds after which operators are told that the driver still starts
_OPERATORS_END = 1.0  # seconds for an operator's requests in flight at the end


async def drive(service: ServiceState) -> None:
    """Give ``service`` its driver until its calls are answered. Raises D4DError, CannotStart."""
    settings = load_settings(**service.given)
    configure_logs(debug=settings.debug)
    log_failures(asyncio.get_running_loop())
    service.grace = (settings.dhcp_deadline + BEYOND).total_seconds() + 1
    with ExitStack() as stack:
        side_tasks = [
            forever("systemd", partial(service.notifier.keep_notifying, lambda: _status(service))),
            asyncio.create_task(
                _serve_operators(service, settings, _admin_socket(settings, stack))
            ),
        ]
        try:
            async with open_driver(compose(settings)) as opened:
                _ready(service, settings, opened)
                await service.stop.wait()
                opened.view.stream.close()
                await service.answered.wait()
        except BaseException as error:
            service.fail(error)
            if not isinstance(error, D4DError):
                raise
            log.start_failed(error=str(error))
            raise CannotStart from error
        finally:
            service.stop.set()
            side_tasks[0].cancel()
            for each in await asyncio.gather(*side_tasks, return_exceptions=True):
                if isinstance(each, Exception):  # a cancellation is no Exception
                    raise each


def _ready(service: ServiceState, settings: Settings, opened: Driver) -> None:
    service.driver.set_result(PluginCalls(opened))
    log.serving(
        version=version("d4d"),
        plugin_socket=str(settings.plugin_socket),
        operators=str(settings.admin_bind),
    )
    if not service.stop.is_set():  # systemd was notified of the end already
        service.notifier.ready(_status(service))


async def _serve_operators(
    service: ServiceState, settings: Settings, descriptor: int | None
) -> None:
    """Serve the operator at ``descriptor``, if there is one, once Docker is served.

    Everything that was not imported yet is imported then, also what Docker's calls will need.
    """
    try:
        await asyncio.wait([service.driver], timeout=_OPENING)
        await asyncio.sleep(CALLS_FIRST)
        if service.stop.is_set():
            return
        await asyncio.to_thread(_import_rest)
        if descriptor is not None:
            pace = Pace()
            app = admin_app.create_admin_app(
                lambda: _view(service), settings=settings, given=service.given, pace=pace
            )
            await bounded_server.serve_bounded(
                app, descriptor, stop=service.stop, grace=lambda: _OPERATORS_END, pace=pace
            )
    except Exception as error:  # Docker is served all the same
        log.admin_api_failed(exc_info=error)


def _import_rest() -> None:
    try:
        import_lazy()
        gc.freeze()  # garbage collections skip it from now on
    finally:
        gc.enable()


def _view(service: ServiceState) -> OperatorView | None:
    return cast("PluginCalls", service.driver.result()).driver.view if service.is_open else None


def _status(service: ServiceState) -> str:
    """For ``systemctl status``."""
    view = _view(service)
    if view is None:
        return "starting, or stopping"
    fills = view.fills()
    used, late = sum(fill.used for fill in fills.values()), len(view.overdue())
    return f"{used} leases in {len(fills)} pools, {late} renewals late"


def _admin_socket(settings: Settings, stack: ExitStack) -> int | None:
    """The operator's socket; None where the settings want none, or none could be opened."""
    bind = settings.admin_bind
    try:
        if bind.path is not None:
            opened = ListeningSocket(bind.path, inherited=None, setting="D4D_ADMIN_BIND")
            stack.callback(opened.close)
            opened.open()
            opened.publish()
            return opened.detach()
        if bind.address is not None:
            family = socket.AF_INET6 if bind.address.version == 6 else socket.AF_INET  # noqa: PLR2004 - IPv6
            return socket.create_server((str(bind.address), bind.port), family=family).detach()
    except (D4DError, OSError) as error:
        log.admin_api_unavailable(bind=str(bind), error=str(error))
    return None
