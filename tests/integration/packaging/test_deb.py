"""The Debian package: what is in it, and its life in a Debian 12 that has no network."""

import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path

import pytest
import typer.main

from d4d.entrypoints.cli.app import cli
from d4d.settings.loading import load_settings
from d4d.settings.model import Settings
from lab.dhcp_servers import Dhcpd, Server
from lab.lab import Lab
from lab.plugin_calls import call
from lab.standard_site import SITE
from tests.support.packages import PackagedDriver, Root, build, lacks

pytestmark = pytest.mark.skipif(
    lacks("dpkg-deb", "mmdebstrap"), reason="a root of Debian needs root and mmdebstrap"
)

OLD, NEW = "0.1.0", "0.1.1"
_LIBRARIES = "/usr/lib/d4d"


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("deb", tmp_path_factory.mktemp("old"), OLD, "--quick")


@pytest.fixture(scope="module")
def unpacked(package: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("unpacked") / "root"
    subprocess.run(["dpkg-deb", "--raw-extract", package, target], check=True)
    return target


def test_each_file_is_roots_and_may_be_written_by_nobody_else(package: Path) -> None:
    listed = subprocess.run(
        ["dpkg-deb", "--contents", package], capture_output=True, text=True, check=True
    )
    lines = [line.split(maxsplit=2) for line in listed.stdout.splitlines()]
    assert {owner for _, owner, _ in lines} == {"root/root"}
    assert {mode for mode, *_ in lines} == {"drwxr-xr-x", "-rw-r--r--", "-rwxr-xr-x", "lrwxrwxrwx"}
    programs = [name.split()[-1] for mode, _, name in lines if mode == "-rwxr-xr-x"]
    assert programs == ["./usr/bin/d4d", "./usr/share/python3/runtime.d/d4d.rtupdate"]


def test_the_manual_has_a_page_for_each_command(unpacked: Path) -> None:
    commands = typer.main.get_command(cli).commands  # type: ignore[attr-defined]  # a group has them
    pages = unpacked / "usr/share/man/man1"
    missing = [name for name in commands if not (pages / f"d4d-{name}.1.gz").exists()]
    assert missing == []
    assert (unpacked / "usr/share/man/man5/d4d.conf.5.gz").exists()


def test_the_settings_file_has_each_setting_and_sets_none(unpacked: Path, tmp_path: Path) -> None:
    conf = unpacked / "etc/d4d/d4d.conf"
    assert load_settings(files=[conf]) == load_settings(files=[])
    lines = [line[1:] for line in conf.read_text().splitlines() if line.startswith("#D4D_")]
    assert sorted(line.partition("=")[0] for line in lines) == sorted(
        f"D4D_{name.upper()}" for name in Settings.model_fields
    )
    for line in lines:  # each can be taken as it stands
        one = tmp_path / "one.conf"
        one.write_text(f"{line}\n")
        load_settings(files=[one])


def test_each_library_is_told_with_its_licence(unpacked: Path) -> None:
    papers = unpacked / "usr/share/doc/d4d"
    told = (papers / "copyright").read_text()
    bill = json.loads((papers / "sbom.cdx.json").read_text())
    have = {path.name.split("-")[0] for path in (unpacked / "usr/lib/d4d").glob("*.dist-info")}
    named = {each["name"].replace("-", "_").lower() for each in bill["components"]}
    assert named == {name.lower() for name in have}
    texts = [line.split(": ")[1] for line in told.splitlines() if line.startswith("  Text: ")]
    assert len(texts) > len(have) / 2
    assert [text for text in texts if not (unpacked / text.lstrip("/")).exists()] == []


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """A fresh Debian on a LAN with a DHCP server."""

    server: Server
    root: Root
    driver: PackagedDriver

    @property
    def bytecode(self) -> int:
        return len(list(self.root.there(_LIBRARIES).rglob("*.pyc")))

    def lease(self, mac: str) -> IPv4Address:
        """What the driver answers a call of Docker's with."""
        socket = self.driver.socket
        pool = call(socket, "IpamDriver.RequestPool", {"Pool": str(SITE.subnet)}).content["PoolID"]
        options = {"com.docker.network.endpoint.macaddress": mac}
        body = {"PoolID": pool, "Address": "", "Options": options}
        reply = call(socket, "IpamDriver.RequestAddress", body)
        assert reply.status == 200, reply.content
        return IPv4Address(reply.content["Address"].partition("/")[0])

    def leased(self) -> list[str]:
        return [
            each["address"] for each in json.loads(self.driver.cli("leases", "--json"))["leases"]
        ]


@pytest.fixture
def site() -> Iterator[Site]:
    with Lab() as lab, Root("bookworm", lab.directory) as root:
        switch = lab.switch()
        server = lab.server(Dhcpd, lab.machine("server", switch, "10.77.0.1/16"), SITE)
        server.start()
        host = lab.machine("host", switch, "10.77.0.2/16")
        driver = PackagedDriver(root, host)
        yield Site(server=server, root=root, driver=driver)
        driver.kill()


def test_it_lives_in_a_fresh_debian(site: Site, package: Path, tmp_path: Path) -> None:
    root, driver = site.root, site.driver
    root.install(package)
    compiled = site.bytecode
    assert compiled > 1000
    assert "docker" in root.run("getent", "group", "docker")
    assert (
        root.run("systemctl", "is-enabled", "d4d.socket", "d4d.service").split() == ["enabled"] * 2
    )
    assert (
        root.run("oam-docker-ipam", "--version") == root.run("d4d", "--version") == f"d4d {OLD}\n"
    )

    driver.start()
    address = site.lease("02:42:0a:4d:00:0a")
    assert site.server.leased()[address].mac == "02:42:0a:4d:00:0a"

    root.there("/etc/d4d/d4d.conf").write_text("D4D_HOLD=7s\n")
    upgrade = build("deb", tmp_path, NEW, "--quick")
    root.install(upgrade)
    assert driver.daemon.running, (
        "an upgrade leaves the old driver to serve until systemd starts the new"
    )
    assert driver.stop() == 0
    driver.start()
    assert root.run("d4d", "--version") == f"d4d {NEW}\n"
    assert (site.leased(), list(site.server.leased())) == ([str(address)], [address])
    assert site.server.releases() == []
    assert '"D4D_HOLD": "7s"' in root.run("d4d", "config", "--json") or "7s" in root.run(
        "d4d", "config"
    )
    assert site.bytecode >= compiled

    driver.stop()
    root.run("dpkg", "--remove", "d4d")
    assert not root.there("/usr/bin/d4d").exists()
    assert not root.there(_LIBRARIES).exists()
    assert root.there("/etc/d4d/d4d.conf").exists()
    assert root.there("/var/lib/d4d/leases.db").exists()

    root.install(upgrade)
    driver.start()
    assert site.leased() == [str(address)], "a removal is none of the state"
    driver.stop()

    root.run("dpkg", "--purge", "d4d")
    for gone in ("/etc/d4d", "/var/lib/d4d", "/var/lib/private/d4d", _LIBRARIES):
        assert not root.there(gone).exists(), gone
    enabled = [*root.there("/etc/systemd/system").rglob("d4d.*")]
    assert enabled == []


def test_another_python_is_refused(package: Path, tmp_path: Path) -> None:
    depends = subprocess.run(
        ["dpkg-deb", "--field", package, "Depends"], capture_output=True, text=True, check=True
    )
    assert "python3 (>= 3.11), python3 (<< 3.15)" in depends.stdout


@pytest.mark.packages
@pytest.mark.skipif(lacks("lintian"), reason="lintian is not installed")
def test_lintian_finds_no_error(tmp_path: Path) -> None:
    package = build("deb", tmp_path)
    said = subprocess.run(
        ["lintian", "--allow-root", package], capture_output=True, text=True, check=False
    )
    found = {line.split()[2] for line in said.stdout.splitlines()}
    assert (said.returncode, found) == (0, {"unusual-interpreter"}), said.stdout + said.stderr


@pytest.mark.packages
def test_two_builds_are_the_same_to_a_byte(tmp_path: Path) -> None:
    first, second = (build("deb", tmp_path / name, OLD) for name in ("first", "second"))
    assert first.read_bytes() == second.read_bytes()
    assert first.stat().st_size < 13_000_000
