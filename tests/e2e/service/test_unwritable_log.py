"""A log that can't be written stops nothing: no start, no call, no listener."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from enum import Enum
from pathlib import Path
from signal import SIGTERM

import pytest

from lab.plugin_calls import call
from lab.processes import eventually

PROGRAMS = Path(sys.executable).parent
POOL = {
    "AddressSpace": "d4d-local",
    "Pool": "10.99.0.0/24",
    "SubPool": "",
    "Options": {},
    "V6": False,
}
MAC = "com.docker.network.endpoint.macaddress"
NONSENSE = {"PoolID": "x" * 900, "Address": "10.99.0.7", "Options": None}
"""Each is refused, by a line of a kilobyte."""


class Log(Enum):
    FULL = "on a full disk"
    DEAF = "in a pipe whose reader has ended"
    ASLEEP = "in a pipe whose reader sleeps"
    CLOSED = "nowhere"


@pytest.fixture(params=["d4d", "hypercorn"])
def command(request: pytest.FixtureRequest, tmp_path: Path) -> list[str]:
    """What users run: uvloop's event loop, where it is installed, or asyncio's."""
    if request.param == "d4d":
        return [str(PROGRAMS / "d4d"), "server"]
    bind = f"unix:{tmp_path / 'talkingdata.sock'}"
    return [str(PROGRAMS / "hypercorn"), "d4d.entrypoints.ipam:app", "--bind", bind]


@contextmanager
def logging_to(log: Log) -> Iterator[tuple[int, int | None]]:
    """The descriptor for standard error, and the one to read it from."""
    if log is Log.FULL:
        descriptor = os.open("/dev/full", os.O_WRONLY)
        yield descriptor, None
        os.close(descriptor)
        return
    reading, writing = os.pipe()
    if log is not Log.ASLEEP:
        os.close(reading)
    yield writing, reading if log is Log.ASLEEP else None
    os.close(writing)
    if log is Log.ASLEEP:
        os.close(reading)


@contextmanager
def driver(command: list[str], home: Path, log: Log) -> Iterator[int | None]:
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("D4D_")},
        "D4D_STATE_DIR": str(home / "state"),
        "D4D_PLUGIN_SOCKET": str(home / "talkingdata.sock"),
        "D4D_DOCKER_SOCKET": str(home / "no-docker.sock"),
        "D4D_ADMIN_BIND": f"unix:{home / 'admin.sock'}",
        "D4D_ALLOCATOR": "range",
    }
    (home / "state").mkdir()
    with logging_to(log) as (writing, reading):
        closed = ["sh", "-c", 'exec "$@" 2>&-', "sh"] if log is Log.CLOSED else []
        process = subprocess.Popen(
            [*closed, *command], env=environment, stdout=subprocess.DEVNULL, stderr=writing
        )
        try:
            eventually(
                lambda: process.poll() is not None or accepts(home / "talkingdata.sock"),
                what="nobody listens",
            )
            yield reading
            assert process.poll() is None
            process.send_signal(SIGTERM)
            assert process.wait(30) == 0
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()


def accepts(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        return client.connect_ex(str(path)) == 0


def readiness(path: Path) -> str:
    """What the check of the tasks says."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(30)
        client.connect(str(path))
        client.sendall(b"GET /readyz HTTP/1.1\r\nHost: d4d\r\nConnection: close\r\n\r\n")
        said = b""
        while chunk := client.recv(65536):
            said += chunk
    checks = json.loads(said.partition(b"\r\n\r\n")[2])["checks"]
    (detail,) = (str(each["detail"]) for each in checks if each["name"] == "tasks")
    return detail


@pytest.mark.parametrize("log", Log)
def test_docker_is_served_though_the_log_is(log: Log, command: list[str], tmp_path: Path) -> None:
    plugin = tmp_path / "talkingdata.sock"
    with driver(command, tmp_path, log) as reading:
        pool = call(plugin, "IpamDriver.RequestPool", POOL).content["PoolID"]
        for _ in range(200):
            assert call(plugin, "IpamDriver.RequestAddress", NONSENSE).status == 404
        for number in range(3):
            asked = {"PoolID": pool, "Address": "", "Options": {MAC: f"02:42:0a:63:00:0{number}"}}
            got = call(plugin, "IpamDriver.RequestAddress", asked)
            assert got.status == 200, got
            address = got.content["Address"].partition("/")[0]
            released = {"PoolID": pool, "Address": address}
            assert call(plugin, "IpamDriver.ReleaseAddress", released).status == 200
        if "server" in command:
            assert "all go on; " in readiness(tmp_path / "admin.sock")
            assert "log lines could not be written" in readiness(tmp_path / "admin.sock")
            history = tmp_path / "state" / "history.db"  # a listener behind the log
            eventually(history.exists, what="no history was written")
        if reading is not None:
            assert "log_lines_lost" in awoken(reading, plugin)


def awoken(reading: int, plugin: Path) -> str:
    """What is read once the reader reads again: the next line, and how many before are missing."""
    os.set_blocking(reading, False)
    read = b""

    def told() -> bool:
        nonlocal read
        with suppress(BlockingIOError):
            while chunk := os.read(reading, 1 << 20):
                read += chunk
        if b"log_lines_lost" in read:
            return True
        call(plugin, "IpamDriver.RequestAddress", NONSENSE)
        return False

    eventually(told, what="the lost lines were not told of")
    return read.decode()
