"""D4D as its systemd units run it: without root, with two capabilities, on systemd's socket."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.d4d_driver import Driver
from lab.dhcp_servers import Dhcpd, Site
from lab.lab import Lab
from lab.network import Namespace
from lab.plugin_calls import call
from lab.processes import Daemon, eventually

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root")

SITE = Site()
_USER = "nobody"
_MAC = "02:42:0a:4d:00:0a"
_CAPABILITIES = "+net_raw,+net_bind_service"
UNITS = Path(__file__).parents[3] / "src" / "d4d" / "entrypoints" / "cli" / "units"

# As systemd does: root listens, the service's process gets the socket as its descriptor 3.
_LAUNCHER = """
import os, socket, sys
listener = socket.socket(socket.AF_UNIX)
listener.bind(sys.argv[1])
os.chmod(sys.argv[1], 0o600)
listener.listen()
os.dup2(listener.fileno(), 3)
os.set_inheritable(3, True)  # it may have been 3 before
os.environ |= {"LISTEN_FDS": "1", "LISTEN_PID": str(os.getpid())}
os.execvp(sys.argv[2], sys.argv[2:])
"""


def unprivileged(namespace: Namespace, plugins: Path, settings: dict[str, str]) -> Driver:
    """The driver, to be started as the unit starts it; only root can look into ``plugins``."""
    driver = Driver(
        namespace,
        socket=plugins / "talkingdata.sock",
        docker_socket=plugins / "docker.sock",
        settings=settings,
    )
    shutil.chown(driver.state_dir, _USER)
    driver.state_dir.chmod(0o700)
    user = [
        *("setpriv", f"--reuid={_USER}", "--regid=nogroup", "--clear-groups", "--no-new-privs"),
        *(f"--inh-caps=-all,{_CAPABILITIES}", f"--ambient-caps=-all,{_CAPABILITIES}"),
        f"--bounding-set=-all,{_CAPABILITIES}",
    ]
    launcher: list[str | Path] = [sys.executable, "-c", _LAUNCHER, driver.socket]
    driver.daemon = namespace.daemon(
        "d4d", [*launcher, *user, driver.program, "server"], env=driver.environment
    )
    return driver


def credentials(daemon: Daemon) -> dict[str, str]:
    """Whose the process is and what it may do, of its effective sets."""
    lines = Path(f"/proc/{daemon.pid}/status").read_text().splitlines()
    status = dict(line.split(":\t", 1) for line in lines if ":\t" in line)
    return {"uid": status["Uid"].split("\t")[1], "capabilities": status["CapEff"]}


def ask(driver: Driver, verb: str, **body: object) -> dict[str, object]:
    reply = call(driver.socket, f"IpamDriver.{verb}", body)
    assert reply.status == 200, reply.content
    content: dict[str, object] = reply.content
    return content


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab() as lab:
        lab.directory.chmod(0o711)  # the state directory in it is the unprivileged user's
        yield lab


def leases_and_releases(lab: Lab, settings: dict[str, str], *, mode: int) -> None:
    """``mode`` is that of the directory of the plugin socket, which is root's."""
    switch = lab.switch()
    server = lab.server(Dhcpd, lab.machine("server", switch, "10.77.0.1/16"), SITE)
    server.start()
    machine = lab.machine("host1", switch, "10.77.0.2/16")
    plugins = machine.directory / "plugins"
    plugins.mkdir()
    plugins.chmod(mode)
    driver = unprivileged(machine, plugins, settings)
    if not driver.is_open_to(_USER):
        pytest.skip(f"{driver.program} lies where {_USER} has no access")
    driver.start()
    try:
        pool = ask(driver, "RequestPool", Pool=str(SITE.subnet))["PoolID"]
        assert credentials(driver.daemon) == {
            "uid": "65534",
            "capabilities": f"{1 << 13 | 1 << 10:016x}",  # CAP_NET_RAW, CAP_NET_BIND_SERVICE
        }
        options = {"com.docker.network.endpoint.macaddress": _MAC}
        answer = ask(driver, "RequestAddress", PoolID=pool, Address="", Options=options)
        address = str(answer["Address"]).partition("/")[0]
        (binding,) = server.leased().values()
        assert (str(binding.address), binding.mac) == (address, _MAC)

        ask(driver, "ReleaseAddress", PoolID=pool, Address=address)
        eventually(lambda: not server.leased(), what="the server heard of no release")
        assert driver.stop() == 0
        assert driver.socket.is_socket(), "the socket is systemd's, and not ours to remove"
    finally:
        driver.daemon.kill()
    assert driver.exceptions() == [], driver.log()


L2 = {"D4D_DHCP_MODE": "l2"}
RELAY = {"D4D_DHCP_MODE": "relay", "DHCP_SERVER": "10.77.0.1"}


@pytest.mark.parametrize("settings", [L2, RELAY], ids=["l2", "relay"])
def test_without_root_and_with_an_inherited_socket_it_leases_and_releases(
    lab: Lab, settings: dict[str, str]
) -> None:
    leases_and_releases(lab, settings, mode=0o755)


def test_the_sockets_directory_need_not_be_open_to_it(lab: Lab) -> None:
    leases_and_releases(lab, L2, mode=0o700)


def test_the_units_capabilities_are_those_tested_here() -> None:
    given = ",".join(f"+{name.removeprefix('CAP_').lower()}" for name in capabilities("Ambient"))
    assert given == _CAPABILITIES
    assert capabilities("Ambient") == capabilities("Bounding")


def capabilities(kind: str) -> list[str]:
    lines = (UNITS / "d4d.service").read_text().splitlines()
    names = {"Ambient": "AmbientCapabilities=", "Bounding": "CapabilityBoundingSet="}
    (line,) = (line for line in lines if line.startswith(names[kind]))
    return line.partition("=")[2].split()


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="there is no systemd here")
def test_systemd_finds_nothing_to_say_against_the_units(tmp_path: Path) -> None:
    for unit in UNITS.iterdir():
        shutil.copy(unit, tmp_path)
    units = sorted(tmp_path.iterdir())
    verified = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *units],
        env=os.environ | {"SYSTEMD_UNIT_PATH": f"{tmp_path}:"},
        capture_output=True,
        text=True,
        check=False,
    )
    said = [line for line in verified.stderr.splitlines() if str(tmp_path) in line]
    assert (verified.returncode, said) == (0, [])


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="there is no systemd here")
def test_the_service_is_as_shut_in_as_the_documentation_says() -> None:
    analysed = subprocess.run(
        [
            *("systemd-analyze", "security", "--offline=true", "--threshold=20"),
            UNITS / "d4d.service",
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    *_, verdict = analysed.stdout.splitlines()
    exposure = float(re.findall(r"[0-9]+\.[0-9]", verdict)[0])
    assert (analysed.returncode, exposure <= 2.0) == (0, True), verdict
