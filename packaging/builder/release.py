"""What is packaged: which version, for which machines and Pythons, and from when."""

import os
import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
LOCK = ROOT / "packaging" / "requirements.lock"
DIST = ROOT / "dist"

PYTHONS = ("3.11", "3.12", "3.13", "3.14")
"""One folder serves all of these: the names of extension modules bear the version."""


class CannotBuild(Exception):
    """A package can't be made; the text says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """A kind of machine, by its names in the worlds of the packages."""

    deb: str
    rpm: str
    wheel: str

    @property
    def strip(self) -> str:
        """The program of binutils that strips this machine's libraries."""
        return f"{self.wheel}-linux-gnu-strip"


MACHINES = {
    "amd64": Machine(deb="amd64", rpm="x86_64", wheel="x86_64"),
    "arm64": Machine(deb="arm64", rpm="aarch64", wheel="aarch64"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """One version of D4D for one kind of machine."""

    version: str
    machine: Machine
    epoch: int
    """The time that all files bear, in seconds since 1970: two builds are the same to a byte."""

    @property
    def environment(self) -> Mapping[str, str]:
        """For programs that write times."""
        return {
            **os.environ,
            "SOURCE_DATE_EPOCH": str(self.epoch),
            "TZ": "UTC",
            "LC_ALL": "C.UTF-8",
        }


def release_of(*, version: str | None, machine: str) -> Release:
    """The release of this source; ``version`` is pyproject's unless it is given."""
    return Release(
        version=version or _own_version(), machine=MACHINES[machine], epoch=_epoch_of_source()
    )


def call(command: Sequence[str | Path], *, env: Mapping[str, str] | None = None) -> str:
    """What a program prints. Raises CannotBuild with its complaint."""
    words = [str(word) for word in command]
    try:
        done = subprocess.run(words, env=env, capture_output=True, text=True, check=False)
    except OSError as error:
        raise CannotBuild(
            f"{words[0]}: {error.strerror}; packaging/README.md says what installs it"
        ) from error
    if done.returncode:
        raise CannotBuild(
            f"{' '.join(words[:4])}: exit code {done.returncode}\n{done.stdout}{done.stderr}"
        )
    return done.stdout


def source_of(release: Release, target: Path) -> Path:
    """D4D's source, with the release's version, in ``target``."""
    target.mkdir(parents=True)
    for name in call(["git", "-C", ROOT, "ls-files"]).splitlines():
        origin = ROOT / name
        if origin.exists():  # git lists what was deleted and not committed yet
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            (target / name).write_bytes(origin.read_bytes())
    project = target / "pyproject.toml"
    project.write_text(_VERSION.sub(f'version = "{release.version}"', project.read_text(), count=1))
    return target


_VERSION = re.compile(r'^version = "([^"]+)"', re.MULTILINE)


def _own_version() -> str:
    found = _VERSION.search((ROOT / "pyproject.toml").read_text())
    if found is None:
        raise CannotBuild("pyproject.toml names no version")
    return found[1]


def _epoch_of_source() -> int:
    """SOURCE_DATE_EPOCH where it is set, else when the last commit was made."""
    given = os.environ.get("SOURCE_DATE_EPOCH")
    return int(given or call(["git", "-C", ROOT, "log", "-1", "--format=%ct"]))
