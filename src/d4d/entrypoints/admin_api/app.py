"""The operator's side over HTTP: the page, health, metrics, and an API for page and command line.

It is served by the driver's process, at a socket of its own. It reads what the driver holds, and
never waits for a lock of the driver's. What takes longer than a moment is done in slices, between
which Docker's calls are answered: see ``pace``.
"""

from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Sequence
from dataclasses import replace
from itertools import chain
from typing import TYPE_CHECKING

import structlog
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from d4d.adapters.observability.event_stream import Follower, TooManyFollowers
from d4d.domain import errors
from d4d.domain.addressing import parse_address
from d4d.domain.events import EventKind, LeaseEvent
from d4d.domain.leases import Lease
from d4d.domain.pools import PoolRecord
from d4d.domain.ports.history import HistoryEntry, HistoryQuery
from d4d.entrypoints.admin_api import reservations as admin_reservations
from d4d.entrypoints.admin_api import schemas
from d4d.entrypoints.admin_api.auth import AccessControl, Form, Listing, refusal, require_mark
from d4d.entrypoints.admin_api.queries import (
    PAGE,
    Filter,
    Key,
    find,
    instant,
    kinds_of,
    latest,
    number,
    paged,
    question,
)
from d4d.entrypoints.admin_api.web_page import page_routes
from d4d.lazy_import import lazy
from d4d.operations import readiness
from d4d.operations.view import OperatorView
from d4d.service_layer.concurrency.pace import Pace
from d4d.service_layer.other_hosts import OtherHosts
from d4d.settings.loading import shown, source
from d4d.settings.model import Settings

if TYPE_CHECKING:
    from d4d.entrypoints.cli import schemas as host_forms
else:
    host_forms = lazy("d4d.entrypoints.cli.schemas")

_PULSE = 15.0  # seconds after which a silent stream of events says that it lives
_HISTORY_OF_LEASE = 100
_STATUS: dict[type, int] = {
    errors.BadRequest: 400,
    errors.UnknownPool: 404,
    errors.AddressInUse: 409,
    errors.StoreUnavailable: 503,
}
_PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"

Endpoint = Callable[[Request], Awaitable[Response]]

log = structlog.get_logger()


def create_admin_app(
    operations: Callable[[], OperatorView | None],
    *,
    settings: Settings,
    given: Collection[str] = (),
    pace: Pace | None = None,
) -> Starlette:
    """The app. ``operations`` are None while the driver starts and stops.

    ``given`` names the settings that the command line gave; ``pace`` is what the app's server has,
    if it has one.
    """

    def asks(handler: Callable[[OperatorView, Request], Awaitable[Response]]) -> Endpoint:
        async def endpoint(request: Request) -> Response:
            parts = operations()
            if parts is None:
                return refusal("the driver is starting, or stopping: try again", 503)
            try:
                return await handler(parts, request)
            except errors.D4DError as error:
                return refusal(str(error), errors.by_class(_STATUS, error, 500))

        return endpoint

    async def ready(_: Request) -> Response:
        parts = operations()
        answer = schemas.HealthAnswer.of(
            readiness.readiness(parts) if parts else readiness.starting()
        )
        return Form(answer, 200 if answer.ok else 503)

    async def config(_: Request) -> Response:
        return Form(schemas.ConfigAnswer(settings=effective(settings, given=given)))

    routes = [
        *page_routes(),
        Route("/healthz", _healthz),
        Route("/readyz", ready),
        Route("/metrics", asks(_metrics)),
        Route("/api/pools", asks(_pools)),
        Route("/api/leases", asks(_leases)),
        Route("/api/leases/{address}", asks(_lease)),
        Route("/api/leases/{address}/release", asks(_release), methods=["POST"]),
        Route("/api/hosts", asks(_hosts)),
        Route("/api/hosts/{host}/drain", asks(_drain), methods=["POST"]),
        Route("/api/reservations", asks(admin_reservations.reservations), methods=["GET", "POST"]),
        Route(
            "/api/reservations/{address}", asks(admin_reservations.unreserve), methods=["DELETE"]
        ),
        Route("/api/history", asks(_history)),
        Route("/api/events", asks(_events)),
        Route("/api/config", config),
        Route("/api/schema", _schema),
    ]
    guard = Middleware(
        AccessControl,
        token=None if settings.admin_bind.path else settings.admin_token,
        public=settings.admin_bind.is_public,
    )
    app = Starlette(routes=routes, middleware=[guard], exception_handlers={HTTPException: _no_such})
    app.state.pace = pace or Pace()
    app.state.others = OtherHosts()
    return app


def effective(settings: Settings, *, given: Collection[str] = ()) -> list[schemas.SettingForm]:
    """Every setting, and where it was taken from. Raises BadRequest."""
    return [
        schemas.SettingForm(
            name=f"D4D_{field.upper()}",
            value=shown(settings, field),
            source=source(field, given=given),
        )
        for field in Settings.model_fields
    ]


async def _healthz(_: Request) -> Response:
    return Form(schemas.HealthAnswer.of(readiness.alive()))


async def _schema(_: Request) -> Response:
    return JSONResponse(schemas.schema() | host_forms.schema())


async def _metrics(parts: OperatorView, request: Request) -> Response:
    await parts.learn_reservations()
    pace = _pace(request)
    async with pace.long:
        pieces = await pace.each(bytes, parts.metrics.pieces(await parts.state(pace)))
    return Response(b"".join(pieces), headers={"Content-Type": _PROMETHEUS})


async def _pools(parts: OperatorView, request: Request) -> Response:
    await parts.learn_reservations()
    pace = _pace(request)
    async with pace.long:
        fills = (await parts.state(pace)).pools

    def text(record: PoolRecord) -> str:
        return schemas.PoolForm.of(record, fills[record.pool.id]).model_dump_json()

    records = [record for record in parts.ipam.pools if record.pool.id in fills]
    return Listing("pools", await pace.each(text, records))


