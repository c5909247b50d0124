"""What systemd is told: ready, what goes on, stopping; and that the event loop is alive."""

import asyncio
import os
import socket
from collections.abc import Callable
from contextlib import suppress

from d4d.service_layer.concurrency.supervised_task import its_own

_STATUS_EVERY = 10.0  # seconds


class SystemdNotifier:
    """A datagram socket to systemd; without NOTIFY_SOCKET nobody is told (sd_notify(3))."""

    def __init__(self) -> None:
        address = os.environ.get("NOTIFY_SOCKET", "")
        self._socket: socket.socket | None = None
        self._address = "\0" + address[1:] if address.startswith("@") else address
        microseconds = os.environ.get("WATCHDOG_USEC", "")
        is_for_us = os.environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        self._watchdog = is_for_us and microseconds.isdecimal()
        # twice in the time that systemd waits, as sd_watchdog_enabled(3) asks
        self._pause = int(microseconds) / 2e6 if self._watchdog else _STATUS_EVERY

    def ready(self, status: str) -> None:
        """Docker is served; ``status`` is what ``systemctl status`` shows from now on."""
        self._tell("READY=1", _status(status))

    def close(self) -> None:
        """Tell nothing any more."""
        if self._socket is not None:
            self._socket.close()
            self._socket, self._address = None, ""

    def stopping(self) -> None:
        """What is in flight is being finished."""
        self._tell("STOPPING=1", _status("stopping"))

    async def keep_telling(self, status: Callable[[], str]) -> None:
        """Tell the status, and wait until it is due again: a step of a loop without end.

        It comes from the event loop: one that hangs tells nothing, and systemd restarts it.
        """
        said = ["WATCHDOG=1"] if self._watchdog else []
        with its_own("systemd's status"):  # the watchdog is told all the same
            said.append(_status(status()))
        self._tell(*said)
        await asyncio.sleep(min(self._pause, _STATUS_EVERY))

    def _tell(self, *lines: str) -> None:
        if not self._address:
            return
        # systemd may restart: what it missed it asks for by nothing, and is told soon again
        with suppress(OSError):
            self._opened().sendto("\n".join(lines).encode(), self._address)

    def _opened(self) -> socket.socket:
        """One socket for good: the watchdog must be told when no file is left, too."""
        if self._socket is None:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
            self._socket.setblocking(False)
        return self._socket


def _status(text: str) -> str:
    return f"STATUS={' '.join(text.splitlines())}"
