"""Other drivers of the host are found, however they were started."""

import subprocess
import sys
from pathlib import Path

import pytest

from d4d.doctor.collectors.processes import other_drivers
from lab.processes import eventually


@pytest.mark.parametrize("flags", [[], ["-I"]], ids=["pip", "package"])
def test_a_driver_is_found_by_its_program(tmp_path: Path, flags: list[str]) -> None:
    program = tmp_path / "d4d"
    program.write_text("input()\n")
    with subprocess.Popen(
        [sys.executable, *flags, program, "server"], stdin=subprocess.PIPE
    ) as running:
        eventually(
            lambda: running.pid in {each.pid for each in other_drivers(None)},
            what="the driver is not found",
        )
        running.kill()