async def _leases(parts: OperatorView, request: Request) -> Response:
    wanted = Filter.read(request)
    pace = _pace(request)
    theirs: list[Lease] = []
    if wanted.all:
        others: OtherHosts = request.app.state.others
        goes_on = "after" in request.query_params
        theirs = await others.leases(parts.leases_of_others, goes_on=goes_on)
    async with pace.long:
        held = chain(parts.ipam.leasing.leases, theirs)
        page, following = await paged(request, held, _place, pace=pace, fits=wanted.fits)
    is_overdue = parts.is_overdue()
    ours = parts.host

    def text(lease: Lease) -> str:
        overdue = lease.owner == ours and is_overdue(lease)
        return schemas.LeaseForm.of(lease, overdue=overdue).model_dump_json()

    return Listing("leases", await pace.each(text, page), next=following)


def _place(lease: Lease) -> Key:
    return lease.pool, lease.address.packed.hex(), lease.owner, str(lease.endpoint.mac)


async def _lease(parts: OperatorView, request: Request) -> Response:
    lease = find(parts, request, live=False)
    entries = await _kept(parts, HistoryQuery(address=lease.address, limit=_HISTORY_OF_LEASE))
    return Form(
        schemas.LeaseAnswer(
            lease=_form(parts, lease),
            history=[
                schemas.EventForm.of(each) for each in entries if each.event.pool == lease.pool
            ],
        )
    )


async def _release(parts: OperatorView, request: Request) -> Response:
    require_mark(request)
    lease = find(parts, request, live=True)
    log.warning("released by an operator", address=str(lease.address), pool=lease.pool)
    await parts.ipam.leasing.give_up(lease, "an operator said so")
    of_address = (lease.pool, lease.address)
    leases = parts.ipam.leasing.leases
    latest = next((each for each in leases if (each.pool, each.address) == of_address), lease)
    return Form(_form(parts, latest))


async def _hosts(parts: OperatorView, _: Request) -> Response:
    now = parts.clock()
    hosts = await parts.ipam.host_drain.hosts()
    shown_hosts = [schemas.HostForm.of(each, self_name=parts.host, now=now) for each in hosts]
    grace = parts.ipam.host_drain.grace.total_seconds()
    return Form(schemas.HostsAnswer(grace=grace, hosts=shown_hosts))


async def _drain(parts: OperatorView, request: Request) -> Response:
    require_mark(request)
    host = request.path_params["host"]
    force = request.query_params.get("force") == "true"
    log.warning("an operator drains a host", host=host, force=force)
    return Form(schemas.DrainAnswer.of(await parts.ipam.host_drain.drain(host, force=force)))


async def _history(parts: OperatorView, request: Request) -> Response:
    query = request.query_params
    at = instant(query.get("at"))
    if at is not None:
        if parts.history is None:
            raise errors.BadRequest("no history is kept: D4D_HISTORY_DAYS is 0")
        address = parse_address(query.get("what", ""), what="address")
        return await _told(request, await parts.history.holders(address, at))
    asked = question(
        query.get("what", ""),
        kinds=kinds_of(request),
        since=instant(query.get("since")),
        until=latest(request),
        limit=min(number(query.get("limit", "100")), PAGE),
    )
    entries = await _kept(parts, replace(asked, limit=asked.limit + 1))
    more = len(entries) > asked.limit
    entries = entries[: asked.limit]
    return await _told(request, entries, entries[-1].event.at.isoformat() if more else None)


async def _told(
    request: Request, entries: Sequence[HistoryEntry], following: str | None = None
) -> Response:
    def text(entry: HistoryEntry) -> str:
        return schemas.EventForm.of(entry).model_dump_json()

    return Listing("events", await _pace(request).each(text, entries), next=following)


async def _events(parts: OperatorView, request: Request) -> Response:
    return _Following(parts, kinds_of(request), _pace(request))


class _Following(Response):
    """The events from now on, as long as somebody reads them; or that there is no room for it."""

    def __init__(self, parts: OperatorView, kinds: frozenset[EventKind], pace: Pace) -> None:
        self._parts = parts
        self._kinds = kinds
        self._pace = pace

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        try:
            with self._parts.stream.following() as follower:
                answer = StreamingResponse(
                    self._texts(follower),
                    media_type="text/event-stream",
                    headers={"Cache-Control": "no-store"},
                )
                await answer(scope, receive, send)
        except TooManyFollowers as error:
            await refusal(str(error), 503)(scope, receive, send)

    async def _texts(self, follower: Follower) -> AsyncGenerator[str, None]:
        yield ": these are events as they happen\n\n"
        async for together in follower.events(_PULSE):
            await self._pace.turn()
            told = [each for each in together if not self._kinds or each.event.kind in self._kinds]
            if told:
                yield "".join(each.text(self._text) for each in told)
            elif not together:
                yield ": nothing happened\n\n"

    def _text(self, event: LeaseEvent) -> str:
        form = schemas.EventForm.of(HistoryEntry(host=self._parts.host, event=event))
        return f"event: {form.kind}\ndata: {form.model_dump_json()}\n\n"


# Within


def _pace(request: Request) -> Pace:
    pace: Pace = request.app.state.pace
    return pace


def _form(parts: OperatorView, lease: Lease) -> schemas.LeaseForm:
    return schemas.LeaseForm.of(lease, overdue=parts.is_overdue()(lease))


async def _kept(parts: OperatorView, question: HistoryQuery) -> Sequence[HistoryEntry]:
    return await parts.history.find(question) if parts.history else []


async def _no_such(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return refusal(f"no such thing here: {error.detail}", error.status_code)
