"""The operator's API for the hosts that share a store."""

from starlette.requests import Request
from starlette.responses import Response

from d4d.entrypoints.admin_api.auth import require_csrf_header
from d4d.entrypoints.admin_api.responses import json_response
from d4d.entrypoints.admin_api.schemas import DrainResponse, HostSchema, HostsResponse
from d4d.operations.view import OperatorView
from d4d.service_layer import log_messages as log


async def hosts(view: OperatorView, _: Request) -> Response:
    """GET lists the hosts, and when each was last heard of."""
    now = view.clock()
    found = await view.ipam.host_drain.hosts()
    grace = view.ipam.host_drain.grace.total_seconds()
    shown = [HostSchema.of(each, self_name=view.host, now=now) for each in found]
    return json_response(HostsResponse(grace=grace, hosts=shown))


async def drain(view: OperatorView, request: Request) -> Response:
    """POST gives back what a host held that is gone for good."""
    require_csrf_header(request)
    host = request.path_params["host"]
    force = request.query_params.get("force") == "true"
    log.host_drain_requested(host=host, force=force)
    return json_response(DrainResponse.of(await view.ipam.host_drain.drain(host, force=force)))
