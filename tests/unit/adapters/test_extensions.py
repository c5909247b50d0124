"""Stores and allocators of other packages, which are real packages here: a module and metadata."""

from pathlib import Path
from textwrap import dedent

import pytest

from d4d.bootstrap import compose
from d4d.domain.errors import BadRequest
from d4d.settings.loading import load_settings
from d4d.settings.model import Settings

PAPER = """
from d4d.adapters.range_allocator import RangeAllocator
from d4d.adapters.stores.memory.store import MemoryLeaseStore

class PaperStore(MemoryLeaseStore):
    def __init__(self, *, settings):
        super().__init__()
        self.place = settings.state_dir

class Dice(RangeAllocator):
    def __init__(self, *, settings, store, owner, clock):
        super().__init__(store=store, owner=owner, clock=clock, rest=settings.rest, name="dice")
"""


def install(
    site: Path, monkeypatch: pytest.MonkeyPatch, *entries: str, package: str = "paper"
) -> None:
    """Install ``package`` into ``site``, with what it brings."""
    (site / f"{package}.py").write_text(dedent(PAPER))
    metadata = site / f"{package}-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("\n".join(entries))
    monkeypatch.syspath_prepend(site)


def settings(directory: Path, **given: object) -> Settings:
    return load_settings(files=(), state_dir=directory, host="host-a", **given)


def test_what_a_package_brings_is_a_choice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entries = ("[d4d.stores]", "paper = paper:PaperStore", "[d4d.allocators]", "dice = paper:Dice")
    install(tmp_path, monkeypatch, *entries)
    container = compose(settings(tmp_path, store="paper", allocator="dice"))
    assert container.store().place == tmp_path
    assert set(container.allocators()) >= {"dhcp", "range", "dice"}
    assert container.ipam()
    with pytest.raises(BadRequest, match="D4D_STORE=stone: known are memory, paper, redis, sqlite"):
        compose(settings(tmp_path, store="stone"))


def test_a_name_of_ours_is_nobody_elses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, monkeypatch, "[d4d.stores]", "redis = paper:PaperStore")
    with pytest.raises(BadRequest, match=r"package paper brings 'redis' in d4d\.stores, which"):
        compose(settings(tmp_path))


def test_a_package_that_fails_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, monkeypatch, "[d4d.stores]", "paper = paper:Absent", package="torn")
    container = compose(settings(tmp_path, store="paper"))
    with pytest.raises(BadRequest, match=r"package torn can't make its 'paper' in d4d\.stores"):
        container.store()


def test_what_is_not_chosen_is_not_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, monkeypatch, "[d4d.stores]", "paper = nowhere:Absent", package="idle")
    assert compose(settings(tmp_path, store="memory")).store()
