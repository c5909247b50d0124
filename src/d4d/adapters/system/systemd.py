"""Notifies systemd: ready, status, stopping; and that the event loop is alive."""

import asyncio
import os
import socket
from collections.abc import Callable
from contextlib import suppress

from d4d.service_layer.concurrency.supervised_task import its_own

_STATUS_EVERY = 10.0  # seconds


class SystemdNotifier:
    """A datagram socket to systemd; without NOTIFY_SOCKET nobody is notified (sd_notify(3))."""

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
        self._notify("READY=1", _status(status))

    def close(self) -> None:
        """Notify no more."""
        if self._socket is not None:
            self._socket.close()
            self._socket, self._address = None, ""

    def stopping(self) -> None:
        """What is in flight is being finished."""
        self._notify("STOPPING=1", _status("stopping"))

    async def keep_notifying(self, status: Callable[[], str]) -> None:
        """Send the status, and wait until it is due again: a step of a loop without end.

        It comes from the event loop: one that hangs sends nothing, and systemd restarts it.
        """
        lines = ["WATCHDOG=1"] if self._watchdog else []
        with its_own("systemd's status"):  # the watchdog is notified all the same
            lines.append(_status(status()))
        self._notify(*lines)
        await asyncio.sleep(min(self._pause, _STATUS_EVERY))

    def _notify(self, *lines: str) -> None:
        if not self._address:
            return
        # systemd may be restarting: what it misses then, it is sent again soon
        with suppress(OSError):
            self._opened().sendto("\n".join(lines).encode(), self._address)

    def _opened(self) -> socket.socket:
        """One socket for good: the watchdog must be notified also when no descriptor is left."""
        if self._socket is None:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
            self._socket.setblocking(False)
        return self._socket


def _status(text: str) -> str:
    return f"STATUS={' '.join(text.splitlines())}"
