"""What ``d4d server`` has imported when it serves: Docker waits for it, and a clock would measure
what else the machine does.
"""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx
import pytest

from lab.processes import eventually

_MAIN = "from d4d.entrypoints.cli.main import main; main()"
_PATIENCE = timedelta(seconds=60)
_IDLE = timedelta(seconds=20)
_IMPORTED = re.compile(r"^import time: +\d+ \| +\d+ \| *(\S+)$")

LATE = {
    *("scapy", "httpx", "psutil", "typer", "redis", "pyroute2", "opentelemetry"),
    *(
        "d4d.adapters.docker.models",
        "d4d.entrypoints.admin_api.app",
        "d4d.entrypoints.admin_api.schemas",
    ),
    *("d4d.entrypoints.cli.schemas", "d4d.doctor.run"),
}
"""What no answer needs that Docker may wait for, or not before a container starts."""

BEHIND = {
    *("pydantic", "pydantic_settings", "structlog", "dependency_injector", "prometheus_client"),
    *("sqlite3", "dotenv", "d4d.settings.model", "d4d.bootstrap", "d4d.service_layer.ipam_service"),
}
"""What the driver needs, and Docker's first answers do not wait for."""


NEVER = {"redis", "opentelemetry", "pyroute2", "rich", "pygments", "typer", "h2", "hypercorn"}
"""What a driver with SQLite, DHCP and the operator's port has no use for, however long it runs."""

_TELL_MODULES = """
import atexit, sys
atexit.register(lambda: print(*(name for name, it in sys.modules.items() if it), file=sys.stderr))
"""

RATIO = 1.25
"""How much more memory it may take than the libraries that it is made of, by themselves."""

_LIBRARIES = (
    "import starlette.applications, uvicorn, uvloop, pydantic_settings, "
    "dependency_injector.containers, scapy.layers.dhcp"
)


@pytest.fixture
def home() -> Iterator[Path]:
    """A directory whose name is short enough for a socket's."""
    with TemporaryDirectory() as directory:
        yield Path(directory)


def environment_in(home: Path) -> dict[str, str]:
    return {
        **os.environ,
        "D4D_STATE_DIR": str(home / "state"),
        "D4D_PLUGIN_SOCKET": str(home / "plugin.sock"),
        "D4D_DOCKER_SOCKET": str(home / "docker.sock"),
        "D4D_ADMIN_BIND": f"unix:{home / 'admin.sock'}",
    }


def imported_until_serving(home: Path) -> set[str]:
    """The modules that a start imports before it says that it serves."""
    command = [sys.executable, "-X", "importtime", "-c", _MAIN, "server"]
    names = set()
    with subprocess.Popen(
        command, env=environment_in(home), stderr=subprocess.PIPE, text=True
    ) as server:
        assert server.stderr is not None
        for line in server.stderr:
            if '"event": "serving"' in line:
                break
            found = _IMPORTED.match(line)
            assert found or line.startswith("import time:"), line
            names |= {found[1]} if found else set()
        server.send_signal(signal.SIGTERM)
        server.communicate(timeout=30)
    assert server.returncode == 0
    return names


@contextmanager
def settled(home: Path, *, log: Path, before: str = "") -> Iterator[int]:
    """A driver that has imported all that it will, which is so when operators are answered."""
    command = [sys.executable, "-c", before + _MAIN, "server"]
    with (
        log.open("w") as said,
        subprocess.Popen(command, env=environment_in(home), stderr=said) as server,
    ):
        try:
            socket = home / "admin.sock"
            eventually(socket.exists, what="there is no operator's socket", timeout=_PATIENCE)
            transport = httpx.HTTPTransport(uds=str(socket))
            with httpx.Client(transport=transport, timeout=_PATIENCE.total_seconds()) as operator:
                assert operator.get("http://d4d/healthz").is_success
            yield server.pid
        finally:
            server.send_signal(signal.SIGTERM)
    assert server.returncode == 0


def resident(pid: int) -> int:
    """What a process has in memory, in KiB."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    (line,) = (line for line in lines if line.startswith("VmRSS:"))
    return int(line.split()[1])


def imported_by(script: str, home: Path) -> set[str]:
    """The modules that there are after ``script``."""
    done = subprocess.run(
        [sys.executable, "-c", f"{script}; import sys; print(*sys.modules)"],
        check=True,
        capture_output=True,
        text=True,
        cwd=home,
    )
    return set(done.stdout.split())


def test_docker_is_answered_before_the_driver_is_imported(home: Path) -> None:
    script = """
import d4d.entrypoints.cli.serve
import d4d.entrypoints.daemon.main as it
it.choose_server()"""

    names = imported_by(script, home)

    assert "d4d.entrypoints.docker_plugin.app" in names
    assert names & (LATE | BEHIND | {"rich"}) == set()


def test_the_driver_is_opened_before_the_rest_is_imported(home: Path) -> None:
    names = imported_until_serving(home)

    assert {"d4d.entrypoints.docker_plugin.handlers", "d4d.adapters.stores.sqlite.store"} <= names
    assert names & {*LATE, "rich.console"} == set()


def test_importing_the_app_imports_nothing_of_these(home: Path) -> None:
    """Plain hypercorn's way; structlog takes rich there, where it is installed."""
    assert imported_by("import d4d.entrypoints.docker_plugin.handlers", home) & LATE == set()


def test_a_driver_imports_nothing_that_was_not_chosen(home: Path) -> None:
    log = home / "log"
    with settled(home, log=log, before=_TELL_MODULES):
        pass
    *_, names = log.read_text().splitlines()
    packages = {name.partition(".")[0] for name in names.split()}
    assert {"d4d", "scapy", "httpx", "httpcore"} <= packages
    assert packages & NEVER == set()


def test_a_driver_takes_little_more_memory_than_its_libraries(home: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", f"{_LIBRARIES}; print(flush=True); input()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as libraries:
        try:
            assert libraries.stdout is not None
            libraries.stdout.readline()
            with settled(home, log=home / "log") as driver:
                allowed = RATIO * resident(libraries.pid)
                eventually(  # what the start took for a while goes back a little later
                    lambda: resident(driver) <= allowed,
                    what=lambda: f"{resident(driver)} KiB, not {allowed:.0f}",
                    timeout=_IDLE,
                )
        finally:
            libraries.kill()
