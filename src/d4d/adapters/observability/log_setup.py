"""How logs look: key=value on a terminal, JSON elsewhere; also what libraries and Python log."""

import asyncio
import json
import logging
import os
import sys
from collections.abc import Callable
from functools import cache
from typing import Any

import structlog
from structlog.typing import Processor

from d4d.service_layer.concurrency.supervised_task import FAILED

log = structlog.get_logger()


class _Handler(logging.StreamHandler):  # type: ignore[type-arg]  # of any stream
    """What libraries log; a class of its own, so that it is found again."""


def configure_logs(*, debug: bool) -> None:
    """Log to standard error, at debug level if asked to."""
    shared: list[Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
        structlog.processors.format_exc_info,
    ]
    on_terminal = sys.stderr.isatty()
    renderer: Processor = (
        structlog.dev.ConsoleRenderer(colors=not os.environ.get("NO_COLOR"))
        if on_terminal
        else structlog.processors.JSONRenderer(serializer=_to_json)
    )
    structlog.configure(
        processors=[*shared, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(
            logging.DEBUG if debug else logging.INFO
        ),
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),  # print writes a line's end alone
        cache_logger_on_first_use=False,
    )
    _adopt_libraries(shared, renderer)


def _to_json(line: Any, *, default: Callable[[Any], Any]) -> str:
    return _encoder(default)(line)


@cache
def _encoder(default: Callable[[Any], Any]) -> Callable[[Any], str]:
    """One for all lines: ``json.dumps`` makes one for each, where there is a ``default``."""
    return json.JSONEncoder(default=default).encode


def _adopt_libraries(shared: list[Processor], renderer: Processor) -> None:
    """Let what goes through Python's logging look the same.

    Their warnings, not their chatter, which has no words of ours: httpx would tell each URL that
    it asks, and a webhook's is a secret.
    """
    handler = _Handler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *shared],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers = [*(each for each in root.handlers if type(each) is not _Handler), handler]
    root.setLevel(logging.WARNING)
    # a plain hypercorn has made a handler of its own, for plain text
    logging.getLogger("hypercorn.error").handlers.clear()
    logging.captureWarnings(True)


def log_failures(loop: asyncio.AbstractEventLoop) -> None:
    """Log what D4D's tasks in ``loop`` fail by; the rest goes asyncio's usual way."""
    loop.set_exception_handler(_log_failure)


def _log_failure(loop: asyncio.AbstractEventLoop, told: dict[str, Any]) -> None:
    if told["message"] == FAILED:
        log.error("failed beside the calls", task=told["task_name"], exc_info=told["exception"])
    else:
        loop.default_exception_handler(told)
