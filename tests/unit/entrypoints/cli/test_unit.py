"""The units that ``d4d unit`` prints start the program that printed them."""

import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from d4d.domain.errors import BadRequest
from d4d.entrypoints.cli.app import cli
from d4d.entrypoints.cli.commands.unit import UNITS, unit_text


def command_of(text: str) -> str:
    (line,) = (line for line in text.splitlines() if line.startswith("ExecStart="))
    return line.removeprefix("ExecStart=")


@pytest.mark.parametrize(
    ("program", "command"),
    [
        ("/usr/bin/d4d", "/usr/bin/d4d server"),
        ("/opt/d4d/bin/d4d", "/opt/d4d/bin/d4d server"),
        ("/opt/my tools/100%/d4d", '"/opt/my tools/100%%/d4d" server'),
    ],
)
def test_the_service_starts_the_program_that_was_asked(program: str, command: str) -> None:
    assert command_of(unit_text("d4d.service", Path(program))) == command


@pytest.mark.parametrize("hidden", ["/root/.local/bin/d4d", "/tmp/try/bin/d4d"])
def test_a_program_that_the_service_can_not_see_is_refused(hidden: str) -> None:
    with pytest.raises(BadRequest, match="the service sees nothing of"):
        unit_text("d4d.service", Path(hidden))


def test_the_command_prints_one_or_both(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["/opt/d4d/bin/d4d", "unit"])
    both = CliRunner().invoke(cli, ["unit"])
    assert [f"# /etc/systemd/system/{name}" in both.stdout for name in UNITS] == [True, True]
    one = CliRunner().invoke(cli, ["unit", "d4d.service"])
    assert one.stdout.startswith("[Unit]")
    assert command_of(one.stdout) == "/opt/d4d/bin/d4d server"
    other = CliRunner().invoke(cli, ["unit", "docker.service"])
    assert (other.exit_code, "no unit docker.service" in other.stderr) == (1, True)
