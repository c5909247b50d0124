"""Programs that the lab runs: one that ends, one that serves, and waiting for what they do."""

import os
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from signal import SIGKILL, SIGTERM, Signals
from typing import TypeVar

T = TypeVar("T")

PATIENCE = timedelta(seconds=20)
"""How long a program may take to be ready or to end, on a machine with other things to do."""

_PAUSE = timedelta(milliseconds=20)
_LOG_TAIL = 25  # lines of a log that an error shows


class LabError(Exception):
    """The lab could not be built, or a program in it failed; the text has its last words."""


def run(
    command: Sequence[str | Path],
    *,
    env: Mapping[str, str] | None = None,
    timeout: timedelta = timedelta(seconds=60),
) -> str:
    """What ``command`` prints. Raises LabError with its output if it fails or hangs."""
    words = [str(word) for word in command]
    try:
        done = subprocess.run(
            words,
            env=env,
            timeout=timeout.total_seconds(),
            capture_output=True,
            text=True,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise LabError(f"{' '.join(words)}: no end after {timeout}") from error
    except OSError as error:
        raise LabError(f"{' '.join(words)}: {error}") from error
    if done.returncode:
        raise LabError(
            f"{' '.join(words)}: exit code {done.returncode}\n{done.stdout}{done.stderr}".rstrip()
        )
    return done.stdout


def eventually(
    condition: Callable[[], T | None],
    *,
    what: str | Callable[[], str],
    timeout: timedelta = PATIENCE,
) -> T:
    """The first true value of ``condition``. Raises LabError, saying ``what`` did not come."""
    deadline = time.monotonic() + timeout.total_seconds()
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise LabError(f"after {timeout}: {what if isinstance(what, str) else what()}")
        time.sleep(_PAUSE.total_seconds())
    return value


@dataclass(slots=True, kw_only=True)
class Daemon:
    """A program that serves until it is stopped; it may be started again, with the same log."""

    name: str
    command: Sequence[str | Path]
    log: Path
    env: Mapping[str, str] | None = None
    forks: bool = False
    """Whether the command is a wrapper, whose only child the signals are meant for."""
    _process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    def start(self, *, ready: Callable[[str], bool]) -> None:
        """Run it until ``ready`` is true of what it has logged since this start.

        Raises LabError with the log if it ends before, or is not ready in time.
        """
        if self.running:
            raise LabError(f"{self.name} runs already")
        before = self.log.stat().st_size if self.log.exists() else 0
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [str(word) for word in self.command],
                env=self.env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # the terminal's Ctrl-C is for the lab, which tears down
            )

        def is_ready() -> bool:
            if ready(self.logged()[before:]):
                return True
            if not self.running:
                raise LabError(self._failure("ended before it was ready"))
            return False

        try:
            eventually(is_ready, what=lambda: self._failure("is not ready"))
        except LabError:
            self.kill()
            raise

    @property
    def running(self) -> bool:
        """Whether it was started and has not ended."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """The process of the latest start."""
        if self._process is None:
            raise LabError(f"{self.name} was never started")
        return self._process.pid

    def signal(self, number: Signals) -> None:
        """Send a signal. Raises LabError if it does not run."""
        if not self.running:
            raise LabError(self._failure("does not run"))
        os.kill(self._target(), number)

    def stop(self, *, by: Signals = SIGTERM, timeout: timedelta = PATIENCE) -> int:
        """Ask it to end and wait; answers its exit code. Raises LabError if it hangs."""
        self.signal(by)
        assert self._process is not None
        try:
            return self._process.wait(timeout.total_seconds())
        except subprocess.TimeoutExpired as error:
            raise LabError(self._failure(f"did not end {timeout} after {by.name}")) from error

    def kill(self) -> None:
        """End it at once, as a crash does; nothing happens if it does not run."""
        while self._process is not None and self._process.poll() is None:
            with suppress(ProcessLookupError):
                os.kill(self._target(), SIGKILL)
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(_PAUSE.total_seconds())

    def logged(self) -> str:
        """Everything it has printed so far, over all its starts."""
        return self.log.read_bytes().decode(errors="replace") if self.log.exists() else ""

    def _target(self) -> int:
        """Our child, or where it forks its child; itself until it has forked."""
        if self.forks:
            children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
            if children:
                return int(children[0])
        return self.pid

    def _failure(self, what: str) -> str:
        tail = "\n".join(self.logged().splitlines()[-_LOG_TAIL:])
        return f"{self.name} {what}; the end of {self.log}:\n{tail}"
