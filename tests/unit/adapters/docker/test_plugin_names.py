"""Names under which Docker finds a plugin, in directories as Docker's."""

import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from d4d.adapters.docker.plugin_names import PluginNames


@pytest.fixture
def sockets(tmp_path: Path) -> Path:
    (tmp_path / "run").mkdir()
    return tmp_path / "run"


@pytest.fixture
def specs(tmp_path: Path) -> Path:
    (tmp_path / "etc").mkdir()
    return tmp_path / "etc"


@pytest.fixture
def ours(sockets: Path) -> Iterator[Path]:
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(sockets / "talkingdata.sock"))
        yield sockets / "talkingdata.sock"


@pytest.fixture
def names(ours: Path, sockets: Path, specs: Path) -> PluginNames:
    return PluginNames(ours, sockets=sockets, specs=[specs])


def test_the_sockets_own_name_is_ours_even_while_it_is_away(names: PluginNames, ours: Path) -> None:
    assert names.is_ours("talkingdata")
    ours.unlink()
    assert names.is_ours("talkingdata")


@pytest.mark.parametrize("place", ["alias.sock", "alias/alias.sock"])
def test_a_link_to_the_socket_is_ours(
    names: PluginNames, ours: Path, sockets: Path, place: str
) -> None:
    assert not names.is_ours("alias")
    (sockets / place).parent.mkdir(exist_ok=True)
    (sockets / place).symlink_to(ours)
    assert names.is_ours("alias")


@pytest.mark.parametrize("place", ["alias.spec", "alias/alias.spec"])
def test_a_spec_that_leads_to_the_socket_is_ours(
    names: PluginNames, ours: Path, specs: Path, place: str
) -> None:
    (specs / place).parent.mkdir(exist_ok=True)
    (specs / place).write_text(f"unix://{ours}\n")
    assert names.is_ours("alias")


def test_a_json_that_leads_to_the_socket_is_ours(
    names: PluginNames, ours: Path, specs: Path
) -> None:
    (specs / "alias.json").write_text(json.dumps({"Name": "alias", "Addr": f"unix://{ours}"}))
    assert names.is_ours("alias")


def test_the_first_that_docker_finds_counts(
    names: PluginNames, ours: Path, sockets: Path, specs: Path
) -> None:
    (specs / "alias.spec").write_text(f"unix://{ours}")
    with socket.socket(socket.AF_UNIX) as anothers:
        anothers.bind(str(sockets / "alias.sock"))
        assert not names.is_ours("alias")


@pytest.mark.parametrize(
    "content", ["tcp://127.0.0.1:9000", "unix:///nowhere.sock", "", "[", "unix://\0"]
)
@pytest.mark.parametrize("suffix", ["spec", "json"])
def test_what_leads_elsewhere_or_is_broken_is_not_known_to_be_ours(
    names: PluginNames, specs: Path, content: str, suffix: str
) -> None:
    (specs / f"alias.{suffix}").write_text(content)
    assert not names.is_ours("alias")


@pytest.mark.parametrize("name", ["", ".", "..", "../run/talkingdata", "/x", "nowhere", "a\0b"])
def test_what_is_no_name_of_a_plugin_is_not_ours(names: PluginNames, name: str) -> None:
    assert not names.is_ours(name)
