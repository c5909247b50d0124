"""Commands that ask the running driver about pools, leases, events and settings."""

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from d4d.entrypoints.cli.output import (
    Exit,
    Json,
    Pool,
    as_json,
    connect,
    report_errors,
    show,
    table,
    without_none,
)

if TYPE_CHECKING:
    from rich.table import Table

_LOOK_AGAIN = 1.0  # seconds
_MINUTE, _HOUR, _DAY = 60, 3600, 86400
_EVENT = ("time", "event", "address", "name", "mac", "detail")


@report_errors
def pools(*, json: Json = False) -> None:
    """Show pools, and how full they are."""
    with connect() as client:
        answer = client.get("/api/pools", {})
    if json:
        as_json(answer)
        return
    columns = ("pool", "networks", "size", "used", "reserved", "free", "gateway", "parent")
    keys = ("id", *columns[1:])
    show(table(columns, [[_cell(pool[key]) for key in keys] for pool in answer["pools"]]))


@report_errors
def leases(
    *,
    pool: Pool = None,
    host: Annotated[str | None, typer.Option(help="Held by this host.")] = None,
    state: Annotated[
        str | None, typer.Option(help="bound, lost, released or freed, as in --json.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="Container name, or a pattern: 'web*'.")] = None,
    mac: Annotated[str | None, typer.Option(help="MAC address.")] = None,
    everywhere: Annotated[
        bool, typer.Option("--all", help="Of all hosts that share the store.")
    ] = False,
    watch: Annotated[bool, typer.Option("--watch", help="Go on showing, until Ctrl-C.")] = False,
    json: Json = False,
) -> None:
    """Show leases; freed ones only with --state freed."""
    if watch and json:
        typer.echo("d4d: --watch is for people: use d4d events --follow --json", err=True)
        raise typer.Exit(Exit.USAGE)
    hosts = "true" if everywhere else None
    query = without_none(pool=pool, host=host, state=state, name=name, mac=mac, all=hosts)
    with connect() as client:
        answer = client.listing("/api/leases", query, name="leases")
        if json:
            as_json(answer)
        elif not watch:
            show(_leases(answer))
        else:
            from rich.live import Live  # noqa: PLC0415 - --help is asked more often

            with Live(_leases(answer), auto_refresh=False, screen=True) as live:
                while True:
                    time.sleep(_LOOK_AGAIN)
                    answer = client.listing("/api/leases", query, name="leases")
                    live.update(_leases(answer), refresh=True)


@report_errors
def lease(
    address: Annotated[str, typer.Argument(help="IP address.")],
    *,
    pool: Pool = None,
    json: Json = False,
) -> None:
    """Show one lease: what the server said, its timers, its history."""
    with connect() as client:
        answer = client.get(f"/api/leases/{address}", without_none(pool=pool))
    if json:
        as_json(answer)
        return
    found = dict(answer["lease"])
    terms = found.pop("terms") or {}
    timers = ("renew_at", "rebind_at", "expires_at")
    rows = [
        [key, f"{value}  ({_until(value)})" if key in timers and value else _cell(value)]
        for key, value in found.items()
    ]
    rows += [[key, _cell(value)] for key, value in terms.items() if value not in (None, [])]
    show(table(("lease", ""), rows))
    show("")
    show(table(_EVENT, list(map(_event, answer["history"]))))


@report_errors
def release(
    address: Annotated[str, typer.Argument(help="IP address.")],
    *,
    pool: Pool = None,
    yes: Annotated[bool, typer.Option("--yes", help="Don't ask.")] = False,
    json: Json = False,
) -> None:
    """Give a lease back to the server, though Docker has not asked for it."""
    with connect() as client:
        found = client.get(f"/api/leases/{address}", without_none(pool=pool))["lease"]
        holder = found["name"] or found["mac"]
        typer.echo(
            f"{address} of {holder} ({found['state']}) will be given back to the DHCP server. "
            "A container that still uses it then shares it with whoever gets it next.",
            err=True,
        )
        if not yes:
            typer.confirm("Release it?", abort=True, err=True)
        answer = client.post(f"/api/leases/{address}/release", {"pool": found["pool"]})
    if json:
        as_json(answer)
    else:
        typer.echo(f"{address} is {answer['state']}")


@report_errors
def history(
    what: Annotated[
        str, typer.Argument(help="Address, container name or MAC; all if left out.")
    ] = "",
    *,
    at: Annotated[
        str | None, typer.Option(help="Who had the address then: 2026-03-01T12:00:00Z.")
    ] = None,
    since: Annotated[str | None, typer.Option(help="Not before this time.")] = None,
    until: Annotated[str | None, typer.Option(help="Not after this time.")] = None,
    limit: Annotated[int, typer.Option(help="How many entries at most.")] = 100,
    json: Json = False,
) -> None:
    """Show what happened to an address, a container or a MAC, the newest first."""
    query = without_none(what=what, at=at, since=since, until=until)
    with connect() as client:
        answer = client.listing("/api/history", query, name="events", most=limit)
    if json:
        as_json(answer)
    elif at and not answer["events"]:
        typer.echo(f"nobody had {what} at {at}")
    else:
        show(table(_EVENT, list(map(_event, answer["events"]))))


@report_errors
def events(
    *,
    follow: Annotated[
        bool, typer.Option("--follow", help="Show events as they happen, until Ctrl-C.")
    ] = False,
    kind: Annotated[
        list[str] | None, typer.Option(help="These kinds only; may be repeated.")
    ] = None,
    json: Json = False,
) -> None:
    """Show the last events, or with --follow those to come; JSON is then one event a line."""
    from json import dumps  # noqa: PLC0415 - json is the option here

    kinds = tuple(kind or ())
    with connect() as client:
        if follow:
            for event in client.events(kinds):
                typer.echo(dumps(event) if json else "  ".join(_event(event)))
            return
        answer = client.get("/api/history", {"limit": "100", "kind": kinds})
    if json:
        as_json(answer)
    else:
        show(table(_EVENT, list(map(_event, answer["events"]))))


def _leases(answer: dict[str, Any]) -> "Table":
    columns = ("address", "state", "name", "mac", "renews", "expires", "pool")
    rows = [
        [
            each["address"],
            "late" if each["overdue"] else each["state"],
            each["name"],
            each["mac"],
            _until(each["renew_at"]),
            _until(each["expires_at"]),
            each["pool"],
        ]
        for each in answer["leases"]
    ]
    return table(columns, rows)


def _event(event: dict[str, Any]) -> list[str]:
    keys = ("at", "kind", "address", "name", "mac", "detail")
    return [_cell(event[key]) or "-" for key in keys]


def _until(instant: str | None) -> str:
    """How long it is until then, in the two largest units."""
    if instant is None:
        return "never"
    seconds = int((datetime.fromisoformat(instant) - datetime.now(UTC)).total_seconds())
    text, left = "", abs(seconds)
    for size, unit in ((_DAY, "d"), (_HOUR, "h"), (_MINUTE, "m"), (1, "s")):
        if left >= size and text.count(" ") < 2:  # noqa: PLR2004 - two units
            text, left = f"{text}{left // size}{unit} ", left % size
    text = text.strip() or "0s"
    return f"{text} ago" if seconds < 0 else f"in {text}"


def _cell(value: Any) -> str | None:
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return None if value is None else str(value)
