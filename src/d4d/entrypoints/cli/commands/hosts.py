"""Commands about the hosts that share a store."""

from typing import Annotated, Any
from urllib.parse import quote

import typer

from d4d.entrypoints.cli.output import ExitCode, Json, as_json, connect, report_errors, show, table

host = typer.Typer(rich_markup_mode=None, help="Take back what a host held that is gone for good.")


_STATES = {"alive": "alive", "silent": "not heard of", "unknown": "not known yet"}


@report_errors
def hosts(*, json: Json = False) -> None:
    """Show the hosts that share the store, and when each was last heard of."""
    with connect() as client:
        answer = client.get("/api/hosts", {})
    if json:
        as_json(answer)
        return
    rows = [
        [
            each["host"] + (" (this one)" if each["is_self"] else ""),
            _STATES[each["state"]],
            each["seen_at"],
            f"{each['silent_for']:.0f} s",
            str(each["leases"]),
        ]
        for each in answer["hosts"]
    ]
    show(table(("host", "state", "seen at", "silent here for", "leases"), rows))


@host.command()
@report_errors
def drain(
    host: Annotated[str, typer.Argument(help="Name of the host, as d4d hosts has it.")],
    *,
    yes: Annotated[bool, typer.Option("--yes", help="Don't ask.")] = False,
    force: Annotated[
        bool,
        typer.Option(
            "--force",
            help="The host is switched off: don't wait until it was silent for D4D_HOST_GRACE, and "
            "give back also what nobody can be asked about by ARP.",
        ),
    ] = False,
    json: Json = False,
) -> None:
    """Give back the addresses of a host that is gone for good, but those that still answer."""
    with connect() as client:
        _print_what_is_known(client.get("/api/hosts", {}), host)
        typer.echo(
            f"All addresses of {host} will be given back, but those for which somebody answers by "
            f"ARP. If its containers still run, though its D4D does not, others may get their "
            f"addresses: switch that host off first.",
            err=True,
        )
        if not yes:
            typer.confirm("Drain it?", abort=True, err=True)
        forced = "?force=true" if force else ""
        answer = client.post(f"/api/hosts/{quote(host, safe='')}/drain{forced}", {})
    if json:
        as_json(answer)
    else:
        typer.echo(f"{len(answer['freed'])} addresses of {host} were given back.")
        for each in answer["unasked"]:
            typer.echo(f"{each['address']}: not asked who uses it: {each['error']}", err=True)
        for each in answer["failed"]:
            typer.echo(f"{each['address']} was not: {each['error']}", err=True)
    if answer["failed"]:
        raise typer.Exit(ExitCode.FAILED)


def _print_what_is_known(answer: dict[str, Any], name: str) -> None:
    """What this host knows of the one of that name, and by whose clock."""
    host = next((each for each in answer["hosts"] if each["host"] == name), None)
    if host is None:
        typer.echo(f"{name} has neither a heartbeat nor an address in the store.", err=True)
        return
    last = "it has no heartbeat in the store"
    if host["beat_age"] is not None:
        last = f"its last heartbeat is {host['beat_age']:.0f} s old by the store's clock"
    typer.echo(
        f"{name} holds {host['leases']} addresses; {last}; this host has seen none for "
        f"{host['silent_for']:.0f} s by its own clock, and {answer['grace']:.0f} s "
        f"(D4D_HOST_GRACE) are needed to tell that it is silent.",
        err=True,
    )
