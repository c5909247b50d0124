"""The folder that packages are made of: complete for each Python, the same when built twice."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from builder.release import PYTHONS, CannotBuild
from builder.tree import check_tree, digest

from tests.support.packages import build

_SYSTEMS_PYTHON = Path("/usr/bin/python3")  # not the one that has D4D's libraries already


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("tree", tmp_path_factory.mktemp("first"))


def test_it_has_each_package_once_and_each_extension_for_each_python(tree: Path) -> None:
    check_tree(tree)
    cores = {path.name.split("-")[1] for path in (tree / "pydantic_core").glob("*.so")}
    assert cores == {version.replace(".", "") for version in PYTHONS}
    assert (tree / "async_timeout").is_dir(), "Debian 12's Python 3.11.2 needs it for redis"


def test_a_second_build_is_the_same_to_a_byte(tree: Path, tmp_path: Path) -> None:
    assert digest(build("tree", tmp_path)) == digest(tree)


def test_it_is_slim_and_bears_one_time(tree: Path) -> None:
    files = [path for path in tree.rglob("*") if path.is_file()]
    assert {path.suffix for path in files} & {".c", ".h", ".pyx", ".pyi", ".pyc"} == set()
    assert not [path for path in files if path.stat().st_mode & 0o111]
    assert len({path.stat().st_mtime for path in tree.rglob("*")}) == 1
    assert sum(path.stat().st_size for path in files) < 70_000_000


@pytest.mark.skipif(not _SYSTEMS_PYTHON.exists(), reason="the system has no Python")
def test_the_systems_python_runs_d4d_from_it(tree: Path) -> None:
    program = (
        f"import sys; sys.path.insert(0, {str(tree)!r}); "
        "from d4d.entrypoints.cli.main import main; main()"
    )
    said = subprocess.run(
        [_SYSTEMS_PYTHON, "-IB", "-c", program, "--version"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert re.fullmatch(r"d4d [0-9.]+\n", said.stdout)


def test_two_versions_of_a_package_are_refused(tmp_path: Path) -> None:
    for name in ("h11-0.16.0.dist-info", "H11-0.15.0.dist-info"):
        (tmp_path / name).mkdir()
    with pytest.raises(CannotBuild, match=r"h11 is there in the versions 0\.15\.0, 0\.16\.0"):
        check_tree(tmp_path)


def test_an_extension_that_lacks_a_python_is_refused(tree: Path, tmp_path: Path) -> None:
    shutil.copytree(tree / "hiredis", tmp_path / "hiredis")
    check_tree(tmp_path)
    (oldest,) = (tmp_path / "hiredis").glob("*.cpython-311-*.so")
    oldest.unlink()
    with pytest.raises(CannotBuild, match=r"hiredis/hiredis lacks Python 3\.11"):
        check_tree(tmp_path)


@pytest.mark.skipif(not shutil.which("aarch64-linux-gnu-strip"), reason="no binutils for arm64")
def test_it_is_built_for_arm64_too(tmp_path: Path) -> None:
    other = build("tree", tmp_path, "--machine", "arm64")
    modules = list(other.rglob("*.so"))
    assert modules
    elf_machine = {path.read_bytes()[18:20] for path in modules}
    assert elf_machine == {(183).to_bytes(2, "little")}  # EM_AARCH64
