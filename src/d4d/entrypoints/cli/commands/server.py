"""The command that serves Docker."""

from typing import Annotated

import typer

from d4d.entrypoints.cli.serve import serve


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
    serve({name: value for name, value in given.items() if value is not None})
