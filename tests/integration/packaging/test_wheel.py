"""The wheel that users install: all files of the package, and what an index shows of it."""

import os
import re
import sys
from collections.abc import Iterator
from email.message import Message
from email.parser import HeaderParser
from pathlib import Path
from tempfile import TemporaryDirectory
from zipfile import ZipFile

import pytest
from builder.published import with_absolute_links

from lab.processes import run
from tests.support.packages import build

ROOT = Path(__file__).parents[3]
_LINK = re.compile(r"\]\(([^)]*)\)")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("wheel", tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def metadata(wheel: Path) -> Message:
    with ZipFile(wheel) as archive:
        (name,) = (each for each in archive.namelist() if each.endswith(".dist-info/METADATA"))
        return HeaderParser().parsestr(archive.read(name).decode())


def test_the_wheel_has_every_file_of_the_package(wheel: Path) -> None:
    there = set(ZipFile(wheel).namelist())
    source = ROOT / "src"
    wanted = {
        str(path.relative_to(source))
        for path in source.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert {
        "d4d/entrypoints/web/index.html",
        "d4d/adapters/stores/redis/lua/load.lua",
        "d4d/entrypoints/cli/units/d4d.service",
    } <= wanted
    assert wanted - there == set()


def test_the_sdist_has_the_tests_and_the_scripts_too(wheel: Path) -> None:
    (sdist,) = wheel.parent.glob("*.tar.gz")
    names = {name.partition("/")[2] for name in run(["tar", "-tf", sdist]).splitlines()}
    assert {"LICENSE", "scripts/test", "packaging/build-deb", "tests/conftest.py"} <= names


def test_users_are_offered_no_extra_for_tests(metadata: Message) -> None:
    assert metadata.get_all("Provides-Extra") == ["fast", "otel"]
    assert metadata["License-File"] == "LICENSE"
    assert metadata["Author"] == "The D4D developers"


def test_no_link_on_an_index_leads_to_a_file(metadata: Message) -> None:
    links = _LINK.findall(str(metadata.get_payload()))
    assert [link for link in links if not link.startswith(("http", "#"))] == []


def test_with_the_sources_address_links_lead_there() -> None:
    text = "![page](docs/p.png) and [how](docs/a.md#b), [out](https://x.example/), [here](#limits)"
    assert with_absolute_links(text, "https://src.example/v1/") == (
        "![page](https://src.example/v1/docs/p.png) and [how](https://src.example/v1/docs/a.md#b), "
        "[out](https://x.example/), [here](#limits)"
    )
    assert with_absolute_links(text, None) == " and how, [out](https://x.example/), [here](#limits)"


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder that the service sees: not below /tmp, /root or /home."""
    with TemporaryDirectory(prefix="d4d-test-", dir="/var/lib") as path:
        yield Path(path)


@pytest.mark.packages
@pytest.mark.skipif(os.geteuid() != 0, reason="a folder that services see needs root")
@pytest.mark.parametrize("kind", ["wheel", "sdist"])
def test_pip_installs_it_and_its_unit_starts_it(wheel: Path, kind: str, place: Path) -> None:
    (sdist,) = wheel.parent.glob("*.tar.gz")
    package = wheel if kind == "wheel" else sdist
    run([sys.executable, "-m", "venv", place])
    run([place / "bin/pip", "install", "-q", f"d4d[fast] @ {package.as_uri()}"])
    assert run([place / "bin/d4d", "--version"]).startswith("d4d ")
    assert f"ExecStart={place}/bin/d4d server\n" in run([place / "bin/d4d", "unit", "d4d.service"])
    assert run([place / "bin/oam-docker-ipam", "--version"]).startswith("d4d ")


@pytest.mark.packages
def test_uvx_runs_it(wheel: Path) -> None:
    uvx = Path(sys.executable).with_name("uvx")
    said = run([uvx, "--from", f"d4d[fast] @ {wheel.as_uri()}", "d4d", "--version"])
    assert said.startswith("d4d ")


@pytest.mark.packages
def test_pipx_installs_it(wheel: Path, tmp_path: Path) -> None:
    tools = tmp_path / "tools"
    run([sys.executable, "-m", "venv", tools])
    run([tools / "bin/pip", "install", "-q", "pipx"])
    home = {
        "PIPX_HOME": str(tmp_path / "home"),
        "PIPX_BIN_DIR": str(tmp_path / "bin"),
        **os.environ,
    }
    run([tools / "bin/pipx", "install", f"d4d[fast] @ {wheel.as_uri()}"], env=home)
    assert run([tmp_path / "bin/d4d", "--version"]).startswith("d4d ")
