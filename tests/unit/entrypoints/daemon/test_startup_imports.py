"""What ``d4d server`` has imported when it serves: Docker waits for it, and a clock would measure
what else the machine does.
"""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

_MAIN = "from d4d.entrypoints.cli.main import main; main()"
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


@pytest.fixture
def home() -> Iterator[Path]:
    """A directory whose name is short enough for a socket's."""
    with TemporaryDirectory() as directory:
        yield Path(directory)


def imported_until_serving(home: Path) -> set[str]:
    """The modules that a start imports before it says that it serves."""
    environment = {
        **os.environ,
        "D4D_STATE_DIR": str(home / "state"),
        "D4D_PLUGIN_SOCKET": str(home / "plugin.sock"),
        "D4D_DOCKER_SOCKET": str(home / "docker.sock"),
        "D4D_ADMIN_BIND": f"unix:{home / 'admin.sock'}",
    }
    command = [sys.executable, "-X", "importtime", "-c", _MAIN, "server"]
    names = set()
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as server:
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
