"""Whether a link hears anything: requests went out, and not one frame came in.

That may be a server that is away, a cable, or a socket that was lost without a word. Who listens
can't tell them apart: the socket is opened anew, now and then, and it is told what is known.
"""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Protocol

from d4d.service_layer import log_messages as log

_REQUESTS = 3
"""Requests without any frame since: one or two get lost on a wire that is fine."""
_SECONDS = 5.0
"""And so long since the first of them: a server pings an address for three seconds."""
_FIRST_PAUSE, _LONGEST_PAUSE = 15.0, 300.0  # seconds between two openings of one silence


class Closable(Protocol):
    """A link, as far as its silence goes."""

    name: str

    def close(self) -> None:
        """Let go of the socket; sending opens another."""


class Hearing:
    """What one link has heard since it was asked to hear."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._asked = 0
        self._since, self._since_utc = 0.0, datetime.now(UTC)
        self._openings = 0
        self._next_at = 0.0
        self._pause = _FIRST_PAUSE

    def asked(self) -> None:
        """A message went out that a server should answer."""
        if not self._asked:
            self._since, self._since_utc = self._clock(), datetime.now(UTC)
        self._asked += 1

    def heard(self) -> None:
        """A frame came in, whosever it was."""
        if self._asked:
            self._asked, self._openings, self._pause = 0, 0, _FIRST_PAUSE

    @property
    def is_silent(self) -> bool:
        """Whether enough was asked, for long enough, and nothing heard."""
        return self._asked >= _REQUESTS and self._clock() - self._since >= _SECONDS

    def wants_opening(self) -> bool:
        """Whether the socket is to be opened anew now; counts it as done if so."""
        now = self._clock()
        if not self.is_silent or (self._openings and now < self._next_at):
            return False
        self._openings += 1
        self._next_at = now + self._pause
        self._pause = min(2 * self._pause, _LONGEST_PAUSE)
        return True

    @property
    def is_first_opening(self) -> bool:
        """Whether this silence had one only: it is told once."""
        return self._openings == 1

    def open_anew_if_silent(self, link: Closable) -> None:
        """Close ``link`` where its socket is to be opened anew, which its next sending does."""
        if self.wants_opening():
            if self.is_first_opening:
                log.dhcp_link_silent(link=link.name, detail=str(self))
            link.close()

    def __str__(self) -> str:
        """What is known of a silence; empty where there is none."""
        if not self.is_silent:
            return ""
        anew = f", its socket was opened anew {self._openings} times" if self._openings else ""
        return (
            f"{self._asked} requests since {self._since_utc:%Y-%m-%dT%H:%M:%SZ}, and nothing was "
            f"heard, of nobody{anew}"
        )
