"""The operator's API for pools and leases."""

from itertools import chain

from starlette.requests import Request
from starlette.responses import Response

from d4d.domain.leases import Lease
from d4d.domain.pools import PoolRecord
from d4d.domain.ports.history import HistoryQuery
from d4d.entrypoints.admin_api.auth import require_csrf_header
from d4d.entrypoints.admin_api.queries import Filter, Key, find, pace_of, paged
from d4d.entrypoints.admin_api.responses import json_response, list_response
from d4d.entrypoints.admin_api.schemas import EventSchema, LeaseResponse, LeaseSchema, PoolSchema
from d4d.operations.view import OperatorView
from d4d.service_layer import log_messages as log
from d4d.service_layer.other_hosts import OtherHosts

_HISTORY_OF_LEASE = 100  # events


async def pools(view: OperatorView, request: Request) -> Response:
    """GET lists the pools, and how full they are."""
    await view.learn_reservations()
    pace = pace_of(request)
    async with pace.long:
        fills = (await view.state(pace)).pools

    def text(record: PoolRecord) -> str:
        return PoolSchema.of(record, fills[record.pool.id]).model_dump_json()

    records = [record for record in view.ipam.pools if record.pool.id in fills]
    return list_response("pools", await pace.each(text, records))


async def leases(view: OperatorView, request: Request) -> Response:
    """GET lists the leases that are asked for, a page at a time."""
    wanted = Filter.read(request)
    pace = pace_of(request)
    theirs: list[Lease] = []
    if wanted.all:
        others: OtherHosts = request.app.state.others
        goes_on = "after" in request.query_params
        theirs = await others.leases(view.leases_of_others, goes_on=goes_on)
    async with pace.long:
        held = chain(view.ipam.leasing.leases, theirs)
        page, following = await paged(request, held, _place, pace=pace, fits=wanted.fits)
    is_overdue = view.is_overdue()
    ours = view.host

    def text(lease: Lease) -> str:
        overdue = lease.owner == ours and is_overdue(lease)
        return LeaseSchema.of(lease, overdue=overdue).model_dump_json()

    return list_response("leases", await pace.each(text, page), next=following)


def _place(lease: Lease) -> Key:
    return lease.pool, lease.address.packed.hex(), lease.owner, str(lease.endpoint.mac)


async def lease(view: OperatorView, request: Request) -> Response:
    """GET shows one lease, and what happened to its address."""
    found = find(view, request, live=False)
    query = HistoryQuery(address=found.address, limit=_HISTORY_OF_LEASE)
    entries = await view.history.find(query) if view.history else []
    of_pool = [EventSchema.of(each) for each in entries if each.event.pool == found.pool]
    return json_response(LeaseResponse(lease=_schema(view, found), history=of_pool))


async def release(view: OperatorView, request: Request) -> Response:
    """POST gives a lease back to its server, though Docker has not asked for it."""
    require_csrf_header(request)
    lease = find(view, request, live=True)
    log.released_by_operator(address=str(lease.address), pool=lease.pool)
    await view.ipam.leasing.give_up(lease, "an operator said so")
    of_address = (lease.pool, lease.address)
    there = view.ipam.leasing.leases
    latest = next((each for each in there if (each.pool, each.address) == of_address), lease)
    return json_response(_schema(view, latest))


def _schema(view: OperatorView, lease: Lease) -> LeaseSchema:
    return LeaseSchema.of(lease, overdue=view.is_overdue()(lease))
