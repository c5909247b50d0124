"""One attempt for all who wait for it, and none for a while after it failed.

While what is needed is away, each attempt takes as long as it takes to give up. Callers that made
one each, one behind the other, would wait for all of them together.
"""

import asyncio
from collections.abc import Awaitable, Callable

from d4d.domain.errors import D4DError

PAUSE = 1.0
"""Seconds after a failure in which nobody tries anew."""


class SharedAttempt:
    """What is attempted by one at a time; who comes meanwhile gets the outcome."""

    def __init__(
        self,
        attempt: Callable[[], Awaitable[None]],
        *,
        pauses_after: tuple[type[Exception], ...],
        name: str,
    ) -> None:
        """``pauses_after`` are the failures that hold good for a while."""
        self._attempt = attempt
        self._pauses_after = pauses_after
        self._name = name
        self._task: asyncio.Task[None] | None = None
        self._failure: Exception | None = None
        self._failed_at = 0.0

    async def outcome(self) -> None:
        """Join the attempt under way, or begin one: raises what it raises.

        Within ``PAUSE`` of a failure this is raised once more.
        """
        if self._task is None and self._failure is not None:
            if asyncio.get_running_loop().time() < self._failed_at + PAUSE:
                raise once_more(self._failure)
            self._failure = None
        await self.anew()

    async def anew(self) -> None:
        """As ``outcome``, but whatever failed a moment ago."""
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run(), name=self._name)
            self._task.add_done_callback(_retrieve)
        task = self._task
        try:
            await asyncio.shield(task)
        except D4DError as error:
            raise once_more(error) from error

    async def _run(self) -> None:
        try:
            await self._attempt()
        except self._pauses_after as error:
            self._failure, self._failed_at = error, asyncio.get_running_loop().time()
            raise
        else:
            self._failure = None
        finally:
            self._task = None


def once_more(error: Exception) -> Exception:
    """``error`` for one more caller: each adds its own traceback."""
    return type(error)(*error.args) if isinstance(error, D4DError) else error


def _retrieve(task: asyncio.Task[None]) -> None:
    """Who began it may have been given up meanwhile, and nobody have joined."""
    if not task.cancelled():
        task.exception()
