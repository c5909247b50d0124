"""A thread of its own for what would hold up the event loop."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from queue import SimpleQueue
from threading import Thread
from typing import Any, TypeVar

from d4d.service_layer import log_messages as log

_T = TypeVar("_T")


class WorkerThread:
    """Does what it is given, one after the other.

    An executor would do, too: to give it something takes a lease more than twice as long.
    """

    def __init__(self, name: str) -> None:
        """``name`` is the thread's, which starts with the first work."""
        self._name = name
        self._work: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._thread: Thread | None = None

    def do(self, work: Callable[[], None]) -> None:
        """Have it done, soon. It raises nothing."""
        if self._thread is None:
            self._thread = Thread(target=self._run, name=self._name, daemon=True)
            self._thread.start()
        self._work.put(work)

    async def call(self, work: Callable[[], _T]) -> _T:
        """What ``work`` returns, or raises."""
        loop = asyncio.get_running_loop()
        done: asyncio.Future[_T] = loop.create_future()

        def work_and_tell() -> None:
            try:
                outcome: _T | Exception = work()
            except Exception as error:
                outcome = error
            tell(loop, partial(settle, done, outcome))

        self.do(work_and_tell)
        return await done

    def close(self) -> None:
        """End the thread, when what it was given is done."""
        if self._thread is not None:
            self._work.put(None)
            self._thread.join()

    def _run(self) -> None:
        while (work := self._work.get()) is not None:
            try:
                work()
            except Exception as error:  # its own: what stands behind it is somebody else's
                log.background_task_failed(task=self._name, exc_info=error)


def tell(loop: asyncio.AbstractEventLoop, callback: Callable[[], None]) -> None:
    """Have ``callback`` called in ``loop``, from another thread."""
    with suppress(RuntimeError):  # it is closed: nobody waits there any more
        loop.call_soon_threadsafe(callback)


def settle(done: "asyncio.Future[Any]", outcome: object) -> None:
    """Tell who waits what came of it, in the loop of ``done``; who was cancelled waits no more."""
    if done.done():
        return
    if isinstance(outcome, Exception):
        done.set_exception(outcome)
    else:
        done.set_result(outcome)
