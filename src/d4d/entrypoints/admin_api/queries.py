"""Requests to the admin API, read from their paths and queries."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum
from fnmatch import translate
from typing import TypeVar
from urllib.parse import quote, unquote

from starlette.requests import Request

from d4d.domain import errors
from d4d.domain.addressing import Address, MacAddress, parse_address
from d4d.domain.events import EventKind
from d4d.domain.leases import Lease, LeaseState
from d4d.domain.ports.history import HistoryQuery
from d4d.operations.view import OperatorView
from d4d.service_layer.concurrency.pace import Pace

_MOST_ENTRIES = 10_000
"""The largest ``limit`` that is accepted; one answer has fewer items, and says how to go on."""
PAGE = 500
"""Items of a list in one answer: a few hundred kilobytes."""
_LONGEST_PATTERN = 253  # characters, as the longest name of a host: containers' are shorter
_SHOWN = 40  # characters of what was asked, in an error
_MICROSECOND = timedelta(microseconds=1)  # no two events of a history are of the same one

Choice = TypeVar("Choice", bound=Enum)
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Which leases are wanted; None is any."""

    pool: str | None
    host: str | None
    state: LeaseState | None
    mac: MacAddress | None
    name: re.Pattern[str] | None
    """A pattern such as ``web*``."""
    all: bool
    """Of every host that shares the store."""
    addresses: frozenset[Address]
    """Any of these; none given is any at all."""

    @classmethod
    def read(cls, request: Request) -> "Filter":
        """Raises BadRequest."""
        query = request.query_params
        mac = query.get("mac")
        return cls(
            pool=query.get("pool"),
            host=query.get("host"),
            state=_member(LeaseState, query["state"], field_name="state")
            if "state" in query
            else None,
            mac=MacAddress.parse(mac) if mac else None,
            name=_pattern(query["name"]) if "name" in query else None,
            all=query.get("all") == "true",
            addresses=frozenset(
                parse_address(each, what="address") for each in query.getlist("address")
            ),
        )

    def fits(self, lease: Lease) -> bool:
        """Freed leases are leases no more: they are shown only where that state is asked for."""
        if self.state is None and lease.state is LeaseState.FREED:
            return False
        if self.addresses and lease.address not in self.addresses:
            return False
        if self.name is not None and not self.name.match(lease.endpoint.name or ""):
            return False
        return (
            self.pool in (None, lease.pool, lease.pool.partition("?")[0])
            and self.host in (None, lease.owner)
            and self.state in (None, lease.state)
            and self.mac in (None, lease.endpoint.mac)
        )


def _pattern(text: str) -> re.Pattern[str]:
    """A shell's pattern. Each ``*`` matches as little as it can and does not backtrack, so that
    matching is linear; translating it takes its length squared. Raises BadRequest.
    """
    if len(text) > _LONGEST_PATTERN:
        raise errors.BadRequest(
            f"name {text[:_SHOWN]!r}… is too long: a pattern has {_LONGEST_PATTERN} characters at "
            f"most"
        )
    return re.compile(translate(text))


Key = tuple[str, ...]
"""The place of an item in its list: no two have the same."""


async def paged(
    request: Request,
    items: Iterable[T],
    key: Callable[[T], Key],
    *,
    pace: Pace,
    fits: Callable[[T], bool] = lambda _: True,
) -> tuple[list[T], str | None]:
    """The page of fitting items that ``limit`` and ``after`` select, and the next ``after``.

    It takes memory for one page, and no long step however many items there are. Raises BadRequest.
    """
    query = request.query_params
    limit = min(number(query.get("limit", str(PAGE))), PAGE)
    after = _place(query["after"]) if "after" in query else ()
    first: list[tuple[Key, T]] = []

    def look(item: T) -> None:
        if fits(item) and (place := key(item)) > after:
            first.append((place, item))
            if len(first) > 2 * limit:
                _keep(first, limit + 1)

    await pace.each(look, items)
    _keep(first, limit + 1)
    following = _text(first[limit - 1][0]) if len(first) > limit else None
    return [item for _, item in first[:limit]], following


