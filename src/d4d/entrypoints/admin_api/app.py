"""The operator's side over HTTP: the page, health, metrics, and an API for page and command line.

It is served by the driver's process, at a socket of its own. It reads what the driver holds, and
never waits for a lock of the driver's. What takes longer than a moment is done in slices, between
which Docker's calls are answered: see ``pace``.
"""

from collections.abc import Awaitable, Callable, Collection
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from d4d.domain import errors
from d4d.entrypoints.admin_api import events, hosts, leases, monitoring, reservations, schemas
from d4d.entrypoints.admin_api.auth import AccessControl
from d4d.entrypoints.admin_api.config import effective
from d4d.entrypoints.admin_api.responses import json_response, refusal
from d4d.entrypoints.admin_api.web_page import page_routes
from d4d.lazy_import import lazy
from d4d.operations.view import OperatorView
from d4d.service_layer.concurrency.pace import Pace
from d4d.service_layer.other_hosts import OtherHosts
from d4d.settings.model import Settings

if TYPE_CHECKING:
    from d4d.entrypoints.cli import schemas as cli_schemas
else:
    cli_schemas = lazy("d4d.entrypoints.cli.schemas")

_STATUS: dict[type, int] = {
    errors.BadRequest: 400,
    errors.UnknownPool: 404,
    errors.AddressInUse: 409,
    errors.StoreUnavailable: 503,
}

Endpoint = Callable[[Request], Awaitable[Response]]


def create_admin_app(
    view: Callable[[], OperatorView | None],
    *,
    settings: Settings,
    given: Collection[str] = (),
    pace: Pace | None = None,
) -> Starlette:
    """The app. There is no ``view`` of the driver while it starts and stops.

    ``given`` names the settings that the command line gave; ``pace`` is what the app's server has,
    if it has one.
    """

    def of_driver(handler: Callable[[OperatorView, Request], Awaitable[Response]]) -> Endpoint:
        async def endpoint(request: Request) -> Response:
            there = view()
            if there is None:
                return refusal("the driver is starting, or stopping: try again", 503)
            try:
                return await handler(there, request)
            except errors.D4DError as error:
                return refusal(str(error), errors.by_class(_STATUS, error, 500))

        return endpoint

    async def readyz(_: Request) -> Response:
        return monitoring.readyz(view())

    async def config(_: Request) -> Response:
        return json_response(effective(settings, given=given))

    routes = [
        *page_routes(),
        Route("/healthz", monitoring.healthz),
        Route("/readyz", readyz),
        Route("/metrics", of_driver(monitoring.metrics)),
        Route("/api/pools", of_driver(leases.pools)),
        Route("/api/leases", of_driver(leases.leases)),
        Route("/api/leases/{address}", of_driver(leases.lease)),
        Route("/api/leases/{address}/release", of_driver(leases.release), methods=["POST"]),
        Route("/api/hosts", of_driver(hosts.hosts)),
        Route("/api/hosts/{host}/drain", of_driver(hosts.drain), methods=["POST"]),
        Route("/api/reservations", of_driver(reservations.reservations)),
        Route("/api/reservations", of_driver(reservations.reserve), methods=["POST"]),
        Route("/api/reservations/{address}", of_driver(reservations.unreserve), methods=["DELETE"]),
        Route("/api/history", of_driver(events.history)),
        Route("/api/events", of_driver(events.events)),
        Route("/api/config", config),
        Route("/api/schema", _schema),
    ]
    guard = Middleware(
        AccessControl,
        token=None if settings.admin_bind.path else settings.admin_token,
        public=settings.admin_bind.is_public,
    )
    app = Starlette(
        routes=routes, middleware=[guard], exception_handlers={HTTPException: _not_found}
    )
    app.state.pace = pace or Pace()
    app.state.others = OtherHosts()
    return app


async def _schema(_: Request) -> Response:
    bodies = (*schemas.RESPONSES, *cli_schemas.RESPONSES)
    return JSONResponse(schemas.published(bodies))


async def _not_found(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return refusal(f"no such thing here: {error.detail}", error.status_code)
