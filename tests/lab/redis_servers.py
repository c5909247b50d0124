"""Redis and Valkey servers of a test's own: on a unix socket and on loopback."""

import shutil
import socket
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

PROGRAMS = [name for name in ("redis-server", "valkey-server") if shutil.which(name)]
_START = 10.0  # seconds
_PAUSE = 0.02


class RedisServer:
    """One server, with its files in ``directory``; it can be stopped, killed and started anew."""

    def __init__(
        self,
        directory: Path,
        *,
        program: str = "redis-server",
        options: Sequence[str] = (),
        plain: bool = True,
    ) -> None:
        """``plain`` is False for one that speaks TLS only on its port."""
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self.socket = directory / "redis.sock"
        self.port = free_port()
        self.url = f"unix://{self.socket}"
        self._program = program
        self._options = options
        self._plain = plain
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None, "it does not run"
        return self._process.pid

    def start(self) -> "RedisServer":
        port = ["--port", str(self.port)] if self._plain else []
        command = [self._program, *port, "--bind", "127.0.0.1", "--unixsocket", str(self.socket)]
        command += ["--dir", str(self.directory), "--save", "", "--logfile", "log"]
        self._process = subprocess.Popen([*command, *self._options])
        deadline = time.monotonic() + _START
        while self.command("PING") not in (b"+PONG", b"-NOAUTH"):
            assert self._process.poll() is None, (self.directory / "log").read_text()
            assert time.monotonic() < deadline, "it does not answer"
            time.sleep(_PAUSE)
        return self

    def command(self, *words: str) -> bytes:
        """Send one command; the first word of the answer, or nothing without one."""
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(_START)
            try:
                client.connect(str(self.socket))
                client.sendall(" ".join(words).encode() + b"\r\n")
                return client.recv(4096).split()[0]
            except (OSError, IndexError):
                return b""

    def stop(self) -> None:
        """End it as an operator would: it writes what it has to write."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(_START)
            self._process = None

    def kill(self) -> None:
        """End it as a power cut would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(_START)
            self._process = None


def free_port() -> int:
    """A port of loopback that nobody has now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
