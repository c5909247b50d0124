"""The rpm: installed over the old driver's, upgraded and erased in a root that has no network.

The root is a Debian's, as no other distribution's packages are at hand: rpm unpacks there and runs
the scripts, but does not know of Debian's Python (``--nodeps``).
"""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.processes import LabError, run
from tests.support.packages import Root, build, lacks

pytestmark = [
    pytest.mark.packages,
    pytest.mark.skipif(lacks("rpmbuild", "mmdebstrap"), reason="needs root, rpm and mmdebstrap"),
]

_RPM = ("rpm", "--dbpath", "/var/lib/rpm")
OLD_CONF = "/etc/oam-docker-ipam/oam-docker-ipam.conf"
_LIBRARIES = "/usr/lib/d4d"
_OLD_DRIVER = """
Name: oam-docker-ipam
Version: 2.0.1
Release: 1
Summary: The driver that D4D replaces
License: Apache-2.0
BuildArch: noarch
%description
Only its settings.
%install
mkdir -p %{buildroot}/etc/oam-docker-ipam
echo 'DHCP_SERVER=0.0.0.0' >%{buildroot}/etc/oam-docker-ipam/oam-docker-ipam.conf
%files
%CONFIG/etc/oam-docker-ipam/oam-docker-ipam.conf
"""


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Root]:
    with Root("bookworm", tmp_path) as root:
        run([*_RPM, "--root", root.path, "--initdb"])
        yield root


def rpm(root: Root, *words: str | Path) -> str:
    """The host's rpm, on the root's packages."""
    inside = [*_RPM, "--root", root.path, "--nodeps", *words]
    return run(["unshare", "--net", *inside], env=root.environment)


def old_driver(target: Path, *, marked: bool) -> Path:
    """Its package; ``marked`` is its settings file as one that rpm keeps where it was edited."""
    spec = target / "old.spec"
    spec.write_text(_OLD_DRIVER.replace("%CONFIG", "%config(noreplace) " if marked else ""))
    places = (f"_topdir {target}/build", f"_rpmdir {target}")
    run(["rpmbuild", "-bb", *(word for each in places for word in ("--define", each)), spec])
    (package,) = target.glob("noarch/oam-docker-ipam-*.rpm")
    return package


def bytecode(root: Root) -> int:
    return len(list(root.there(_LIBRARIES).rglob("*.pyc")))


def value_of(root: Root, name: str) -> dict[str, str]:
    config = json.loads(root.run("d4d", "config", "--json"))
    (found,) = (each for each in config["settings"] if each["name"] == name)
    return {"value": found["value"], "source": found["source"]}


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("rpm", tmp_path_factory.mktemp("rpm"), "0.1.0", "--quick")


@pytest.mark.parametrize("marked", [True, False], ids=["config", "file"])
def test_it_takes_over_the_old_drivers_settings(
    root: Root, package: Path, tmp_path: Path, marked: bool
) -> None:
    rpm(root, "-i", old_driver(tmp_path, marked=marked))
    root.there(OLD_CONF).write_text("DHCP_SERVER=10.77.0.1\n")
    rpm(root, "-U", package)
    assert run([*_RPM, "--root", root.path, "-qa"]).split() == ["d4d-0.1.0-1.x86_64"]
    assert value_of(root, "D4D_DHCP_SERVER") == {
        "value": "10.77.0.1",
        "source": f"{OLD_CONF} DHCP_SERVER",
    }


def test_it_is_installed_upgraded_and_erased(root: Root, package: Path, tmp_path: Path) -> None:
    rpm(root, "-i", package)
    compiled = bytecode(root)
    assert compiled > 1000
    assert root.run("oam-docker-ipam", "--version") == root.run("d4d", "--version") == "d4d 0.1.0\n"
    assert root.run("systemctl", "is-enabled", "d4d.socket", "d4d.service").split() == [
        "enabled",
        "enabled",
    ]
    assert "docker" in root.run("getent", "group", "docker")
    assert (
        root.run("d4d", "unit", "d4d.service")
        == root.there("/usr/lib/systemd/system/d4d.service").read_text()
    )

    conf = root.there("/etc/d4d/d4d.conf")
    conf.write_text("D4D_HOLD=7s\n")
    rpm(root, "-U", build("rpm", tmp_path, "0.1.1", "--quick"))
    assert root.run("d4d", "--version") == "d4d 0.1.1\n"
    assert value_of(root, "D4D_HOLD")["value"] == "7s"
    assert bytecode(root) >= compiled, "the old package's scripts run after the new one's"
    enabled = root.run("systemctl", "is-enabled", "d4d.socket", "d4d.service")
    assert enabled.split() == ["enabled", "enabled"]

    rpm(root, "-e", "d4d")
    for gone in ("/usr/bin/d4d", _LIBRARIES, "/etc/d4d/d4d.conf"):
        assert not root.there(gone).exists(), gone
    assert conf.with_name("d4d.conf.rpmsave").read_text() == "D4D_HOLD=7s\n"
    assert [*root.there("/etc/systemd/system").rglob("d4d.*")] == []


def test_without_a_python_for_it_the_program_says_so(root: Root, package: Path) -> None:
    rpm(root, "-i", package)
    root.there("/usr/bin/python3.11").rename(root.there("/usr/bin/python3.9"))
    with pytest.raises(LabError, match=r"no Python from 3\.11 to 3\.14"):
        root.run("/usr/bin/d4d", "--version")


def test_what_it_needs_is_asked_for(root: Root, package: Path) -> None:
    with pytest.raises(LabError, match=r"python\(abi\) = 3\.12.*is needed by d4d"):
        run([*_RPM, "--root", root.path, "-i", package])


def test_two_builds_are_the_same_to_a_byte(tmp_path: Path) -> None:
    first, second = (build("rpm", tmp_path / name, "--quick") for name in ("first", "second"))
    assert first.read_bytes() == second.read_bytes()
