"""What watches D4D asks: whether it lives, whether it can work, and Prometheus' metrics."""

from starlette.requests import Request
from starlette.responses import Response

from d4d.entrypoints.admin_api.queries import pace_of
from d4d.entrypoints.admin_api.responses import json_response
from d4d.entrypoints.admin_api.schemas import HealthResponse
from d4d.operations import readiness
from d4d.operations.view import OperatorView

_PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"


async def healthz(_: Request) -> Response:
    """GET says that the process answers."""
    return json_response(HealthResponse.of(readiness.alive()))


def readyz(view: OperatorView | None) -> Response:
    """GET says whether the driver can do its work; it has no ``view`` while it starts and stops."""
    health = readiness.readiness(view) if view else readiness.starting()
    return json_response(HealthResponse.of(health), 200 if health.ok else 503)


async def metrics(view: OperatorView, request: Request) -> Response:
    """GET shows all metrics, in Prometheus' text format."""
    await view.learn_reservations()
    pace = pace_of(request)
    async with pace.long:
        pieces = await pace.each(bytes, view.metrics.pieces(await view.state(pace)))
    return Response(b"".join(pieces), headers={"Content-Type": _PROMETHEUS})
