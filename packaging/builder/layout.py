"""D4D's files as they lie on a host, which are the same for deb and rpm."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from builder.documents import (
    bill_of_materials,
    completions,
    copyright_page,
    manual_pages,
    settings_file,
    zipped,
)
from builder.release import Release
from d4d.entrypoints.cli.commands.unit import UNITS, unit_text

PROGRAM = Path("/usr/bin/d4d")
LIBRARIES = Path("/usr/lib/d4d")


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """What a distribution has elsewhere than others."""

    launcher: str
    """The text of /usr/bin/d4d."""
    zsh: Path


def lay_out(release: Release, tree: Path, root: Path, places: Places) -> None:
    """Put the tree and all that belongs to it below ``root``. Raises CannotBuild."""
    shutil.copytree(tree, _below(root, LIBRARIES))
    program = _write(root, PROGRAM, places.launcher)
    program.chmod(0o755)
    # the old driver's name, which its users' scripts and units have
    program.with_name("oam-docker-ipam").symlink_to(program.name)
    for unit in UNITS:
        _write(root, Path("/usr/lib/systemd/system") / unit, unit_text(unit, PROGRAM) + "\n")
    _write(root, Path("/etc/d4d/d4d.conf"), settings_file())
    for name, page in manual_pages(release).items():
        section = name.rpartition(".")[2]
        _write(root, Path(f"/usr/share/man/man{section}/{name}.gz"), zipped(page))
    shells = completions()
    _write(root, Path("/usr/share/bash-completion/completions/d4d"), shells["bash"])
    _write(root, places.zsh, shells["zsh"])
    _write(root, Path("/usr/share/fish/vendor_completions.d/d4d.fish"), shells["fish"])
    papers = Path("/usr/share/doc/d4d")
    _write(root, papers / "copyright", copyright_page(tree, release))
    _write(root, papers / "sbom.cdx.json", bill_of_materials(tree, release))


def _below(root: Path, path: Path) -> Path:
    return root / path.relative_to("/")


def _write(root: Path, path: Path, content: str | bytes) -> Path:
    target = _below(root, path)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(content.encode() if isinstance(content, str) else content)
    return target
