"""``python -m builder``: what the scripts in packaging/ call."""

import argparse
import platform
import shutil
import sys
from pathlib import Path

from builder.deb import build_deb
from builder.plugin import build_image, build_plugin
from builder.published import build_wheel
from builder.release import DIST, MACHINES, CannotBuild, Release, release_of
from builder.rpm import build_rpm
from builder.tree import build_tree, digest

_HERE = {machine.wheel: name for name, machine in MACHINES.items()}


def tree(release: Release, given: argparse.Namespace) -> Path:
    """The fat tree, and its hash in print."""
    path = Path(given.into) / f"tree-{release.machine.deb}"
    if path.exists():
        shutil.rmtree(path)
    build_tree(release, path)
    print(digest(path))
    return path


def deb(release: Release, given: argparse.Namespace) -> Path:
    """The Debian package."""
    return build_deb(release, given.into, compression="none" if given.quick else "xz")


def wheel(release: Release, given: argparse.Namespace) -> Path:
    """The wheel, with the sdist beside it."""
    return build_wheel(release, given.into, source_url=given.source_url)


def rpm(release: Release, given: argparse.Namespace) -> Path:
    """The rpm."""
    return build_rpm(release, given.into, quick=given.quick)


def plugin(release: Release, given: argparse.Namespace) -> Path:
    """The managed plugin's folder."""
    return build_plugin(release, given.into)


def image(release: Release, given: argparse.Namespace) -> Path:
    """The container image's files, for docker import."""
    return build_image(release, given.into)


MAKERS = {
    "tree": tree,
    "deb": deb,
    "rpm": rpm,
    "wheel": wheel,
    "plugin": plugin,
    "image": image,
}


def main() -> None:
    """Make what is asked for, and print where it lies."""
    parser = argparse.ArgumentParser(prog="builder", description=__doc__)
    parser.add_argument("what", choices=MAKERS)
    parser.add_argument("version", nargs="?", help="pyproject's if left out")
    parser.add_argument(
        "--machine", choices=MACHINES, default=_HERE.get(platform.machine()), help="this one's kind"
    )
    parser.add_argument(
        "--into",
        type=lambda path: Path(path).resolve(),
        default=DIST,
        help="the folder, else dist/",
    )
    parser.add_argument("--quick", action="store_true", help="not compressed: for a try")
    parser.add_argument("--source-url", help="where this version's files are shown, for the README")
    given = parser.parse_intermixed_args()
    try:
        release = release_of(version=given.version, machine=given.machine)
        given.into.mkdir(parents=True, exist_ok=True)
        print(MAKERS[given.what](release, given))
    except CannotBuild as error:
        sys.exit(f"packaging: {error}")


main()
