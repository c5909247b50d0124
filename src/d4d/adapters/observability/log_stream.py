"""Where log lines go. To write one never raises and never waits for long; lost ones are counted.

A log is on a disk that may be full, or in a pipe whose reader may have ended, or sleep. None of
that is a reason to give no container its address.
"""

import os
import select
import sys
from collections.abc import Callable
from threading import RLock
from typing import TextIO

_PATIENCE = 50  # milliseconds for a reader that is slow; one that sleeps is not waited for again
_PIECE = 4096  # PIPE_BUF: what a pipe that is ready takes without waiting


class LogStream:
    """Standard error, or a stream in its place."""

    def __init__(self, stream: TextIO | None) -> None:
        """``stream`` is None where the process was started without one."""
        self._stream = stream
        self._descriptor = _descriptor(stream)
        self._poll = None if self._descriptor is None else select.poll()
        if self._poll is not None and self._descriptor is not None:
            self._poll.register(self._descriptor, select.POLLOUT)
        self._lock = RLock()  # threads log as well, and who hears that it is regained
        self._is_slow = False
        self._is_torn = False
        self._unreported = 0
        self.lost = 0
        """Lines that could not be written."""
        self.on_regained: Callable[[int], None] = lambda _: None
        """Hears, when lines can be written again, how many were lost meanwhile."""

    def isatty(self) -> bool:
        """Whether a person reads it."""
        try:
            return self._stream is not None and self._stream.isatty()
        except (OSError, ValueError):
            return False

    def write(self, text: str) -> int:
        """Write ``text``, whole lines, or count it as lost."""
        with self._lock:
            if not self._put(text):
                self.lose()
            elif self._unreported:
                count, self._unreported = self._unreported, 0
                self.on_regained(count)
        return len(text)

    def flush(self) -> None:
        """Nothing is held back."""

    def lose(self) -> None:
        """Count a line that could not even be made."""
        self.lost += 1
        self._unreported += 1

    def _put(self, text: str) -> bool:
        try:
            if self._descriptor is None:
                if self._stream is None:
                    return False
                self._stream.write(text)
                self._stream.flush()
                return True
            return self._write_out(self._descriptor, text.encode(errors="backslashreplace"))
        except (OSError, ValueError):  # the disk is full, the reader gone, the stream closed
            return False

    def _write_out(self, descriptor: int, line: bytes) -> bool:
        if self._is_torn:
            line = b"\n" + line
        rest = memoryview(line)
        try:
            while rest:
                if not self._is_ready():
                    return False
                rest = rest[os.write(descriptor, rest[:_PIECE]) :]
        finally:
            if len(rest) < len(line):
                self._is_torn = bool(rest)  # the next line begins on one of its own
        return True

    def _is_ready(self) -> bool:
        """Whether a write would not wait. A reader that sleeps is waited for once, a moment."""
        assert self._poll is not None
        ready = bool(self._poll.poll(0 if self._is_slow else _PATIENCE))
        self._is_slow = not ready
        return ready


def _descriptor(stream: TextIO | None) -> int | None:
    """Of a real file; a stream in a test may have none."""
    try:
        return stream.fileno() if stream is not None else None
    except (OSError, ValueError):
        return None


class Lines:
    """What structlog writes a rendered line by."""

    def __init__(self, stream: LogStream) -> None:
        self._stream = stream

    def msg(self, line: str) -> None:
        """Write ``line``, with its end: in one go, as two would wake a reader twice."""
        self._stream.write(line + "\n")

    debug = info = warning = error = critical = exception = msg


_current: list[LogStream] = []


def open_stream() -> LogStream:
    """The stream of standard error as it is now, from where all lines go from now on."""
    _current[:] = [LogStream(sys.stderr)]
    return _current[0]


def lost() -> int:
    """How many lines could not be written since the log began."""
    return _current[0].lost if _current else 0
