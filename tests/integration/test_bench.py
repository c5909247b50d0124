"""The benchmark runs, in small sizes: what it measures then is worth nothing, and not looked at."""

import math
import os
from pathlib import Path

import pytest

from tests.bench import report
from tests.bench.__main__ import PARTS, run
from tests.bench.figures import TIMES, Bound, Figure
from tests.bench.sizes import SMOKE

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
