"""The operator's API for reservations."""

import structlog
from starlette.requests import Request
from starlette.responses import Response

from d4d.domain.addressing import parse_address
from d4d.domain.errors import BadRequest
from d4d.domain.reservations import Reservation
from d4d.entrypoints.admin_api.auth import Form, Listing, require_mark
from d4d.entrypoints.admin_api.queries import Key, paged
from d4d.entrypoints.admin_api.schemas import OperatorReservationForm, ReservedAnswer
from d4d.operations.view import OperatorView
from d4d.service_layer.concurrency.pace import Pace

log = structlog.get_logger()


async def reservations(parts: OperatorView, request: Request) -> Response:
    """GET lists, POST reserves."""
    if request.method == "POST":
        return await _reserve(parts, request)
    pace: Pace = request.app.state.pace
    found = await parts.reservation_service.all(request.query_params.get("pool"))
    async with pace.long:
        page, following = await paged(request, found, _place, pace=pace)
    texts = await pace.each(lambda each: _form(parts, each).model_dump_json(), page)
    return Listing("reservations", texts, next=following)


def _place(reservation: Reservation) -> Key:
    return reservation.segment, reservation.address.packed.hex()


async def _reserve(parts: OperatorView, request: Request) -> Response:
    require_mark(request)
    query = request.query_params
    outcome = await parts.reservation_service.reserve(
        _pool(request),
        parse_address(query.get("address", ""), what="address"),
        whom=query.get("for"),
        note=query.get("note", ""),
    )
    made = outcome.reservation
    log.info(
        "reserved by an operator",
        address=str(made.address),
        segment=made.segment,
        whom=made.whom,
        note=made.note,
    )
    return Form(
        ReservedAnswer(reservation=_form(parts, made), warnings=list(outcome.warnings)), 201
    )


async def unreserve(parts: OperatorView, request: Request) -> Response:
    """DELETE takes one away."""
    require_mark(request)
    address = parse_address(request.path_params["address"], what="address")
    removed = await parts.reservation_service.unreserve(_pool(request), address)
    log.info(
        "unreserved by an operator",
        address=str(address),
        segment=removed.segment,
        whom=removed.whom,
    )
    return Form(_form(parts, removed))


def _pool(request: Request) -> str:
    pool = request.query_params.get("pool")
    if not pool:
        raise BadRequest("name the pool: ?pool= its id, or its subnet")
    return pool


def _form(parts: OperatorView, reservation: Reservation) -> OperatorReservationForm:
    return OperatorReservationForm.of(
        reservation, pool=parts.reservation_service.pool_of(reservation)
    )
