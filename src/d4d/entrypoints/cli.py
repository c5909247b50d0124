"""The command line."""

import sys
from typing import Annotated

import typer

cli = typer.Typer(
    name="d4d",
    help="DHCP for Docker: containers get their addresses from the site's DHCP server.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,  # a service's log wants the plain traceback
)


@cli.callback()
def _root() -> None:
    """Keeps ``server`` a command of its own while it is the only one."""


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
    from d4d.domain.errors import D4DError  # noqa: PLC0415 - --help is asked more often
    from d4d.entrypoints.serving import serve_until_stopped  # noqa: PLC0415 - as above

    try:
        serve_until_stopped({name: value for name, value in given.items() if value is not None})
    except D4DError as error:
        typer.echo(f"d4d: {error}", err=True)
        sys.exit(1)


def main() -> None:
    """The entry point of ``d4d``."""
    cli()
