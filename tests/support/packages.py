"""Packages as packaging/ builds them, and roots that they are installed in."""

import os
import subprocess
from pathlib import Path

from lab.processes import LabError

ROOT = Path(__file__).parents[2]


def build(what: str, into: Path, *words: str) -> Path:
    """Run a script of packaging/; answers what it made. Raises LabError."""
    into.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
        [ROOT / "packaging" / f"build-{what}", "--into", into, *words],
        env=os.environ,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise LabError(f"build-{what}: {done.stdout}{done.stderr}")
    return Path(done.stdout.splitlines()[-1])
