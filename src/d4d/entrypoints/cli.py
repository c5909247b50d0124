"""The command line."""

import sys
from typing import Annotated

import typer

from d4d.entrypoints import cli_backup, cli_host, cli_hosts, cli_leases, cli_reservations

cli = typer.Typer(
    name="d4d",
    help="DHCP for Docker: containers get their addresses from the site's DHCP server.",
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
_SERVERS_OPTIONS = ("--debug", "--dhcp-server", "--listen-addr")


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


for each in _COMMANDS:
    cli.command()(each)
cli.add_typer(cli_hosts.host_cli, name="host")


def as_typer_wants(words: list[str]) -> list[str]:
    """The words of a command line, also as oam-docker-ipam's unit has them.

    That wrote ``--debug=true``, and options before the word ``server``.
    """
    rest, options = list(words), []
    while rest and rest[0].partition("=")[0] in _SERVERS_OPTIONS:
        option = rest.pop(0)
        options.append(option)
        if "=" not in option and option != "--debug" and rest:
            options.append(rest.pop(0))
    if rest[:1] == ["server"]:
        words = ["server", *options, *rest[1:]]
    debug = {"--debug=true": "--debug", "--debug=false": "--no-debug"}
    return [debug.get(word, word) for word in words]


def main() -> None:
    """The entry point of ``d4d``."""
    cli(args=as_typer_wants(sys.argv[1:]))
