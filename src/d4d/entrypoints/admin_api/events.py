"""The operator's API for events: what happened, and what happens from now on."""

from collections.abc import AsyncGenerator, Sequence
from dataclasses import replace

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from d4d.adapters.observability.event_stream import Follower, TooManyFollowers
from d4d.domain.addressing import parse_address
from d4d.domain.errors import BadRequest
from d4d.domain.events import EventKind, LeaseEvent
from d4d.domain.ports.history import HistoryEntry
from d4d.entrypoints.admin_api.queries import (
    PAGE,
    history_query,
    instant,
    kinds_of,
    latest,
    number,
    pace_of,
)
from d4d.entrypoints.admin_api.responses import list_response, refusal
from d4d.entrypoints.admin_api.schemas import EventSchema
from d4d.operations.view import OperatorView
from d4d.service_layer.concurrency.pace import Pace

_KEEPALIVE = 15.0  # seconds after which a silent stream of events says that it lives


async def history(view: OperatorView, request: Request) -> Response:
    """GET lists what happened, the newest first; with ``at``, who had an address then."""
    query = request.query_params
    at = instant(query.get("at"))
    if at is not None:
        if view.history is None:
            raise BadRequest("no history is kept: D4D_HISTORY_DAYS is 0")
        address = parse_address(query.get("what", ""), what="address")
        return await _listed(request, await view.history.holders(address, at))
    wanted = history_query(
        query.get("what", ""),
        kinds=kinds_of(request),
        since=instant(query.get("since")),
        until=latest(request),
        limit=min(number(query.get("limit", "100")), PAGE),
    )
    one_more = replace(wanted, limit=wanted.limit + 1)
    entries = await view.history.find(one_more) if view.history else []
    page = entries[: wanted.limit]
    following = page[-1].event.at.isoformat() if len(entries) > len(page) else None
    return await _listed(request, page, following)


async def _listed(
    request: Request, entries: Sequence[HistoryEntry], following: str | None = None
) -> Response:
    def text(entry: HistoryEntry) -> str:
        return EventSchema.of(entry).model_dump_json()

    return list_response("events", await pace_of(request).each(text, entries), next=following)


async def events(view: OperatorView, request: Request) -> Response:
    """GET follows the events from now on, as server-sent events."""
    return _EventsResponse(view, kinds_of(request), pace_of(request))


class _EventsResponse(Response):
    """The events from now on, as long as somebody reads them; or that there is no room for it."""

    def __init__(self, view: OperatorView, kinds: frozenset[EventKind], pace: Pace) -> None:
        self._view = view
        self._kinds = kinds
        self._pace = pace

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        try:
            with self._view.stream.following() as follower:
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
        async for batch in follower.events(_KEEPALIVE):
            await self._pace.turn()
            wanted = [each for each in batch if not self._kinds or each.event.kind in self._kinds]
            if wanted:
                yield "".join(each.text(self._text) for each in wanted)
            elif not batch:
                yield ": nothing happened\n\n"

    def _text(self, event: LeaseEvent) -> str:
        schema = EventSchema.of(HistoryEntry(host=self._view.host, event=event))
        return f"event: {schema.kind}\ndata: {schema.model_dump_json()}\n\n"
