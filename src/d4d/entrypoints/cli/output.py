"""How commands print, and what their exit codes say."""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from enum import IntEnum
from functools import wraps
from typing import TYPE_CHECKING, Annotated, Any, ParamSpec

import typer

if TYPE_CHECKING:
    from pathlib import Path

    from rich.table import Table

    from d4d.adapters.admin_client import AdminClient

P = ParamSpec("P")

Json = Annotated[bool, typer.Option("--json", help="Print JSON, as the admin API has it.")]
Pool = Annotated[str | None, typer.Option(help="Pool id, or its subnet.")]
_UNITS = ((86400, "d"), (3600, "h"), (60, "m"), (1, "s"))  # in seconds


class ExitCode(IntEnum):
    """What the exit code of a command says."""

    DONE = 0
    FAILED = 1
    """It was refused, or something else went wrong: the message says what."""
    USAGE = 2
    NOT_RUNNING = 3
    """No driver answers at D4D_ADMIN_BIND."""
    NOT_FOUND = 4
    """There is no such lease, pool or reservation."""


def report_errors(command: Callable[P, None]) -> Callable[P, None]:
    """The command, whose errors become one line and an exit code."""

    @wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        from d4d.domain.errors import D4DError  # noqa: PLC0415 - --help is asked more often

        try:
            command(*args, **kwargs)
        except D4DError as error:
            typer.echo(f"d4d: {error}", err=True)
            raise typer.Exit(_exit_code(error)) from error
        except KeyboardInterrupt:
            raise typer.Exit(ExitCode.DONE) from None

    return run


def _exit_code(error: Exception) -> ExitCode:
    from d4d.adapters.admin_client import (  # noqa: PLC0415 - not every command has a client
        NoSuchThing,
        NotRunning,
    )
    from d4d.domain.errors import by_class  # noqa: PLC0415 - as above

    codes: dict[type, ExitCode] = {
        NotRunning: ExitCode.NOT_RUNNING,
        NoSuchThing: ExitCode.NOT_FOUND,
    }
    return by_class(codes, error, ExitCode.FAILED)


@contextmanager
def connect() -> Iterator["AdminClient"]:
    """The running driver, by the settings. Raises D4DError."""
    from d4d.adapters.admin_client import AdminClient  # noqa: PLC0415 - --help is asked more often
    from d4d.domain.errors import BadRequest  # noqa: PLC0415 - as above
    from d4d.settings.loading import load_settings  # noqa: PLC0415 - as above

    settings = load_settings()
    bind, token = settings.admin_bind, settings.admin_token
    if bind.path is None and bind.address is None:
        raise BadRequest("D4D_ADMIN_BIND is off: the driver takes no commands")
    client = AdminClient(
        path=_socket(bind.path),
        url=f"http://{bind}",
        token=token.get_secret_value() if token else None,
    )
    try:
        yield client
    finally:
        client.close()


def _socket(path: "Path | None") -> "Path | None":
    """The operator's socket: a plugin's, which Docker put elsewhere, if that is all there is.

    Raises BadRequest where there are several.
    """
    from d4d.adapters.admin_client import sockets_of_plugins  # noqa: PLC0415 - see connect()
    from d4d.domain.errors import BadRequest  # noqa: PLC0415 - as above
    from d4d.settings.loading import source  # noqa: PLC0415 - as above

    if path is None or path.exists() or source("admin_bind") != "default":
        return path
    found = sockets_of_plugins()
    if len(found) > 1:
        several = ", ".join(f"unix:{each}" for each in found)
        raise BadRequest(f"several plugins may be D4D, set D4D_ADMIN_BIND to one of {several}")
    return found[0] if found else path


def without_none(**query: str | None) -> dict[str, str]:
    """The query without what was not given."""
    return {name: value for name, value in query.items() if value is not None}


def as_json(content: Any) -> None:
    """Print JSON, for programs."""
    typer.echo(json.dumps(content, indent=2))


def table(columns: Sequence[str], rows: Sequence[Sequence[str | None]]) -> "Table":
    """A table for people; a dash is what is not known."""
    from rich.table import Table  # noqa: PLC0415 - --help is asked more often
    from rich.text import Text  # noqa: PLC0415 - as above

    made = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        made.add_column(column, overflow="fold")
    for row in rows:
        made.add_row(*(Text(cell or "-") for cell in row))  # a name may look like markup
    return made


def event_table(events: Sequence[dict[str, Any]]) -> "Table":
    """What happened, one event a row; ``events`` are as the admin API has them."""
    columns = ("time", "event", "address", "name", "mac", "detail")
    return table(columns, list(map(event_cells, events)))


def event_cells(event: dict[str, Any]) -> list[str]:
    """One event in print."""
    keys = ("at", "kind", "address", "name", "mac", "detail")
    return [cell(event[key]) or "-" for key in keys]


def cell(value: Any) -> str | None:
    """A value of the admin API in print; None is what is not known."""
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return None if value is None else str(value)


def duration(seconds: float) -> str:
    """A duration in print, in its two largest units."""
    text, left = "", int(seconds)
    for size, unit in _UNITS:
        if left >= size and text.count(" ") < 2:  # noqa: PLR2004 - two units
            text, left = f"{text}{left // size}{unit} ", left % size
    return text.strip() or "0s"


def show(content: Any) -> None:
    """Print for people; without a terminal, lines are not wrapped."""
    from rich.console import Console  # noqa: PLC0415 - --help is asked more often

    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=300)
    console.print(content)
