"""Commands that ask the running driver about pools and leases."""

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from d4d.entrypoints.cli.output import (
    ExitCode,
    Json,
    Pool,
    as_json,
    cell,
    connect,
    duration,
    event_table,
    report_errors,
    show,
    table,
    without_none,
)

if TYPE_CHECKING:
    from rich.table import Table

_LOOK_AGAIN = 1.0  # seconds


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
    show(table(columns, [[cell(pool[key]) for key in keys] for pool in answer["pools"]]))


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
        raise typer.Exit(ExitCode.USAGE)
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
        [key, f"{value}  ({_until(value)})" if key in timers and value else cell(value)]
        for key, value in found.items()
    ]
    rows += [[key, cell(value)] for key, value in terms.items() if value not in (None, [])]
    show(table(("lease", ""), rows))
    show("")
    show(event_table(answer["history"]))


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


def _until(instant: str | None) -> str:
    """How long it is until then."""
    if instant is None:
        return "never"
    seconds = (datetime.fromisoformat(instant) - datetime.now(UTC)).total_seconds()
    return f"{duration(-seconds)} ago" if seconds < 0 else f"in {duration(seconds)}"
