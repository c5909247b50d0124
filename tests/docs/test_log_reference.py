"""Every line of the log is in one table, and docs/operate/log-reference.md is written from it."""

import ast
import re
from collections.abc import Iterator
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import ModuleType

import pytest
import structlog

from d4d.domain.events import EventKind
from d4d.service_layer import log_messages
from d4d.service_layer.log_messages import EVENTS, MESSAGES, EventMessage, LogMessage

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src" / "d4d"
TABLE = "service_layer/log_messages.py"
LOGGERS = {
    "adapters/dhcp/wire/codec.py": "quietens scapy",
    "adapters/observability/event_log.py": "writes events, at their levels in the table",
    "adapters/observability/log_setup.py": "makes the log",
    "entrypoints/daemon/http/hypercorn_server.py": "gives hypercorn a logger for its warnings",
    TABLE: "writes all other lines",
}
"""Modules that may import a logging library, and what for."""
LEVELS = ("debug", "info", "warning", "error", "exception", "critical", "fatal", "log", "msg")


def script() -> ModuleType:
    loader = SourceFileLoader("log_reference", str(ROOT / "scripts" / "log_reference"))
    spec = spec_from_loader(loader.name, loader)
    assert spec is not None
    module = module_from_spec(spec)
    loader.exec_module(module)
    return module


def modules() -> Iterator[tuple[str, ast.Module]]:
    for path in SOURCE.rglob("*.py"):
        yield path.relative_to(SOURCE).as_posix(), ast.parse(path.read_text())


def test_the_page_has_every_line_as_the_table_describes_it() -> None:
    page = (ROOT / "docs" / "operate" / "log-reference.md").read_text()
    rewritten: str = script().rewritten(page)
    assert rewritten == page, "run .venv/bin/python scripts/log_reference"


def test_each_kind_of_event_is_in_the_table() -> None:
    assert list(EVENTS) == list(EventKind)


def test_each_line_has_a_name_of_its_own_in_snake_case_a_meaning_and_advice() -> None:
    names = [*(message.name for message in MESSAGES), *(kind.value for kind in EVENTS)]
    assert len(names) == len(set(names))
    assert [name for name in names if not re.fullmatch(r"[a-z]+(_[a-z]+)*", name)] == []
    described: list[LogMessage[...] | EventMessage] = [*MESSAGES, *EVENTS.values()]
    for each in described:
        assert each.meaning.endswith((".", ")")), each
        assert each.advice.endswith((".", ")")), each


def test_a_message_is_called_by_its_name() -> None:
    assert [getattr(log_messages, message.name) for message in MESSAGES] == list(MESSAGES)


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: message.name)
def test_a_message_writes_its_name_its_level_and_its_fields(
    message: LogMessage[...],
) -> None:
    fields = {field: f"the {field}" for field in message.fields}
    with structlog.testing.capture_logs() as lines:
        message(**fields)
    assert lines == [{"event": message.name, "log_level": message.level, **fields}]


def test_types_refuse_a_field_that_is_not_declared() -> None:
    """mypy fails here, by an exception that it does not need, where it would take the field."""
    with structlog.testing.capture_logs() as lines:
        log_messages.heartbeat_failed(eror="away")  # type: ignore[call-arg]  # it is misspelt
    assert lines  # a log that raised would do more harm than a field too many


def test_nothing_is_logged_past_the_table() -> None:
    importing, calls = set(), []
    for name, tree in modules():
        for node in ast.walk(tree):
            if isinstance(node, ast.Import | ast.ImportFrom) and _libraries(node):
                importing.add(name)
            if isinstance(node, ast.Call) and _is_of_a_logger(node):
                calls.append(f"{name}:{node.lineno}")
    assert importing == set(LOGGERS), "call a message of d4d.service_layer.log_messages instead"
    assert calls == [], "call a message of d4d.service_layer.log_messages instead"


def _libraries(node: ast.Import | ast.ImportFrom) -> set[str]:
    """Which libraries that log a node imports."""
    if isinstance(node, ast.ImportFrom):
        named = {(node.module or "").split(".")[0]} if node.level == 0 else set()
    else:
        named = {each.name.split(".")[0] for each in node.names}
    return named & {"structlog", "logging", "warnings"}


def _is_of_a_logger(call: ast.Call) -> bool:
    """Whether this writes a line with a text: a task's ``exception()`` is given none."""
    return isinstance(call.func, ast.Attribute) and call.func.attr in LEVELS and bool(call.args)


def test_each_line_of_the_table_is_written_somewhere() -> None:
    called = {
        node.func.attr
        for name, tree in modules()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and isinstance(node.func.value, ast.Name)
        and node.func.value.id == "log"
    }
    assert {message.name for message in MESSAGES} == called
