"""The commands, each imported when it is asked for or listed."""

from collections import UserDict
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperGroup
from typer.main import get_command, get_group

_COMMANDS = {
    "server": "server:server",
    "pools": "leases:pools",
    "leases": "leases:leases",
    "lease": "leases:lease",
    "release": "leases:release",
    "reserve": "reservations:reserve",
    "unreserve": "reservations:unreserve",
    "reservations": "reservations:reservations",
    "history": "events:history",
    "events": "events:events",
    "hosts": "hosts:hosts",
    "config": "diagnostics:config",
    "probe": "diagnostics:probe",
    "doctor": "diagnostics:doctor",
    "backup": "backup:backup",
    "restore": "backup:restore",
    "host": "hosts:host",
    "unit": "unit:unit",
}
"""Each command, and which function (or group of commands) below ``commands`` it is."""


class _Commands(UserDict[str, Any]):
    """The commands by name, each loaded when it is first looked up."""

    def __getitem__(self, name: str) -> Any:
        command = self.data[name]
        if isinstance(command, str):
            command = self.data[name] = _load(name, command)
        return command


class _LazyGroup(TyperGroup):
    def __init__(self, **attrs: Any) -> None:
        super().__init__(**attrs)
        self.commands = _Commands(_COMMANDS)


def _load(name: str, where: str) -> Any:
    module, _, attribute = where.partition(":")
    found = getattr(import_module(f"d4d.entrypoints.cli.commands.{module}"), attribute)
    if isinstance(found, typer.Typer):
        group = get_group(found)
        group.name = name
        return group
    one = typer.Typer(add_completion=False, rich_markup_mode=None)
    one.command(name)(found)
    return get_command(one)


def _print_version(requested: bool) -> None:
    if requested:
        from importlib.metadata import version  # noqa: PLC0415 - --help is asked more often

        typer.echo(f"d4d {version('d4d')}")
        raise typer.Exit


cli = typer.Typer(
    cls=_LazyGroup,
    name="d4d",
    no_args_is_help=True,
    rich_markup_mode=None,  # help in colours takes a third longer to start
    pretty_exceptions_enable=False,  # a service's log wants the plain traceback
)


@cli.callback()
def options(
    _version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Say which D4D it is."
        ),
    ] = False,
) -> None:
    """DHCP for Docker: containers get their addresses from the site's DHCP server."""
