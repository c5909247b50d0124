"""The state of ``d4d server``, shared by what runs before and after its driver is imported."""

import asyncio
from collections.abc import Mapping
from typing import Any

from d4d.adapters.system.systemd import SystemdNotifier
from d4d.domain.errors import D4DError, StoreUnavailable
from d4d.entrypoints.docker_plugin.app import Serving

_OPENING = 20.0  # seconds for calls that wait while the settings are not known


class ServiceState:
    """One process's state, from its first answer to its last."""

    def __init__(
        self, given: Mapping[str, Any], *, driver: "asyncio.Future[Serving]", stop: asyncio.Event
    ) -> None:
        """``given`` are settings of the command line; Docker's calls wait for ``driver``."""
        self.given = given
        self.driver = driver
        self.notifier = SystemdNotifier()
        self.stop = stop
        """Set when no more calls are accepted."""
        self.answered = asyncio.Event()
        """Set when the last call is answered, so that the driver may close."""
        self.grace = _OPENING
        """Seconds that calls in flight have at the end; replaced once the settings are read."""

    @property
    def is_open(self) -> bool:
        """Whether there is a driver, and it is not being closed."""
        there = self.driver.done() and not self.driver.cancelled()
        return there and self.driver.exception() is None and not self.answered.is_set()

    def fail(self, error: BaseException) -> None:
        """Fail the calls that wait for a driver with the reason, unless there is one."""
        if self.driver.done():
            return
        if not isinstance(error, D4DError):
            error = StoreUnavailable("D4D ended before it could serve, see its log: try again")
        self.driver.set_exception(error)
        self.driver.exception()  # taken, though no call may be waiting for it
