"""The thread that does what would hold up the event loop."""

import asyncio
import threading
from functools import partial

import pytest
import structlog

from d4d.adapters.system.worker_thread import WorkerThread


async def test_it_does_one_thing_after_the_other_in_one_thread() -> None:
    worker, done = WorkerThread("alone"), list[tuple[str, int]]()

    def note(number: int) -> None:
        done.append((threading.current_thread().name, number))

    def last() -> int:
        note(3)
        return 3

    for number in range(3):
        worker.do(partial(note, number))
    assert await worker.call(last) == 3
    assert done == [("alone", number) for number in range(4)]
    worker.close()


async def test_an_error_is_the_callers_and_the_thread_lives_on() -> None:
    worker = WorkerThread("alone")

    def fail() -> None:
        raise OSError("no disk")

    with pytest.raises(OSError, match="no disk"):
        await worker.call(fail)
    assert await worker.call(lambda: "next") == "next"
    worker.close()


async def test_who_was_cancelled_is_told_nothing_and_what_it_gave_is_done() -> None:
    worker, go_on, done = WorkerThread("alone"), threading.Event(), threading.Event()

    def work() -> None:
        go_on.wait()
        done.set()

    calling = asyncio.ensure_future(worker.call(work))
    await asyncio.sleep(0)
    calling.cancel()
    go_on.set()
    assert await worker.call(done.is_set)
    with pytest.raises(asyncio.CancelledError):
        await calling
    worker.close()


def test_a_loop_that_has_ended_meanwhile_ends_no_thread() -> None:
    worker, go_on = WorkerThread("alone"), threading.Event()

    async def give_up() -> None:
        calling = asyncio.ensure_future(worker.call(go_on.wait))
        await asyncio.sleep(0)
        calling.cancel()

    asyncio.run(give_up())
    go_on.set()
    assert asyncio.run(worker.call(lambda: "alive")) == "alive"
    worker.close()


def test_to_close_it_waits_for_what_it_was_given() -> None:
    worker, done = WorkerThread("alone"), list[int]()
    worker.do(lambda: done.append(1))
    worker.close()
    assert done == [1]
    WorkerThread("never started").close()


async def test_work_that_fails_is_its_own_and_what_stands_behind_it_is_done() -> None:
    worker = WorkerThread("a worker")

    def fails() -> None:
        raise OSError("Too many open files")

    with structlog.testing.capture_logs() as logged:
        worker.do(fails)
        assert await worker.call(lambda: 7) == 7
    assert [(line["event"], line["task"]) for line in logged] == [
        ("background_task_failed", "a worker")
    ]
    worker.close()
