"""The command line without a driver: its words, its exit codes, its start."""

import json
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import typer.main
from typer.testing import CliRunner, Result

from d4d.entrypoints.cli.app import cli
from d4d.entrypoints.cli.main import as_typer_wants
from d4d.entrypoints.cli.output import ExitCode, duration
from d4d.settings.model import Settings

# httpcore leaves a unix socket that did not connect to the garbage collector
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for field in Settings.model_fields:
        monkeypatch.delenv(f"D4D_{field.upper()}", raising=False)
    monkeypatch.setenv("D4D_ADMIN_BIND", f"unix:{tmp_path / 'admin.sock'}")


def d4d(*words: str) -> Result:
    return CliRunner().invoke(cli, list(words))


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("server --debug=true", "server --debug"),
        ("server --debug=false", "server --no-debug"),
        (
            "--debug=true --dhcp-server=192.168.59.203 --listen-addr=0.0.0.0 server",
            "server --debug --dhcp-server=192.168.59.203 --listen-addr=0.0.0.0",
        ),
        ("--dhcp-server 192.168.59.203 server", "server --dhcp-server 192.168.59.203"),
        ("--debug pools", "--debug pools"),
        ("leases --name web", "leases --name web"),
        ("", ""),
    ],
)
def test_the_old_drivers_command_lines_are_understood(typed: str, meant: str) -> None:
    assert as_typer_wants(typed.split()) == meant.split()


def test_it_says_which_d4d_it_is() -> None:
    result = d4d("--version")
    assert (result.stdout, result.exit_code) == (f"d4d {version('d4d')}\n", 0)


@pytest.mark.parametrize(
    "words",
    ["pools", "leases", "lease 10.0.0.1", "release 10.0.0.1 --yes", "history web", "events"],
)
def test_a_driver_that_does_not_run_has_an_exit_code(words: str) -> None:
    result = d4d(*words.split())
    assert result.exit_code == ExitCode.NOT_RUNNING
    assert "d4d: no driver answers at unix:" in result.stderr
    assert result.stdout == ""


def test_no_socket_takes_no_commands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("D4D_ADMIN_BIND", "off")
    result = d4d("pools")
    assert result.exit_code == ExitCode.FAILED
    assert "D4D_ADMIN_BIND is off" in result.stderr


def test_a_wrong_setting_is_named_by_each_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("D4D_HOLD", "soon")
    result = d4d("pools")
    assert (result.exit_code, "D4D_HOLD: " in result.stderr) == (ExitCode.FAILED, True)


def test_wrong_usage_has_an_exit_code() -> None:
    assert d4d("lease").exit_code == ExitCode.USAGE
    assert d4d("leases", "--watch", "--json").exit_code == ExitCode.USAGE
    assert d4d("probe", "--timeout", "soon").exit_code == ExitCode.USAGE
    assert d4d("probe", "--timeout", "0s").exit_code == ExitCode.USAGE


def test_settings_are_shown_with_their_source(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("D4D_HOLD", "90s")
    monkeypatch.setenv("D4D_ADMIN_TOKEN", "0123456789abcdef")
    result = d4d("config", "--json")
    told = {each["name"]: each for each in json.loads(result.stdout)["settings"]}
    assert set(told) == {f"D4D_{field.upper()}" for field in Settings.model_fields}
    assert told["D4D_HOLD"]["source"] == "environment D4D_HOLD"
    assert "0123456789abcdef" not in result.stdout
    assert "environment D4D_HOLD" in d4d("config").stdout


def commands(group: Any, before: str = "") -> list[str]:
    """The words of each command, in the order of --help."""
    words: list[str] = []
    for name, command in group.commands.items():
        below = hasattr(command, "commands")
        words += commands(command, f"{name} ") if below else [before + name]
    return words


def test_each_command_and_each_exit_code_is_documented_once() -> None:
    page = (Path(__file__).parents[4] / "docs" / "operate" / "commands.md").read_text()

    def documented(marker: str, pattern: str) -> list[str]:
        section = page.partition(f"<!-- {marker}: begin")[2].partition(f"<!-- {marker}: end")[0]
        return re.findall(pattern, section, re.MULTILINE)

    there = commands(typer.main.get_command(cli))
    assert sorted(documented("commands", r"^\| `d4d ([a-z ]+[a-z])")) == sorted(there)
    assert documented("exit codes", r"^\| (\d+) \|") == [str(code.value) for code in ExitCode]


def imported_by(*words: str) -> set[str]:
    """The modules that ``d4d`` has imported when it ends."""
    script = """
import atexit, sys
atexit.register(lambda: print(*sys.modules, file=sys.stderr))
from d4d.entrypoints.cli.main import main
main()"""
    command = [sys.executable, "-c", script, *words]
    ended = subprocess.run(command, check=True, capture_output=True, text=True)
    assert ended.stdout
    return set(ended.stderr.split())


def test_help_loads_the_command_line_and_nothing_else() -> None:
    """So it is there in less than 0.3 s; a clock would measure what else the machine does."""
    names = {name.partition(".")[0] for name in imported_by("--help")}
    assert "typer" in names
    assert names.isdisjoint(
        {"pydantic", "starlette", "hypercorn", "httpx", "redis", "scapy", "psutil", "asyncio"}
        | {"structlog", "prometheus_client", "dependency_injector", "opentelemetry"}
    )


@pytest.mark.parametrize(
    ("words", "module"), [("leases --help", "leases"), ("config", "diagnostics"), ("--version", "")]
)
def test_a_command_loads_no_other_commands(words: str, module: str) -> None:
    package = "d4d.entrypoints.cli.commands"
    names = {name for name in imported_by(*words.split()) if name.startswith(f"{package}.")}
    assert names == ({f"{package}.{module}"} if module else set())


def test_settings_are_shown_without_a_server() -> None:
    names = {name.partition(".")[0] for name in imported_by("config")}
    assert "pydantic" in names
    assert names.isdisjoint({"starlette", "httpx", "dependency_injector", "prometheus_client"})


@pytest.mark.parametrize(
    ("seconds", "printed"),
    [(0.4, "0s"), (59, "59s"), (600, "10m"), (3725, "1h 2m"), (90061, "1d 1h"), (86460, "1d 1m")],
)
def test_a_duration_is_printed_in_its_two_largest_units(seconds: float, printed: str) -> None:
    assert duration(seconds) == printed
