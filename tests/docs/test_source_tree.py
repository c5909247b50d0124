"""docs/explain/source-tree.md has every module, as it describes itself now."""

from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parents[2]


def script() -> ModuleType:
    loader = SourceFileLoader("source_tree", str(ROOT / "scripts" / "source_tree"))
    spec = spec_from_loader(loader.name, loader)
    assert spec is not None
    module = module_from_spec(spec)
    loader.exec_module(module)
    return module


def test_the_page_has_every_module_as_it_describes_itself() -> None:
    page = (ROOT / "docs" / "explain" / "source-tree.md").read_text()
    rewritten: str = script().rewritten(page)
    assert rewritten == page, "run .venv/bin/python scripts/source_tree"
    for module in (ROOT / "src" / "d4d").rglob("*.py"):
        assert f"`{module.name}`" in page or module.name == "__init__.py", module
