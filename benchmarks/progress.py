"""Says on stderr what is going on, so that ten minutes are no riddle."""

import sys
import time


class Progress:
    """One line for each step; on a terminal a count within the last one."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._is_terminal = sys.stderr.isatty()

    @property
    def seconds(self) -> float:
        """Since the start."""
        return time.monotonic() - self._began

    def step(self, what: str) -> None:
        """Something new begins."""
        print(
            f"\r[{self.seconds:4.0f} s] {what}\x1b[K"
            if self._is_terminal
            else f"[{self.seconds:4.0f} s] {what}",
            file=sys.stderr,
            flush=True,
        )

    def count(self, done: int, of: int) -> None:
        """So far has it come."""
        if self._is_terminal:
            print(f"\r[{self.seconds:4.0f} s]   {done} of {of}\x1b[K", end="", file=sys.stderr)
