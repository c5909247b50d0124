"""The command line."""

import asyncio
import signal
import sys
from typing import Annotated, Any

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

    try:
        _serve({name: value for name, value in given.items() if value is not None})
    except D4DError as error:
        typer.echo(f"d4d: {error}", err=True)
        sys.exit(1)


def _serve(given: dict[str, Any]) -> None:
    from hypercorn.asyncio import serve  # noqa: PLC0415 - heavy, and other commands need none
    from hypercorn.config import Config  # noqa: PLC0415 - as above
    from hypercorn.utils import LifespanFailureError  # noqa: PLC0415 - as above

    from d4d.entrypoints.ipam import create_app  # noqa: PLC0415 - as above
    from d4d.entrypoints.plugin_socket import PluginSocket  # noqa: PLC0415 - as above
    from d4d.settings import load_settings  # noqa: PLC0415 - as above

    settings = load_settings(**given)
    plugin_socket = PluginSocket(settings.plugin_socket)
    plugin_socket.open()
    config = Config()
    config.bind = [f"fd://{plugin_socket.detach()}"]
    config.graceful_timeout = settings.dhcp_deadline.total_seconds() + 1
    app = create_app(lambda: settings, on_ready=plugin_socket.publish)

    async def run() -> None:
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)

        async def stopped() -> None:
            await stop.wait()

        await serve(app, config, shutdown_trigger=stopped)  # type: ignore[arg-type]  # Starlette is an ASGI app; hypercorn's type is narrower

    try:
        asyncio.run(run())
    except LifespanFailureError:
        sys.exit(1)  # what failed stands in the log
    finally:
        plugin_socket.close()


def main() -> None:
    """The entry point of ``d4d``."""
    cli()
