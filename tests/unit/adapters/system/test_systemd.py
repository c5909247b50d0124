"""What systemd hears of a driver, at the socket that it names."""

import asyncio
import os
import resource
import socket
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from d4d.adapters.system.systemd import SystemdNotifier
from d4d.service_layer.concurrency.supervised_task import forever

BOTH_LOOPS = True


@pytest.fixture
def systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    for name in ("WATCHDOG_USEC", "WATCHDOG_PID"):
        monkeypatch.delenv(name, raising=False)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as told:
        told.bind(str(tmp_path / "notify"))
        told.settimeout(5)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        yield told


async def first_words(
    notifier: SystemdNotifier, systemd: socket.socket, count: int = 1
) -> list[str]:
    task = forever("systemd", partial(notifier.keep_notifying, lambda: "12 leases"))
    try:
        return [await asyncio.to_thread(heard, systemd) for _ in range(count)]
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        notifier.close()


def heard(systemd: socket.socket) -> str:
    return systemd.recv(4096).decode()


def test_ready_and_stopping_are_told(systemd: socket.socket) -> None:
    notifier = SystemdNotifier()
    notifier.ready("12 leases")
    notifier.stopping()
    notifier.close()
    assert heard(systemd) == "READY=1\nSTATUS=12 leases", "never ready with the status of before"
    assert heard(systemd) == "STOPPING=1\nSTATUS=stopping"


def test_a_status_of_several_lines_says_nothing_else(systemd: socket.socket) -> None:
    notifier = SystemdNotifier()
    notifier.ready("12 leases\nSTOPPING=1")
    notifier.close()
    assert heard(systemd) == "READY=1\nSTATUS=12 leases STOPPING=1"


async def test_the_status_is_told(systemd: socket.socket) -> None:
    assert await first_words(SystemdNotifier(), systemd) == ["STATUS=12 leases"]


async def test_the_watchdog_hears_twice_in_its_time(
    systemd: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "400000")
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()))
    began = asyncio.get_running_loop().time()
    assert await first_words(SystemdNotifier(), systemd, 3) == ["WATCHDOG=1\nSTATUS=12 leases"] * 3
    assert 0.4 <= asyncio.get_running_loop().time() - began < 0.8


async def test_another_process_watchdog_is_not_fed(
    systemd: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "400000")
    monkeypatch.setenv("WATCHDOG_PID", "1")
    assert await first_words(SystemdNotifier(), systemd) == ["STATUS=12 leases"]


async def test_without_systemd_nobody_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    notifier = SystemdNotifier()
    notifier.ready("x")
    notifier.stopping()
    notifier.close()


def test_a_systemd_that_is_away_stops_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "gone"))
    notifier = SystemdNotifier()
    notifier.ready("x")
    notifier.close()


async def test_the_watchdog_hears_though_the_status_fails_and_no_file_is_left(
    systemd: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "100000")
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()))
    notifier = SystemdNotifier()
    notifier.ready("starting")

    def fails() -> str:
        raise ZeroDivisionError("a bug")

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    told = list[object]()
    asyncio.get_running_loop().set_exception_handler(lambda _, said: told.append(said))
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        for _ in range(3):
            await notifier.keep_notifying(fails)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        notifier.close()
    assert [heard(systemd) for _ in range(4)][1:] == ["WATCHDOG=1"] * 3
    assert len(told) == 3
