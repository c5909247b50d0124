"""Commands that ask the running driver what happened, and what happens."""

from typing import Annotated

import typer

from d4d.entrypoints.cli.output import (
    Json,
    as_json,
    connect,
    event_cells,
    event_table,
    report_errors,
    show,
    without_none,
)


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
        show(event_table(answer["events"]))


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
                typer.echo(dumps(event) if json else "  ".join(event_cells(event)))
            return
        answer = client.get("/api/history", {"limit": "100", "kind": kinds})
    if json:
        as_json(answer)
    else:
        show(event_table(answer["events"]))
