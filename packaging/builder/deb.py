"""The Debian package: of the fat tree, for each Debian and Ubuntu whose Python it serves."""

import hashlib
import re
import tempfile
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path

from builder.documents import zipped
from builder.layout import Places, lay_out
from builder.release import ROOT, Release, call
from builder.tree import build_tree, settle

_PARTS = ROOT / "packaging" / "deb"
_MAINTAINER = "The D4D developers <d4d@d4d.invalid>"  # no mail is read there: RFC 6761
_SCRIPTS = ("preinst", "postinst", "prerm", "postrm")


def build_deb(release: Release, target: Path, *, compression: str) -> Path:
    """The package in ``target``; ``compression`` is dpkg-deb's. Raises CannotBuild."""
    with tempfile.TemporaryDirectory() as scratch:
        tree = build_tree(release, Path(scratch) / "tree")
        root = Path(scratch) / "root"
        places = Places(
            launcher=(_PARTS / "launcher").read_text(),
            zsh=Path("/usr/share/zsh/vendor-completions/_d4d"),
        )
        lay_out(release, tree, root, places)
        papers = root / "usr/share/doc/d4d"
        (papers / "CHANGELOG.md.gz").write_bytes(zipped((ROOT / "CHANGELOG.md").read_text()))
        (papers / "changelog.gz").write_bytes(zipped(_changelog(release)))
        renewal = root / "usr/share/python3/runtime.d/d4d.rtupdate"
        renewal.parent.mkdir(parents=True)
        renewal.write_bytes((_PARTS / "rtupdate").read_bytes())
        renewal.chmod(0o755)
        _control(release, root)
        settle(root, release)
        deb = target / f"d4d_{debian_version(release.version)}_{release.machine.deb}.deb"
        options = ("--root-owner-group", f"-Z{compression}")
        call(["dpkg-deb", *options, "--build", root, deb], env=release.environment)
    return deb


def debian_version(version: str) -> str:
    """A version of Python's as Debian sorts it: 0.2.0rc1 comes before 0.2.0."""
    return re.sub(r"\.?(a|b|rc|dev)(\d+)", r"~\1\2", version)


def _changelog(release: Release) -> str:
    """One entry in Debian's form, which leads to ours."""
    date = format_datetime(datetime.fromtimestamp(release.epoch, UTC))
    head = f"d4d ({debian_version(release.version)}) stable; urgency=medium"
    return f"{head}\n\n  * See CHANGELOG.md.gz.\n\n -- {_MAINTAINER}  {date}\n"


def _control(release: Release, root: Path) -> None:
    files = sorted(path for path in root.rglob("*") if path.is_file() and not path.is_symlink())
    size = sum(path.stat().st_size for path in files) // 1024
    sums = (
        f"{hashlib.md5(path.read_bytes()).hexdigest()}  {path.relative_to(root)}\n"
        for path in files
    )
    control = root / "DEBIAN"
    control.mkdir()
    (control / "md5sums").write_text("".join(sums))
    (control / "conffiles").write_text("/etc/d4d/d4d.conf\n")
    text = (_PARTS / "control").read_text()
    for mark, value in (
        ("@MAINTAINER@", _MAINTAINER),
        ("@VERSION@", debian_version(release.version)),
        ("@ARCHITECTURE@", release.machine.deb),
        ("@SIZE@", str(size)),
    ):
        text = text.replace(mark, value)
    (control / "control").write_text(text)
    for name in _SCRIPTS:
        (control / name).write_bytes((_PARTS / name).read_bytes())
        (control / name).chmod(0o755)