def _keep(placed: list[tuple[Key, T]], most: int) -> None:
    """The first ones, in their order."""
    placed.sort(key=lambda each: each[0])
    del placed[most:]


def _text(place: Key) -> str:
    """The place as ``after`` has it."""
    return " ".join(quote(part, safe=":/") for part in place)


def _place(text: str) -> Key:
    return tuple(unquote(part) for part in text.split(" "))


def find(view: OperatorView, request: Request, *, live: bool) -> Lease:
    """The lease of the path's address. Raises BadRequest, UnknownPool, AddressInUse."""
    address = parse_address(request.path_params["address"], what="address")
    pool = request.query_params.get("pool")
    found = [
        lease
        for lease in view.ipam.leasing.leases
        if lease.address == address and pool in (None, lease.pool, lease.pool.partition("?")[0])
    ]
    found = [lease for lease in found if lease.is_live] or ([] if live else found)
    if not found:
        raise errors.UnknownPool(f"no lease of {address}{f' in {pool}' if pool else ''}")
    if len(found) > 1:
        pools = ", ".join(lease.pool for lease in found)
        raise errors.AddressInUse(f"{address} is leased in several pools, name one: {pools}")
    return found[0]


def history_query(
    subject: str,
    *,
    kinds: frozenset[EventKind],
    since: datetime | None,
    until: datetime | None,
    limit: int,
) -> HistoryQuery:
    """By address, MAC or name, whichever ``subject`` looks like; all of them where it is empty."""
    address: Address | None = None
    mac: MacAddress | None = None
    try:
        address = parse_address(subject, what="address")
    except errors.BadRequest:
        try:
            mac = MacAddress.parse(subject)
        except errors.BadRequest:
            mac = None
    name = subject if subject and address is None and mac is None else None
    return HistoryQuery(
        address=address,
        mac=mac,
        name=name,
        kinds=kinds,
        since=since,
        until=until,
        limit=limit,
    )


def kinds_of(request: Request) -> frozenset[EventKind]:
    """The kinds of event that are wanted; none given is any. Raises BadRequest."""
    texts = request.query_params.getlist("kind")
    return frozenset(_member(EventKind, text, field_name="kind") for text in texts)


def _member(choices: type[Choice], text: str, *, field_name: str) -> Choice:
    try:
        return choices(text)
    except ValueError as error:
        known = ", ".join(each.value for each in choices)
        raise errors.BadRequest(f"unknown {field_name} {text!r}: known are {known}") from error


def instant(text: str | None) -> datetime | None:
    """The time that is written; without a zone it is this host's. Raises BadRequest."""
    if text is None:
        return None
    try:
        at = datetime.fromisoformat(text)
    except ValueError as error:
        raise errors.BadRequest(
            f"{text!r} is no time: write it as 2026-03-01T12:00:00Z, or 2026-03-01 12:00"
        ) from error
    return (at if at.tzinfo else at.astimezone()).astimezone(UTC)


def latest(request: Request) -> datetime | None:
    """Up to when entries are wanted: ``until``, or before the last entry of the previous page."""
    query = request.query_params
    until, after = instant(query.get("until")), instant(query.get("after"))
    if after is None:
        return until
    before = after - _MICROSECOND
    return before if until is None else min(before, until)


def number(text: str) -> int:
    """How many entries are wanted. Raises BadRequest."""
    is_short = text.isdecimal() and len(text) <= len(str(_MOST_ENTRIES))
    if not is_short or not 0 < int(text) <= _MOST_ENTRIES:
        shown = text[:_SHOWN]
        raise errors.BadRequest(f"limit {shown!r} is none: give a number up to {_MOST_ENTRIES}")
    return int(text)


def pace_of(request: Request) -> Pace:
    """The pace at which a long answer is made, next to Docker's calls."""
    pace: Pace = request.app.state.pace
    return pace
