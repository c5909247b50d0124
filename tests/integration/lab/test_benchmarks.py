"""The benchmark runs, in small sizes: what it measures then is worth nothing, and not looked at."""

import math
import os
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path
from signal import SIGINT, SIGTERM, Signals

import pytest

from benchmarks import report
from benchmarks.__main__ import PARTS, run
from benchmarks.figures import TIMES, Bound, Figure
from benchmarks.sizes import SMOKE
from lab.lab import leftovers
from lab.network import NAMESPACES
from lab.processes import eventually

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root")

FIGURE = Figure(
    part="p", what="w", against="a", reached=1.25, bound=Bound.AT_MOST, limit=2, detail="d"
)


@needs_root
@pytest.mark.parametrize("part", PARTS)
def test_every_part_comes_to_figures(part: str) -> None:
    figures, missing = run([part], SMOKE)
    assert not missing
    assert figures
    assert all(math.isfinite(figure.reached) for figure in figures)


def processes_with(text: str) -> list[str]:
    """The command lines of this machine's processes in which it stands."""
    lines = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            lines.append(path.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
        except OSError:  # it has ended
            continue
    return [line for line in lines if text in line]


@needs_root
@pytest.mark.parametrize(
    ("words", "number", "at_work"),
    [
        (["container-start", "--smoke"], SIGTERM, "*/dockerd.log"),
        (["range-redis", "--smoke"], SIGTERM, "redis/log"),
        (["history"], SIGINT, "many.db"),
    ],
    ids=["engine", "redis", "sqlite"],
)
def test_a_bench_that_is_told_to_end_leaves_nothing(
    words: list[str], number: Signals, at_work: str
) -> None:
    bench = subprocess.Popen([sys.executable, "-m", "benchmarks", *words, "--dry"])
    lab = f"d4d-{bench.pid}-"
    try:
        eventually(
            lambda: [*Path("/tmp").glob(f"{lab}*/{at_work}")],
            what=f"no {at_work}",
            timeout=timedelta(seconds=60),
        )
        time.sleep(0.5)  # so that it is in the midst of it
        assert processes_with(lab) or words == ["history"]
        bench.send_signal(number)
        assert bench.wait(timeout=60) == 128 + number
    finally:
        bench.kill()
    assert processes_with(lab) == []
    assert [*NAMESPACES.glob(f"{lab}*"), *Path("/tmp").glob(f"{lab}*")] == []
    assert [name for name in leftovers() if name.startswith(lab)] == []  # no cgroup either


def test_the_table_is_written_between_the_markers_and_the_prose_stays(tmp_path: Path) -> None:
    page = tmp_path / "performance.md"
    page.write_text(f"before\n{report._BEGIN}\nold\n{report._END}\nafter\n")
    report.write([FIGURE], ["q"], docs=tmp_path)
    text = page.read_text()
    assert text.startswith("before\n")
    assert text.endswith("\nafter\n")
    assert f"| w | a | 1.25{TIMES} | ≤ 2{TIMES} | yes | d |" in text
    assert "old" not in text
    assert "Not measured in this run: q." in text
    assert '"reached": 1.25' in (tmp_path / "performance.json").read_text()
