"""Tasks beside the calls. What one ends by is told at once: nobody awaits it before the stop."""

import asyncio
from collections.abc import Coroutine

FAILED = "failed beside the calls"
"""The message of what the running loop's exception handler is told."""


def beside(work: Coroutine[None, None, None], name: str) -> asyncio.Task[None]:
    """A task for ``work``; an exception that ends it is told to the loop's handler."""
    task = asyncio.get_running_loop().create_task(work, name=name)
    task.add_done_callback(_tell)
    return task


def tell(error: BaseException, name: str) -> None:
    """Tell the loop's exception handler of a bug in the task ``name``, which goes on."""
    asyncio.get_running_loop().call_exception_handler(
        {"message": FAILED, "exception": error, "task_name": name}
    )


def _tell(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        tell(error, task.get_name())
