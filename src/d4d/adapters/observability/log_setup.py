"""How logs look: key=value on a terminal, JSON elsewhere; also what libraries and Python log."""

import asyncio
import json
import logging
import os
import sys
from collections.abc import Callable
from functools import cache
from typing import Any, TextIO

import structlog
from structlog.typing import EventDict, Processor

from d4d.adapters.observability.log_stream import Lines, LogStream, open_stream
from d4d.service_layer import log_messages as log
from d4d.service_layer.concurrency.supervised_task import FAILED

_INFO = 6
_PRIORITIES = {"critical": 2, "error": 3, "exception": 3, "warning": 4, "info": _INFO, "debug": 7}
_PAUSE = 60.0  # seconds between two lines about the same failure
_MOST_FAILURES = 256


class _Handler(logging.StreamHandler[LogStream]):
    """What libraries log; a class of its own, so that it is found again."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        """A line that can't be made is lost, and no more."""
        self.stream.lose()


def configure_logs(*, debug: bool) -> None:
    """Log to standard error, at debug level if asked to."""
    shared: list[Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
        structlog.processors.format_exc_info,
    ]
    stream = open_stream()
    stream.on_regained = _report_lost
    on_terminal = stream.isatty()
    renderer: Processor = (
        structlog.dev.ConsoleRenderer(colors=not os.environ.get("NO_COLOR"))
        if on_terminal
        else structlog.processors.JSONRenderer(serializer=_to_json)
    )
    if is_journals(sys.stderr):
        renderer = _with_priority(renderer)
    structlog.configure(
        processors=[*shared, renderer],
        wrapper_class=_never_raising(logging.DEBUG if debug else logging.INFO, stream),
        logger_factory=lambda *_: Lines(stream),
        cache_logger_on_first_use=False,
    )
    _adopt_libraries(shared, renderer, stream)


def is_journals(stream: TextIO | None) -> bool:
    """Whether what is written there is systemd's journal (JOURNAL_STREAM of systemd.exec(5))."""
    told = os.environ.get("JOURNAL_STREAM", "")
    try:
        about = os.fstat(stream.fileno()) if stream is not None else None
    except (OSError, ValueError):  # closed, or no file at all
        return False
    return about is not None and told == f"{about.st_dev}:{about.st_ino}"


def _with_priority(render: Processor) -> Processor:
    """Lines that begin with the priority that the journal is to keep them at (sd-daemon(3))."""

    def rendered(logger: Any, name: str, line: EventDict) -> str:
        priority = _PRIORITIES.get(str(line.get("level")), _INFO)
        return f"<{priority}>{render(logger, name, line)!s}"

    return rendered


def _never_raising(level: int, stream: LogStream) -> type:
    """A logger of lines from ``level`` on. A line that can't even be made is lost, and no more."""
    base: Any = structlog.make_filtering_bound_logger(level)

    class Logger(base):  # type: ignore[misc]  # structlog makes a class for each level
        def _proxy_to_logger(self, *given: Any, **fields: Any) -> Any:
            try:
                return super()._proxy_to_logger(*given, **fields)
            except Exception:
                stream.lose()

    return Logger


def _report_lost(count: int) -> None:
    log.log_lines_lost(count=count)


def _to_json(line: Any, *, default: Callable[[Any], Any]) -> str:
    return _encoder(default)(line)


@cache
def _encoder(default: Callable[[Any], Any]) -> Callable[[Any], str]:
    """One for all lines: ``json.dumps`` makes one for each, where there is a ``default``."""
    return json.JSONEncoder(default=default).encode


def _adopt_libraries(shared: list[Processor], renderer: Processor, stream: LogStream) -> None:
    """Let what goes through Python's logging look the same.

    Their warnings, not their chatter, which has no words of ours: httpx would tell each URL that
    it asks, and a webhook's is a secret.
    """
    handler = _Handler(stream)
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
    """Log what D4D's tasks in ``loop`` fail by; the rest goes asyncio's usual way.

    What fails again and again by the same is one line a minute, with how often it did.
    """
    throttle = _FailureThrottle()

    def handle(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        if context["message"] != FAILED:
            loop.default_exception_handler(context)
            return
        task, error = context["task_name"], context["exception"]
        times = throttle.times((task, repr(error)), loop.time())
        if times:
            more = {"times": times} if times > 1 else {}
            log.background_task_failed(task=task, exc_info=error, **more)

    loop.set_exception_handler(handle)


class _FailureThrottle:
    """Which failures are to be logged now."""

    def __init__(self) -> None:
        self._logged: dict[tuple[str, str], tuple[float, int]] = {}

    def times(self, failure: tuple[str, str], now: float) -> int:
        """How often it came since it was last logged, this time included; 0 where it waits."""
        logged_at, unlogged = self._logged.pop(failure, (-_PAUSE, 0))
        is_due = now - logged_at >= _PAUSE
        self._logged[failure] = (now, 0) if is_due else (logged_at, unlogged + 1)
        if len(self._logged) > _MOST_FAILURES:
            del self._logged[next(iter(self._logged))]
        return unlogged + 1 if is_due else 0
