"""What systemd is told: ready, what goes on, stopping; and that the event loop is alive."""

import asyncio
import os
import socket
from collections.abc import Callable
from contextlib import suppress

_STATUS_EVERY = 10.0  # seconds


class Notifier:
    """A datagram socket to systemd; without NOTIFY_SOCKET nobody is told (sd_notify(3))."""

    def __init__(self) -> None:
        address = os.environ.get("NOTIFY_SOCKET", "")
        self._address = "\0" + address[1:] if address.startswith("@") else address
        microseconds = os.environ.get("WATCHDOG_USEC", "")
        is_for_us = os.environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        self._watchdog = is_for_us and microseconds.isdecimal()
        # twice in the time that systemd waits, as sd_watchdog_enabled(3) asks
        self._pause = int(microseconds) / 2e6 if self._watchdog else _STATUS_EVERY

    def ready(self) -> None:
        """Docker is served."""
        self._tell("READY=1")

    def stopping(self) -> None:
        """What is in flight is being finished."""
        self._tell("STOPPING=1")

    async def run(self, status: Callable[[], str]) -> None:
        """Tell the status again and again, from the event loop: one that hangs tells nothing."""
        if not self._address:
            return
        while True:
            self._tell(f"STATUS={status()}", *(["WATCHDOG=1"] if self._watchdog else []))
            await asyncio.sleep(min(self._pause, _STATUS_EVERY))

    def _tell(self, *lines: str) -> None:
        if not self._address:
            return
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as told:
            told.setblocking(False)
            # systemd may restart: what it missed it asks for by nothing, and is told soon again
            with suppress(OSError):
                told.sendto("\n".join(lines).encode(), self._address)
