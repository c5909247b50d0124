"""Commands about the hosts that share a store."""

from typing import Annotated
from urllib.parse import quote

import typer

from d4d.entrypoints.cli.output import Exit, Json, as_json, driver, show, table, told

host_cli = typer.Typer(help="Take back what a host held that is gone for good.")


@told
def hosts(*, json: Json = False) -> None:
    """Show the hosts that share the store, and when each was last heard of."""
    with driver() as client:
        answer = client.get("/api/hosts", {})
    if json:
        as_json(answer)
        return
    rows = [
        [
            each["host"] + (" (this one)" if each["is_self"] else ""),
            "alive" if each["is_alive"] else "not heard of",
            each["seen_at"],
            str(each["leases"]),
        ]
        for each in answer["hosts"]
    ]
    show(table(("host", "state", "seen at", "leases"), rows))


@host_cli.command()
@told
def drain(
    host: Annotated[str, typer.Argument(help="Name of the host, as d4d hosts has it.")],
    *,
    yes: Annotated[bool, typer.Option("--yes", help="Don't ask.")] = False,
    json: Json = False,
) -> None:
    """Give back all addresses of a host that is gone for good."""
    with driver() as client:
        typer.echo(
            f"All addresses of {host} will be given back. If its containers still run, though its "
            f"D4D does not, others may get their addresses: switch that host off first.",
            err=True,
        )
        if not yes:
            typer.confirm("Drain it?", abort=True, err=True)
        answer = client.post(f"/api/hosts/{quote(host, safe='')}/drain", {})
    if json:
        as_json(answer)
    else:
        typer.echo(f"{len(answer['freed'])} addresses of {host} were given back.")
        for each in answer["failed"]:
            typer.echo(f"{each['address']} was not: {each['error']}", err=True)
    if answer["failed"]:
        raise typer.Exit(Exit.FAILED)
