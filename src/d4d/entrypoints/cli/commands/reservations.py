"""Commands about the addresses that an operator keeps for a container, or from all."""

from typing import Annotated, Any

import typer

from d4d.entrypoints.cli.output import (
    Json,
    Pool,
    as_json,
    connect,
    report_errors,
    show,
    table,
    without_none,
)

_NamedPool = Annotated[str, typer.Argument(metavar="POOL", help="Pool id, or its subnet.")]
_Address = Annotated[str, typer.Argument(help="IP address.")]


@report_errors
def reserve(
    pool: _NamedPool,
    address: _Address,
    *,
    beneficiary: Annotated[
        str | None,
        typer.Option("--for", metavar="NAME|MAC", help="Who alone gets it; nobody if left out."),
    ] = None,
    note: Annotated[str, typer.Option(help="Why, for those who read it later.")] = "",
    json: Json = False,
) -> None:
    """Keep an address for one container, or from all, on every host of the store."""
    query = {"pool": pool, "address": address, "note": note} | without_none(**{"for": beneficiary})
    with connect() as client:
        answer = client.post("/api/reservations", query)
    if json:
        as_json(answer)
        return
    made = answer["reservation"]
    typer.echo(f"{made['address']} is reserved for {_beneficiary(made)} in {made['pool']}")
    for warning in answer["warnings"]:
        typer.echo(f"d4d: {warning}", err=True)


@report_errors
def unreserve(
    pool: _NamedPool,
    address: _Address,
    *,
    yes: Annotated[bool, typer.Option("--yes", help="Don't ask.")] = False,
    json: Json = False,
) -> None:
    """Take a reservation away: whoever asks next may get the address."""
    with connect() as client:
        kept = client.listing("/api/reservations", {"pool": pool}, name="reservations")
        for each in kept["reservations"]:
            if each["address"] == address:
                typer.echo(
                    f"{address} is reserved for {_beneficiary(each)}{_note(each)} since "
                    f"{each['made_at']}. Any container may get it then.",
                    err=True,
                )
        if not yes:
            typer.confirm("Take the reservation away?", abort=True, err=True)
        answer = client.delete(f"/api/reservations/{address}", {"pool": pool})
    if json:
        as_json(answer)
    else:
        typer.echo(f"{address} is reserved no more")


@report_errors
def reservations(*, pool: Pool = None, json: Json = False) -> None:
    """Show the addresses that operators reserved."""
    with connect() as client:
        answer = client.listing("/api/reservations", without_none(pool=pool), name="reservations")
    if json:
        as_json(answer)
        return
    columns = ("address", "for", "note", "since", "pool")
    rows = [
        [each["address"], _beneficiary(each), each["note"], each["made_at"], each["pool"]]
        for each in answer["reservations"]
    ]
    show(table(columns, rows))


def _beneficiary(reservation: dict[str, Any]) -> str:
    return str(reservation["mac"] or reservation["name"] or "nobody")


def _note(reservation: dict[str, Any]) -> str:
    return f" ({reservation['note']})" if reservation["note"] else ""
