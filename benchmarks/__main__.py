"""``python -m benchmarks``: measures, prints a table, and writes it into the documentation."""

import argparse
import contextlib
import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from signal import SIG_IGN, SIGALRM, SIGINT, SIGTERM, Signals
from types import FrameType

from benchmarks import report
from benchmarks.figures import Figure
from benchmarks.measurements import (
    against_cni,
    ceiling,
    container_start,
    history,
    holding,
    one_at_a_time,
    operators,
    probe,
    range_fill,
    range_redis,
    start,
)
from benchmarks.progress import Progress
from benchmarks.sizes import FULL, SMOKE, Sizes

Measure = Callable[[Sizes, Progress], Iterator[Figure]]

PARTS: Mapping[str, Measure] = {
    "one-at-a-time": one_at_a_time.measure,
    "cni": against_cni.measure,
    "ceiling": ceiling.measure,
    "probe": probe.measure,
    "start": start.measure,
    "container-start": container_start.measure,
    "holding": holding.measure,
    "range-fill": range_fill.measure,
    "range-redis": range_redis.measure,
    "history": history.measure,
    "operators": operators.measure,
}
_DESCRIPTION = """Measures D4D in a lab of network namespaces: each figure is a ratio to something
that is measured in the same run, or a count. It takes ten minutes at most, and leaves nothing
behind. Exit code 1 says that a figure is not as wanted, 2 that one could not be measured."""
_MOST_SECONDS = 570  # what is left of ten minutes is for taking the lab down


class OutOfTimeError(SystemExit):
    """Ten minutes are over. An event loop lets a SystemExit pass, and nothing else."""


class EndedError(SystemExit):
    """Somebody wants it to end: it leaves nothing behind."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it; answers the exit code."""
    parser = argparse.ArgumentParser(prog="scripts/bench", description=_DESCRIPTION)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)} (all)")
    parser.add_argument("--smoke", action="store_true", help="small sizes: does it run at all?")
    parser.add_argument("--dry", action="store_true", help="print the table, write no file")
    given = parser.parse_args(arguments)
    if unknown := set(given.parts) - PARTS.keys():
        parser.error(f"unknown parts {', '.join(unknown)}: there are {', '.join(PARTS)}")
    if os.geteuid():
        parser.error("network namespaces need root")
    names = given.parts or [*PARTS]
    with _ended_by(SIGTERM, SIGINT):
        figures, missing = run(names, SMOKE if given.smoke else FULL)
    report.print_table(figures)
    is_whole = not given.parts and not given.smoke
    if is_whole and not given.dry:
        report.write(figures, missing)
    if missing:
        print(f"not measured: {', '.join(missing)}", file=sys.stderr)
        return 2
    good = all(figure.is_good is not False for figure in figures)
    return 0 if good or given.smoke else 1


def run(names: Sequence[str], sizes: Sizes) -> tuple[list[Figure], list[str]]:
    """The figures of these parts, and the names of those that could not be measured."""
    progress, figures, missing = Progress(), list[Figure](), list[str]()
    with _alarm(_MOST_SECONDS):
        for name in names:
            try:
                figures += PARTS[name](sizes, progress)
            except (Exception, OutOfTimeError) as error:  # others are worth measuring all the same
                progress.step(f"{name} could not be measured: {error}")
                missing.append(name)
                if isinstance(error, OutOfTimeError):
                    missing += names[names.index(name) + 1 :]
                    break
    return figures, missing


@contextlib.contextmanager
def _alarm(seconds: int) -> Iterator[None]:
    def ring(_number: int, _frame: FrameType | None) -> None:
        raise OutOfTimeError(f"{seconds} s are over")

    before = signal.signal(SIGALRM, ring)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(SIGALRM, before)


@contextlib.contextmanager
def _ended_by(*signals: Signals) -> Iterator[None]:
    """Take down what was built and end, where one of them comes; a shell sees which one it was."""

    def end(number: int, _frame: FrameType | None) -> None:
        for each in (*signals, SIGALRM):
            signal.signal(each, SIG_IGN)  # once more would only disturb the taking down
        raise EndedError(128 + number)

    before = [signal.signal(each, end) for each in signals]
    try:
        yield
    except EndedError:
        print("ended: what was built has been taken down", file=sys.stderr)
        raise
    finally:
        for each, handler in zip(signals, before, strict=True):
            signal.signal(each, handler)


if __name__ == "__main__":
    sys.exit(main())
