"""The rpm: of the same fat tree, for RHEL 9 and 10, Fedora and their like."""

import tempfile
from pathlib import Path

from builder.deb import debian_version
from builder.layout import Places, lay_out
from builder.release import ROOT, Release, call
from builder.tree import build_tree, settle

_PARTS = ROOT / "packaging" / "rpm"


def build_rpm(release: Release, target: Path, *, quick: bool) -> Path:
    """The package in ``target``, hardly compressed if ``quick``. Raises CannotBuild."""
    with tempfile.TemporaryDirectory() as scratch:
        tree = build_tree(release, Path(scratch) / "tree")
        stage = Path(scratch) / "stage"
        places = Places(
            launcher=(_PARTS / "launcher").read_text(),
            zsh=Path("/usr/share/zsh/site-functions/_d4d"),
        )
        lay_out(release, tree, stage, places)
        settle(stage, release)
        defined = {
            "_topdir": Path(scratch) / "rpmbuild",
            "_rpmdir": target,
            "_rpmfilename": "%{NAME}-%{VERSION}-%{RELEASE}.%{ARCH}.rpm",
            "d4d_version": debian_version(release.version),  # rpm sorts by ~ as Debian does
            "d4d_stage": stage,
            "_buildhost": "reproducible",
            "use_source_date_epoch_as_buildtime": 1,
            "clamp_mtime_to_source_date_epoch": 1,
            "_binary_payload": "w1.zstdio" if quick else "w19.zstdio",
        }
        defines = [
            word for name, value in defined.items() for word in ("--define", f"{name} {value}")
        ]
        command = ["rpmbuild", "-bb", "--target", f"{release.machine.rpm}-linux", *defines]
        call([*command, _PARTS / "d4d.spec"], env=release.environment)
        return target / f"d4d-{defined['d4d_version']}-1.{release.machine.rpm}.rpm"
