"""The fat tree: D4D and its libraries for several Pythons in one folder.

Pure Python is there once; extension modules lie side by side, as their names bear the version of
Python. So one folder serves every distribution whose Python is one of them.
"""

import hashlib
import os
import re
import tempfile
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from zipfile import ZipFile

from builder.release import PYTHONS, CannotBuild, Release, call
from builder.wheels import libraries, own_wheel

_SOURCES = {".c", ".cpp", ".h", ".pxd", ".pxi", ".pyi", ".pyx"}  # for who compiles, or checks types
_OWN_MINOR = re.compile(r"\.cpython-3(\d+)-")


def build_tree(release: Release, target: Path) -> Path:
    """The tree in ``target``, which must not exist yet. Raises CannotBuild."""
    target.mkdir(parents=True)
    with tempfile.TemporaryDirectory() as scratch:
        for wheel in (*libraries(release), own_wheel(release, Path(scratch))):
            _unzip(wheel, target)
    _strip(release, target)
    check_tree(target)
    settle(target, release)
    return target


def check_tree(tree: Path) -> None:
    """Raises CannotBuild if a package is there twice, or for some of the Pythons only."""
    versions = defaultdict(list)
    for folder in tree.glob("*.dist-info"):
        name, _, version = folder.name.removesuffix(".dist-info").rpartition("-")
        versions[re.sub(r"[-_.]+", "-", name).lower()].append(version)
    for name, found in versions.items():
        if len(found) > 1:
            raise CannotBuild(f"{name} is there in the versions {', '.join(sorted(found))}")
    minors = defaultdict(set)
    for module in tree.rglob("*.so"):
        if found_minor := _OWN_MINOR.search(module.name):
            minors[module.parent / module.name.partition(".")[0]].add(f"3.{found_minor[1]}")
    for extension, have in minors.items():
        if missing := set(PYTHONS) - have:
            raise CannotBuild(
                f"{extension.relative_to(tree)} lacks Python {', '.join(sorted(missing))}"
            )


def settle(tree: Path, release: Release) -> None:
    """Give every file the release's time and the modes that a package's files have."""
    for path in sorted(tree.rglob("*"), reverse=True):  # a folder after what is in it
        if not path.is_symlink():
            is_program = path.is_file() and path.stat().st_mode & 0o100
            path.chmod(0o755 if path.is_dir() or is_program else 0o644)
        os.utime(path, (release.epoch, release.epoch), follow_symlinks=False)
    tree.chmod(0o755)
    os.utime(tree, (release.epoch, release.epoch))


def digest(tree: Path) -> str:
    """A hash of all names, modes, times and contents: the same for trees that are the same."""
    whole = hashlib.sha256()
    for path in sorted(tree.rglob("*")):
        about = path.lstat()
        name = path.relative_to(tree).as_posix()
        whole.update(f"{name}\0{about.st_mode:o}\0{about.st_mtime_ns}\0".encode())
        if path.is_symlink():
            whole.update(os.fsencode(path.readlink()))
        elif path.is_file():
            whole.update(path.read_bytes())
    return whole.hexdigest()


def _unzip(wheel: Path, target: Path) -> None:
    with ZipFile(wheel) as archive:
        for name in _wanted(archive.namelist(), wheel):
            content = archive.read(name)
            path = target / name
            if path.exists() and path.read_bytes() != content:
                if path.name == "WHEEL" or path.parent.name == "sboms":  # of this wheel's Python
                    continue
                raise CannotBuild(f"{wheel.name} has another {name} than a wheel before it")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)


def _wanted(names: Iterable[str], wheel: Path) -> Iterable[str]:
    for name in names:
        path = PurePosixPath(name)
        top, *_ = path.parts
        if path.is_absolute() or ".." in path.parts:
            raise CannotBuild(f"{wheel.name} has a file {name}")
        if top.endswith(".data"):
            if path.parts[1] in ("purelib", "platlib"):
                raise CannotBuild(f"{wheel.name} has modules in {top}")
            continue  # programs, manual pages and headers
        is_list = top.endswith(".dist-info") and path.name == "RECORD"  # of files that it had
        if not (name.endswith("/") or is_list or path.suffix in _SOURCES):
            yield name


def _strip(release: Release, target: Path) -> None:
    modules = sorted(target.rglob("*.so"))
    call([release.machine.strip, "--strip-unneeded", *modules])
