"""Work next to the calls: tasks that nobody awaits, and loops that no exception ends.

What a task ends by is told at once, to the loop's exception handler. A loop is a step that is made
again and again: an exception ends that one step, is told, and the next one is made after a pause.
``failing`` says which loops of this event loop fail now, for readiness.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from weakref import WeakKeyDictionary

FAILED = "failed beside the calls"
"""The message of what the running loop's exception handler is told."""

_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 60.0  # seconds after a step that failed
_BREATH = 0.01  # seconds between two steps that take no time
_GOES_ON = 10.0  # seconds after which a step counts as one that succeeds


@dataclass(slots=True, kw_only=True)
class Failure:
    """A loop whose last steps failed."""

    name: str
    since: datetime
    times: int
    error: BaseException


class _Done(Exception):
    """There is nothing left to do."""


@dataclass(slots=True)
class _Supervised:
    failure: Failure | None = None
    rests: float = 0.0
    began_at: float | None = None
    """When the step that is being made began, in the loop's seconds."""

    def fails(self, now: float) -> bool:
        """A step that goes on for a while, as one that listens without end, is no failure."""
        goes_on = self.began_at is not None and now - self.began_at >= self.rests + _GOES_ON
        return self.failure is not None and not goes_on


_loops: WeakKeyDictionary["asyncio.Task[None]", _Supervised] = WeakKeyDictionary()


def spawn(work: Coroutine[None, None, None], name: str) -> asyncio.Task[None]:
    """A task for ``work``; an exception that ends it is told to the loop's handler."""
    task = asyncio.get_running_loop().create_task(work, name=name)
    task.add_done_callback(_tell)
    return task


def forever(
    name: str, step: Callable[[], Awaitable[None]], *, rests: float = 0.0
) -> asyncio.Task[None]:
    """A task that makes ``step`` again and again, until it is cancelled.

    A step waits for what it has to do by itself, ``rests`` seconds if it begins by that. After one
    that fails the next is made after a second, then after two, and so on up to a minute; what it
    did not finish is its own to remember. One that goes on for a while does not fail any more.
    """
    supervised = _Supervised(rests=rests)
    task = spawn(_forever(name, step, supervised), name)
    _loops[task] = supervised
    return task


def until_done(name: str, work: Callable[[], Awaitable[None]]) -> asyncio.Task[None]:
    """A task that begins ``work`` anew after each exception, as ``forever``, until it ends."""

    async def step() -> None:
        await work()
        raise _Done

    return forever(name, step)


def failing() -> list[Failure]:
    """The loops of the running event loop whose last step failed, by name."""
    now = asyncio.get_running_loop().time()
    there = (_loops.get(task) for task in asyncio.all_tasks())
    return sorted(
        (each.failure for each in there if each and each.failure and each.fails(now)),
        key=lambda failure: failure.name,
    )


def report_failure(error: BaseException, name: str) -> None:
    """Tell the loop's exception handler of a bug in the task ``name``, which goes on."""
    asyncio.get_running_loop().call_exception_handler(
        {"message": FAILED, "exception": error, "task_name": name}
    )


@contextmanager
def its_own(name: str, *, but: type[Exception] | None = None) -> Iterator[None]:
    """What goes wrong within is told, and is nobody else's: of one listener, lease or host.

    Errors of the class ``but`` are everybody's: they are raised.
    """
    try:
        yield
    except Exception as error:
        if but is not None and isinstance(error, but):
            raise
        report_failure(error, name)


@contextmanager
def answered(news: asyncio.Event) -> Iterator[None]:
    """Clears ``news`` for what is done within; where that fails, it is still to be done."""
    news.clear()
    try:
        yield
    except BaseException:
        news.set()
        raise


async def _forever(name: str, step: Callable[[], Awaitable[None]], supervised: _Supervised) -> None:
    loop, pause = asyncio.get_running_loop(), _FIRST_PAUSE
    while True:
        supervised.began_at = loop.time()
        try:
            await step()
        except _Done:
            return
        except Exception as error:
            before = supervised.failure if supervised.fails(loop.time()) else None
            if before is None:
                pause = _FIRST_PAUSE
            supervised.began_at = None
            supervised.failure = Failure(
                name=name,
                since=before.since if before else datetime.now(UTC),
                times=before.times + 1 if before else 1,
                error=error,
            )
            report_failure(error, name)
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)
        else:
            supervised.failure, pause = None, _FIRST_PAUSE
            # One that waits for nothing must not keep the others, nor fill a core.
            took = loop.time() - supervised.began_at
            await asyncio.sleep(0 if took > _BREATH else _BREATH)


def _tell(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        report_failure(error, task.get_name())
