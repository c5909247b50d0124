"""The wheel that users install has the files that are no Python, too."""

import sys
from pathlib import Path
from zipfile import ZipFile

from lab.processes import run

ROOT = Path(__file__).parents[3]


def test_the_wheel_has_every_file_of_the_package(tmp_path: Path) -> None:
    run([sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", tmp_path, ROOT])
    (wheel,) = tmp_path.glob("d4d-*.whl")
    there = set(ZipFile(wheel).namelist())
    source = ROOT / "src"
    wanted = {
        str(path.relative_to(source))
        for path in source.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert {"d4d/entrypoints/web/index.html", "d4d/adapters/stores/redis/lua/load.lua"} <= wanted
    assert wanted - there == set()
