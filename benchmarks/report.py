"""The table on the terminal, in docs/performance/results.md and as JSON."""

import json
import math
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from benchmarks.figures import TIMES, Figure, number

_DOCS = Path(__file__).parents[1] / "docs"
_BEGIN, _END = "<!-- figures: written by scripts/bench -->", "<!-- end of figures -->"
_HEAD = ("figure", "against", "reached", "wanted", "ok", "on the machine below")
_OK = {True: "yes", False: "NO", None: ""}


def print_table(figures: Sequence[Figure]) -> None:
    """On stdout, in columns."""
    rows = [_HEAD, *map(_row, figures)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEAD))]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        print("  ".join(cells).rstrip())


def write(figures: Sequence[Figure], missing: Sequence[str], docs: Path = _DOCS) -> None:
    """Between the markers of performance.md, whose prose stays, and all of performance.json."""
    page = docs / "performance.md"
    before, found, rest = page.read_text().partition(_BEGIN)
    _, ended, after = rest.partition(_END)
    if not found or not ended:
        raise ValueError(f"{page} has lost its markers, {_BEGIN} and {_END}")
    page.write_text(f"{before}{_BEGIN}\n\n{_markdown(figures, missing)}\n{_END}{after}")
    content = {"machine": machine(), "figures": [*map(_plain, figures)], "missing": [*missing]}
    text = json.dumps(content, indent=1, ensure_ascii=False)
    (docs / "performance.json").write_text(text + "\n")


def _markdown(figures: Sequence[Figure], missing: Sequence[str]) -> str:
    lines = [f"| {' | '.join(_HEAD)} |", "|---" * len(_HEAD) + "|"]
    lines += [f"| {' | '.join(_row(figure))} |" for figure in figures]
    lines += ["", f"Measured on {machine()}."]
    if missing:
        lines += ["", f"Not measured in this run: {', '.join(missing)}."]
    return "\n".join([*lines, ""])


def _row(figure: Figure) -> tuple[str, ...]:
    unit = TIMES if figure.unit == TIMES else f" {figure.unit}"
    reached = f"{number(figure.reached)}{unit}"
    wanted = f"{figure.wanted}{unit}" if figure.wanted else ""
    return figure.what, figure.against, reached, wanted, _OK[figure.is_good], figure.detail


def _plain(figure: Figure) -> dict[str, object]:
    limit = figure.limit if math.isfinite(figure.limit) else None
    return {**asdict(figure), "bound": figure.bound.value, "limit": limit, "ok": figure.is_good}


def machine() -> str:
    """What the figures were measured on."""
    return (
        f"{os.cpu_count()} cores of {platform.machine()}, Linux {platform.release()}, "
        f"Python {platform.python_version()}"
    )
