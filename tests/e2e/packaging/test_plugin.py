"""D4D as a managed plugin of Docker's: its life, its rights, and how it is reached."""

import json
import os
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from signal import SIGKILL

import pytest

from d4d.settings.model import Settings
from lab.dhcp_servers import Dhcpd, Server
from lab.docker_engine import Engine
from lab.lab import Lab
from lab.processes import LabError, eventually, run
from lab.standard_site import SITE
from tests.support.packages import build, lacks

pytestmark = [
    pytest.mark.packages,
    pytest.mark.skipif(lacks("mmdebstrap", "dockerd"), reason="needs root, mmdebstrap and Docker"),
]

NAME = "d4d:latest"
_PROGRAM = Path(sys.executable).with_name("d4d")
_TWO = f"{1 << 13 | 1 << 10:016x}"  # CAP_NET_RAW, CAP_NET_BIND_SERVICE


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("plugin", tmp_path_factory.mktemp("plugin"))


class Host:
    """A Docker host whose D4D is a plugin of its engine's."""

    def __init__(self, engine: Engine, server: Server, folder: Path) -> None:
        self.engine = engine
        self.server = server
        self.docker = engine.docker
        self.docker("plugin", "create", "d4d", str(folder))
        self.docker("plugin", "set", NAME, f"docker.source={engine.directory}")
        self.docker("plugin", "set", NAME, "D4D_RECONCILE=1s", "D4D_DHCP_DEADLINE=5s")
        self.docker("plugin", "enable", NAME)
        engine.network_create(
            *("lan", "-d", "macvlan", f"--subnet={SITE.subnet}", f"--gateway={SITE.router}"),
            *(f"--ipam-driver={NAME}", "-o", "parent=eth0"),
        )

    @property
    def id(self) -> str:
        return self.docker("plugin", "inspect", "--format", "{{.Id}}", NAME).strip()

    def pid(self) -> int | None:
        """The driver's process, as this machine counts, where there is one now."""
        for process in Path("/proc").glob("[0-9]*"):
            try:
                words = (process / "cmdline").read_bytes().split(b"\0")
                is_ours = self.id in (process / "mountinfo").read_text()
            except OSError:  # it has gone
                continue
            if b"/usr/bin/d4d" in words and is_ours:
                return int(process.name)
        return None

    def d4d(self, *words: str) -> str:
        """What the host's own ``d4d WORDS`` prints, without a setting."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("D4D_")}
        return run(self.engine.command([_PROGRAM, *words]), env=kept)

    def leases(self) -> list[str]:
        return [each["address"] for each in json.loads(self.d4d("leases", "--json"))["leases"]]


@pytest.fixture
def host(folder: Path) -> Iterator[Host]:
    with Lab() as lab:
        switch = lab.switch()
        server = lab.server(Dhcpd, lab.machine("server", switch, "10.77.0.1/16"), SITE)
        server.start()
        engine = lab.engine(lab.machine("host", switch, "10.77.0.2/16"))
        engine.start()
        yield Host(engine, server, folder)


def test_a_container_has_a_lease_through_all_that_happens_to_the_plugin(host: Host) -> None:
    engine, server = host.engine, host.server
    web = engine.run("web", "--restart", "always")
    assert server.leased()[web.address].mac == web.mac

    status = status_of(host.pid())
    assert {status[each] for each in ("CapEff", "CapPrm", "CapBnd")} == {_TWO}
    assert (status["CapInh"], status["NoNewPrivs"]) == ("0" * 16, "1")
    assert host.leases() == [str(web.address)], "the host's d4d finds the plugin's socket"

    with pytest.raises(LabError, match="is in use"):
        host.docker("plugin", "disable", NAME)
    host.docker("plugin", "disable", "--force", NAME)
    host.docker("plugin", "enable", NAME)
    eventually(lambda: host.leases() == [str(web.address)], what="the lease is not taken up")

    killed = host.pid()
    assert killed is not None
    os.kill(killed, SIGKILL)
    eventually(lambda: host.pid() not in (None, killed), what="Docker starts it again")
    eventually(lambda: is_served(host), what="it serves again", timeout=timedelta(seconds=30))
    assert host.leases() == [str(web.address)]

    second = engine.run("db")
    assert server.leased()[second.address].mac == second.mac
    assert not any(str(web.address) in line for line in server.releases())

    engine.stop()
    engine.start()
    again = engine.inspect("web")  # an engine before 28 gives it another MAC address
    assert server.leased()[again.address].mac == again.mac
    engine.rm("web", "db")
    eventually(lambda: not server.leased(), what="the server heard of no release")


def test_each_setting_is_one_of_the_plugins(host: Host) -> None:
    (inspected,) = json.loads(host.docker("plugin", "inspect", NAME))
    named = {each.partition("=")[0] for each in inspected["Settings"]["Env"]}
    fixed = {"D4D_STATE_DIR"}
    assert named >= {f"D4D_{name.upper()}" for name in Settings.model_fields} - fixed
    host.engine.network_rm("lan")
    host.docker("plugin", "disable", NAME)
    host.docker("plugin", "set", NAME, "DHCP_SERVER=10.77.0.1", "D4D_HOLD=7s")
    host.docker("plugin", "enable", NAME)
    driver = eventually(host.pid, what="the driver is not started")
    environment = Path(f"/proc/{driver}/environ").read_text().split("\0")
    assert {"DHCP_SERVER=10.77.0.1", "D4D_HOLD=7s"} <= set(environment)


def status_of(pid: int | None) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return dict(line.split(":\t", 1) for line in lines if ":\t" in line)


def is_served(host: Host) -> bool:
    """Whether the driver answers its operator."""
    try:
        host.leases()
    except LabError:
        return False
    return True
