"""Redis and Valkey servers of a test's own: on a unix socket and by TCP."""

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from redis import Redis

from lab.network import Namespace

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
        config: Sequence[str] = (),
        port: int | None = None,
        sentinel: bool = False,
        namespace: Namespace | None = None,
    ) -> None:
        """``config`` is lines of redis.conf; with ``sentinel`` it is a Sentinel without socket.

        In a ``namespace`` it serves that machine's neighbours as well.
        """
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self.socket = directory / "redis.sock"
        self.port = port or free_port()
        self.url = f"unix://{self.socket}"
        self._sentinel = sentinel
        self._process: subprocess.Popen[bytes] | None = None
        bind = "127.0.0.1" if namespace is None else "0.0.0.0\nprotected-mode no"
        lines = [f"port {self.port}", f"bind {bind}", f"dir {directory}", "logfile log"]
        if not sentinel:
            lines += [f"unixsocket {self.socket}", 'save ""']
        self._file = directory / "redis.conf"
        self._file.write_text("\n".join([*lines, *config, ""]))
        words: list[str | Path] = [program, self._file, *(["--sentinel"] if sentinel else [])]
        self._command = words if namespace is None else namespace.command(words)

    @property
    def pid(self) -> int:
        assert self._process is not None, "it does not run"
        return self._process.pid

    def admin(self, *, decoded: bool = False) -> Redis:
        """A client of redis-py's, to look into it; it closes itself within ``with``."""
        return Redis(unix_socket_path=str(self.socket), decode_responses=decoded)

    def start(self) -> "RedisServer":
        self._process = subprocess.Popen(self._command)
        deadline = time.monotonic() + _START
        while self.command("PING") not in (b"+PONG", b"-NOAUTH", b"-DENIED"):
            assert self._process.poll() is None, (self.directory / "log").read_text()
            assert time.monotonic() < deadline, "it does not answer"
            time.sleep(_PAUSE)
        return self

    def command(self, *words: str) -> bytes:
        """Send one command; the first word of the answer, or nothing without one."""
        family = socket.AF_INET if self._sentinel else socket.AF_UNIX
        place = ("127.0.0.1", self.port) if self._sentinel else str(self.socket)
        with socket.socket(family) as client:
            client.settimeout(_START)
            try:
                client.connect(place)
                client.sendall(" ".join(words).encode() + b"\r\n")
                return client.recv(4096).split()[0]
            except (OSError, IndexError):
                return b""

    def pause(self) -> None:
        """It answers nobody until it goes ``on``."""
        os.kill(self.pid, signal.SIGSTOP)

    def on(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

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
