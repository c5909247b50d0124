"""D4D itself on a machine of the lab: the program that a user starts, with its environment."""

import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
from pydantic import BaseModel

from lab.docker_engine import Engine
from lab.network import Namespace
from lab.processes import Daemon, LabError

NAME = "talkingdata"
"""The driver's name, as Docker's users write it."""

_ALARM = re.compile(r'Traceback|Exception|never retrieved|"level": "(?:error|critical)"')
SERVING = '"event": "serving"'
"""What its log says when it has its leases and answers every call."""
_SETTINGS = ("D4D_", "DHCP_SERVER", "LISTEN_ADDR", "IPAM_DEBUG", "DOCKER_HOST")


class Driver:
    """``d4d server`` in a namespace, with state, sockets and log in the lab's directory."""

    def __init__(
        self,
        namespace: Namespace,
        *,
        socket: Path,
        docker_socket: Path,
        settings: Mapping[str, str] | None = None,
        plain: bool = False,
    ) -> None:
        """``socket`` is the plugin's; ``settings`` are D4D's environment variables.

        ``plain`` is the app under a plain hypercorn, on asyncio's event loop: without operators.
        """
        self.namespace = namespace
        self.socket = socket
        self.state_dir = namespace.directory / "d4d"
        self.state_dir.mkdir()
        self.environment = {
            **{name: value for name, value in os.environ.items() if not _is_setting(name)},
            "D4D_STATE_DIR": str(self.state_dir),
            "D4D_PLUGIN_SOCKET": str(socket),
            "D4D_DOCKER_SOCKET": str(docker_socket),
            "D4D_ADMIN_BIND": f"unix:{namespace.directory / 'admin.sock'}",
            **(settings or {}),
        }
        self.is_plain = plain
        words: list[str | Path] = [_program(), "server"]
        if plain:
            bind = f"unix:{socket}"
            words = [_program("hypercorn"), "d4d.entrypoints.ipam:app", "--bind", bind]
        self.daemon: Daemon = namespace.daemon("d4d", words, env=self.environment)

    @classmethod
    def beside(
        cls, engine: Engine, settings: Mapping[str, str] | None = None, *, plain: bool = False
    ) -> "Driver":
        """The driver of this engine's machine, with its socket where the engine looks for it."""
        return cls(
            engine.namespace,
            socket=engine.plugins / f"{NAME}.sock",
            docker_socket=engine.socket,
            settings=settings,
            plain=plain,
        )

    @property
    def program(self) -> Path:
        """The ``d4d`` command."""
        return _program()

    def is_open_to(self, user: str) -> bool:
        """Whether ``user`` may run the program: a checkout may lie in root's home."""
        words = ["setpriv", f"--reuid={user}", "--clear-groups", "test", "-x", str(self.program)]
        return subprocess.run(words, check=False).returncode == 0

    def start(self) -> None:
        """Start it and wait until it serves. Raises LabError with its log."""
        self.daemon.start(ready=lambda log: (self.is_plain or SERVING in log) and self.accepts)

    @property
    def accepts(self) -> bool:
        """Whether something listens on the plugin socket."""
        with socket.socket(socket.AF_UNIX) as client:
            return client.connect_ex(str(self.socket)) == 0

    def stop(self) -> int:
        """Ask it to end, as systemd does; answers its exit code. Raises LabError if it hangs."""
        return self.daemon.stop()

    def kill(self) -> None:
        """End it as a crash does."""
        self.daemon.kill()

    @property
    def pid(self) -> int:
        """Of the driver itself, behind whatever starts it in its namespace."""
        return self.daemon.pid

    def readiness(self) -> str:
        """What ``/readyz`` answers, well or not."""
        transport = httpx.HTTPTransport(uds=str(self.namespace.directory / "admin.sock"))
        with httpx.Client(transport=transport, timeout=30) as client:
            return client.get("http://d4d/readyz").text

    def cli(self, *words: str) -> str:
        """What ``d4d WORDS`` prints with this driver's settings. Raises LabError if it fails."""
        return self.namespace.run([_program(), *words], env=self.environment)

    def d4d(self, *words: str, code: int = 0, typed: str = "") -> str:
        """What ``d4d WORDS`` prints: to its user if it fails, as it must with ``code``."""
        command = self.namespace.command([self.program, *words])
        done = subprocess.run(
            [str(word) for word in command],
            env=self.environment,
            input=typed,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout if code == 0 else done.stderr

    def json(self, form: type[BaseModel], *words: str) -> Any:
        """What ``d4d WORDS --json`` prints, which has the documented form to the letter."""
        said = json.loads(self.d4d(*words, "--json"))
        assert form.model_validate(said).model_dump(mode="json").keys() == said.keys()
        return form.model_validate(said)

    def log(self) -> str:
        """What it has printed, over all its starts."""
        return self.daemon.logged()

    def exceptions(self) -> list[str]:
        """The lines of its log that show an exception, or more than a warning."""
        return [line for line in self.log().splitlines() if _ALARM.search(line)]


def _is_setting(name: str) -> bool:
    return name.startswith(_SETTINGS)


def _program(name: str = "d4d") -> Path:
    program = Path(sys.executable).with_name(name)
    if not program.exists():
        raise LabError(f"{program} does not exist: scripts/prepare installs D4D there")
    return program
