"""All that is printed looks the same: ours, libraries', and Python's own warnings."""

import json
import logging
import os
import subprocess
import sys
import warnings
from typing import Any

import pytest
import structlog
from hypercorn.config import Config

from d4d.adapters.observability.log_setup import configure_logs


def printed(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


def test_what_libraries_log_is_json_like_ours(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs(debug=False)
    structlog.get_logger().info("acquired", address="192.168.59.12")
    logging.getLogger("redis").warning("gone: %s", "127.0.0.1")
    ours, theirs = printed(capsys)
    assert theirs | {"timestamp": 0} == {
        "event": "gone: 127.0.0.1",
        "logger": "redis",
        "level": "warning",
        "timestamp": 0,
    }
    assert ours.keys() - {"address"} == theirs.keys() - {"logger"}


def test_an_exception_that_a_library_logs_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs(debug=False)
    try:
        raise ZeroDivisionError
    except ZeroDivisionError:
        logging.getLogger("asyncio").exception("Task exception was never retrieved")
    (line,) = printed(capsys)
    assert line["level"] == "error"
    assert "Traceback" in line["exception"]


def test_pythons_warnings_are_lines_too(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs(debug=False)
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        warnings.warn("old", DeprecationWarning, stacklevel=1)
    (line,) = printed(capsys)
    assert (line["logger"], line["level"]) == ("py.warnings", "warning")
    assert "old" in line["event"]


@pytest.mark.parametrize("debug", [False, True])
def test_what_libraries_chat_about_is_not_told(
    capsys: pytest.CaptureFixture[str], debug: bool
) -> None:
    configure_logs(debug=debug)
    logging.getLogger("httpx").info("HTTP Request: POST https://example.net/s3cret")
    logging.getLogger("asyncio").debug("Using selector")
    assert printed(capsys) == []


async def test_a_plain_hypercorn_says_in_json_where_it_listens(
    capsys: pytest.CaptureFixture[str],
) -> None:
    log = Config().log  # it makes its handler now,
    configure_logs(debug=False)  # and the app starts
    await log.info("Running on http://unix:/run/docker/plugins/talkingdata.sock")
    (line,) = printed(capsys)
    assert line["event"].startswith("Running on")


def test_logs_that_are_configured_twice_are_not_printed_twice(
    capsys: pytest.CaptureFixture[str],
) -> None:
    configure_logs(debug=False)
    configure_logs(debug=False)
    logging.getLogger("redis").warning("gone")
    assert len(printed(capsys)) == 1


_ON_TERMINAL = """
import logging, structlog
from d4d.adapters.observability.log_setup import configure_logs
configure_logs(debug=False)
structlog.get_logger().info("acquired", address="192.168.59.12")
logging.getLogger("redis").warning("gone")
"""


def test_on_a_terminal_it_is_key_and_value() -> None:
    ours_end, terminal = os.openpty()
    try:
        environment = {**os.environ, "NO_COLOR": "1"}
        subprocess.run(
            [sys.executable, "-c", _ON_TERMINAL], stderr=terminal, env=environment, check=True
        )
        ours, theirs = os.read(ours_end, 4096).decode().splitlines()
    finally:
        os.close(terminal)
        os.close(ours_end)
    assert "acquired" in ours and ours.endswith("address=192.168.59.12")
    assert "gone" in theirs and "warning" in theirs


_LOGGING = """
import logging, os, sys
import structlog
from d4d.adapters.observability.log_setup import configure_logs
about = os.fstat(2)
os.environ["JOURNAL_STREAM"] = f"{about.st_dev}:{about.st_ino + int(sys.argv[1])}"
configure_logs(debug=True)
log = structlog.get_logger()
log.debug("a"), log.info("b"), log.warning("c"), log.error("d")
logging.getLogger("redis").warning("e")
"""


@pytest.mark.parametrize(
    ("elsewhere", "priorities"),
    [("0", ["<7>{", "<6>{", "<4>{", "<3>{", "<4>{"]), ("1", ["{"] * 5)],
    ids=["journal", "file"],
)
def test_the_journal_is_told_how_bad_a_line_is(elsewhere: str, priorities: list[str]) -> None:
    command = [sys.executable, "-c", _LOGGING, elsewhere]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    begins = [line[: line.index("{") + 1] for line in done.stderr.splitlines()]
    assert begins == priorities
