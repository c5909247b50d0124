"""The commands, and how they are read."""

from importlib.metadata import version
from typing import Annotated

import typer

from d4d.entrypoints.cli.commands import backup as cli_backup
from d4d.entrypoints.cli.commands import diagnostics as cli_host
from d4d.entrypoints.cli.commands import hosts as cli_hosts
from d4d.entrypoints.cli.commands import leases as cli_leases
from d4d.entrypoints.cli.commands import reservations as cli_reservations

cli = typer.Typer(
    name="d4d",
    no_args_is_help=True,
    rich_markup_mode=None,  # help in colours takes a third longer to start
    pretty_exceptions_enable=False,  # a service's log wants the plain traceback
)


_COMMANDS = (
    cli_leases.pools,
    cli_leases.leases,
    cli_leases.lease,
    cli_leases.release,
    cli_reservations.reserve,
    cli_reservations.unreserve,
    cli_reservations.reservations,
    cli_leases.history,
    cli_leases.events,
    cli_hosts.hosts,
    cli_host.config,
    cli_host.probe,
    cli_host.doctor,
    cli_backup.backup,
    cli_backup.restore,
)


def _say_version(asked: bool) -> None:
    if asked:
        typer.echo(f"d4d {version('d4d')}")
        raise typer.Exit


@cli.callback()
def options(
    _version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_say_version, is_eager=True, help="Say which D4D it is."
        ),
    ] = False,
) -> None:
    """DHCP for Docker: containers get their addresses from the site's DHCP server."""


@cli.command()
def server(
    debug: Annotated[bool | None, typer.Option(help="Log more (IPAM_DEBUG).")] = None,
    dhcp_server: Annotated[
        str | None, typer.Option(help="Take offers of this server only (DHCP_SERVER).")
    ] = None,
    listen_addr: Annotated[
        str | None, typer.Option(help="The host's address for relayed DHCP (LISTEN_ADDR).")
    ] = None,
) -> None:
    """Serve Docker at the plugin socket until stopped."""
    given = {"debug": debug, "dhcp_server": dhcp_server, "listen_addr": listen_addr}
    from d4d.entrypoints.cli.commands.server import serve  # noqa: PLC0415 - --help is asked more often

    serve({name: value for name, value in given.items() if value is not None})


for each in _COMMANDS:
    cli.command()(each)
cli.add_typer(cli_hosts.host_cli, name="host")
