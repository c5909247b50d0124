"""OpenTelemetry is there for those who ask for it by its variables, and for no one else."""

import subprocess
import sys
from pathlib import Path

import pytest

from d4d.adapters.observability.tracing import traces_of

ENDPOINT = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}

IMPORTS = """
import sys
from d4d.bootstrap import compose
from d4d.settings.loading import load_settings
container = compose(load_settings(files=(), state_dir=sys.argv[1], host="host-a"))
container.state_dir().lock()
container.metrics()
print(any(name.startswith("opentelemetry") for name in sys.modules))
"""


def test_nothing_of_it_is_imported_by_a_driver_that_is_not_asked_for_traces(
    tmp_path: Path,
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", IMPORTS, tmp_path],
        env={},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "False\n"


@pytest.mark.parametrize(
    ("environment", "are_wanted"),
    [
        ({}, False),
        (ENDPOINT, True),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, True),
        (ENDPOINT | {"OTEL_TRACES_EXPORTER": "none"}, False),
        (ENDPOINT | {"OTEL_SDK_DISABLED": "true"}, False),
    ],
)
async def test_its_variables_say_whether_there_are_spans(
    environment: dict[str, str], are_wanted: bool
) -> None:
    traces = traces_of(environment, host="host-a")
    try:
        assert traces.are_sent is are_wanted
    finally:
        await traces.aclose()
