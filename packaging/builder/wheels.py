"""The wheels of a release: the lock's, for each Python, and D4D's own."""

import fcntl
import hashlib
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from builder.release import DIST, LOCK, PYTHONS, CannotBuild, Release, call, source_of

_PLATFORMS = ("manylinux2014", "manylinux_2_17", "manylinux_2_28")
_HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")
_PIP = (sys.executable, "-m", "pip", "-q", "--disable-pip-version-check")


def libraries(release: Release) -> Iterator[Path]:
    """The lock's wheels for all Pythons, downloaded once. Raises CannotBuild."""
    locked = set(_HASH.findall(LOCK.read_text()))
    seen = set()
    for python in PYTHONS:
        for wheel in sorted(_downloaded(release, python).glob("*.whl")):
            if wheel.name in seen:
                continue
            seen.add(wheel.name)
            if hashlib.sha256(wheel.read_bytes()).hexdigest() not in locked:
                raise CannotBuild(f"{wheel} is not what the lock names: remove it and try again")
            yield wheel


def own_wheel(release: Release, scratch: Path) -> Path:
    """D4D's wheel, built in ``scratch``. Raises CannotBuild."""
    source = source_of(release, scratch / "source")
    target = scratch / "wheel"
    call([*_PIP, "wheel", "--no-deps", "-w", target, source], env=release.environment)
    (wheel,) = target.glob("d4d-*.whl")
    return wheel


def _downloaded(release: Release, python: str) -> Path:
    lock = hashlib.sha256(LOCK.read_bytes()).hexdigest()
    target = DIST / "wheels" / lock[:12] / f"{release.machine.deb}-{python}"
    target.mkdir(parents=True, exist_ok=True)
    with (target / ".lock").open("w") as alone:
        fcntl.flock(alone, fcntl.LOCK_EX)  # two builds may run at once
        _download(release, python, target)
    return target


def _download(release: Release, python: str, target: Path) -> None:
    done = target / ".complete"
    if done.exists():
        return
    # Without markers: pip holds them against the Python that it runs in. What one of our Pythons
    # needs does no harm to the others.
    plain = target / "requirements.txt"
    plain.write_text(re.sub(r" ; [^\\\n]*", " ", LOCK.read_text()))
    platforms = (f"--platform={each}_{release.machine.wheel}" for each in _PLATFORMS)
    call(
        [
            *(*_PIP, "download", "--no-deps", "--only-binary=:all:", "--require-hashes"),
            *("--implementation=cp", f"--python-version={python}", *platforms),
            *("-d", target, "-r", plain),
        ]
    )
    done.touch()
