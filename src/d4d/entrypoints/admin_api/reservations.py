"""The operator's API for reservations."""

from starlette.requests import Request
from starlette.responses import Response

from d4d.domain.addressing import parse_address
from d4d.domain.errors import BadRequest
from d4d.domain.reservations import Reservation
from d4d.entrypoints.admin_api.auth import require_csrf_header
from d4d.entrypoints.admin_api.queries import Key, pace_of, paged
from d4d.entrypoints.admin_api.responses import json_response, list_response
from d4d.entrypoints.admin_api.schemas import OperatorReservationSchema, ReservedResponse
from d4d.operations.view import OperatorView
from d4d.service_layer import log_messages as log


async def reservations(view: OperatorView, request: Request) -> Response:
    """GET lists what operators reserved, a page at a time."""
    pace = pace_of(request)
    found = await view.reservation_service.all(request.query_params.get("pool"))
    async with pace.long:
        page, following = await paged(request, found, _place, pace=pace)
    texts = await pace.each(lambda each: _schema(view, each).model_dump_json(), page)
    return list_response("reservations", texts, next=following)


def _place(reservation: Reservation) -> Key:
    return reservation.segment, reservation.address.packed.hex()


async def reserve(view: OperatorView, request: Request) -> Response:
    """POST keeps an address for one container, or from all."""
    require_csrf_header(request)
    query = request.query_params
    outcome = await view.reservation_service.reserve(
        _pool(request),
        parse_address(query.get("address", ""), what="address"),
        whom=query.get("for"),
        note=query.get("note", ""),
    )
    made = outcome.reservation
    log.reserved_by_operator(
        address=str(made.address),
        segment=made.segment,
        whom=made.whom,
        note=made.note,
    )
    return json_response(
        ReservedResponse(reservation=_schema(view, made), warnings=list(outcome.warnings)), 201
    )


async def unreserve(view: OperatorView, request: Request) -> Response:
    """DELETE takes a reservation away."""
    require_csrf_header(request)
    address = parse_address(request.path_params["address"], what="address")
    removed = await view.reservation_service.unreserve(_pool(request), address)
    log.unreserved_by_operator(
        address=str(address),
        segment=removed.segment,
        whom=removed.whom,
    )
    return json_response(_schema(view, removed))


def _pool(request: Request) -> str:
    pool = request.query_params.get("pool")
    if not pool:
        raise BadRequest("name the pool: ?pool= its id, or its subnet")
    return pool


def _schema(view: OperatorView, reservation: Reservation) -> OperatorReservationSchema:
    return OperatorReservationSchema.of(
        reservation, pool=view.reservation_service.pool_of(reservation)
    )
