"""``python -m builder``: what the scripts in packaging/ call."""

import argparse
import platform
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

from builder.release import DIST, MACHINES, CannotBuild, Release, release_of
from builder.tree import build_tree, digest

_HERE = {machine.wheel: name for name, machine in MACHINES.items()}


def tree(release: Release, target: Path) -> Path:
    """The fat tree, and its hash in print."""
    path = target / f"tree-{release.machine.deb}"
    if path.exists():
        shutil.rmtree(path)
    build_tree(release, path)
    print(digest(path))
    return path


MAKERS: dict[str, Callable[[Release, Path], Path]] = {"tree": tree}


def main() -> None:
    """Make what is asked for, and print where it lies."""
    parser = argparse.ArgumentParser(prog="builder", description=__doc__)
    parser.add_argument("what", choices=MAKERS)
    parser.add_argument("version", nargs="?", help="pyproject's if left out")
    parser.add_argument(
        "--machine", choices=MACHINES, default=_HERE.get(platform.machine()), help="this one's kind"
    )
    parser.add_argument("--into", type=Path, default=DIST, help="the folder, dist/ if left out")
    given = parser.parse_args()
    try:
        release = release_of(version=given.version, machine=given.machine)
        given.into.mkdir(parents=True, exist_ok=True)
        print(MAKERS[given.what](release, given.into.resolve()))
    except CannotBuild as error:
        sys.exit(f"packaging: {error}")


main()
