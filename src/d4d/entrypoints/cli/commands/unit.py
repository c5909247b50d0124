"""``d4d unit``: the systemd units, for those whom no package gave them."""

import sys
from importlib.resources import files
from pathlib import Path
from typing import Annotated

import typer

from d4d.domain.errors import BadRequest
from d4d.entrypoints.cli.output import report_errors

UNITS = ("d4d.socket", "d4d.service")
_ANY_PROGRAM = "ExecStart=/usr/bin/env d4d "  # where the units do not know where D4D lies
_HIDDEN = ("/home", "/root", "/run/user", "/tmp", "/var/tmp")  # noqa: S108 - ProtectHome= and PrivateTmp=


@report_errors
def unit(
    name: Annotated[
        str | None, typer.Argument(help="d4d.service or d4d.socket; else both.")
    ] = None,
) -> None:
    """Print the systemd units with the path of this d4d."""
    program = Path(sys.argv[0]).absolute()
    for each in UNITS if name is None else (name,):
        text = unit_text(each, program)
        typer.echo(text if name else f"# /etc/systemd/system/{each}\n{text}")


def unit_text(name: str, program: Path) -> str:
    """A unit of D4D's, where ``program`` is the command ``d4d``.

    Raises BadRequest for another unit's name, and where the service could not run the program.
    """
    if name not in UNITS:
        raise BadRequest(f"no unit {name}: there are {' and '.join(UNITS)}")
    _refuse_hidden(program)
    template = (files("d4d.entrypoints.cli") / "units" / name).read_text()
    quoted = str(program).replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    word = f'"{quoted}"' if any(map(str.isspace, quoted)) else quoted
    return template.replace(_ANY_PROGRAM, f"ExecStart={word} ").rstrip("\n")


def _refuse_hidden(program: Path) -> None:
    for place in (program, program.resolve()):
        for home in _HIDDEN:
            if place.is_relative_to(home):
                raise BadRequest(
                    f"{place}: the service sees nothing of {home}; install D4D "
                    "elsewhere, as with PIPX_HOME=/opt/pipx PIPX_BIN_DIR=/usr/local/bin"
                )
