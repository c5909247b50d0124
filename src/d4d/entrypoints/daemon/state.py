"""What ``d4d server`` has in common before and after its driver is imported."""

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
        """``given`` are settings of the command line; for ``driver`` Docker's calls wait."""
        self.given = given
        self.driver = driver
        self.notifier = SystemdNotifier()
        self.stop = stop
        """Set when no more calls are to be taken."""
        self.answered = asyncio.Event()
        """Set when the last call is answered, so that the driver may close."""
        self.grace = _OPENING
        """Seconds that calls in flight have at the end; the settings will tell."""

    @property
    def is_open(self) -> bool:
        """Whether there is a driver, and it is not being closed."""
        there = self.driver.done() and not self.driver.cancelled()
        return there and self.driver.exception() is None and not self.answered.is_set()

    def fail(self, error: BaseException) -> None:
        """Tell the calls that wait for a driver why there is none, if there was none."""
        if self.driver.done():
            return
        if not isinstance(error, D4DError):
            error = StoreUnavailable("D4D ended before it could serve, see its log: try again")
        self.driver.set_exception(error)
        self.driver.exception()  # taken, though no call may be waiting for it
