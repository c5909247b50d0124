"""The deb in a Debian that systemd has booted: its units, their restrictions, and a lease."""

import json
from collections.abc import Iterator
from datetime import timedelta
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from lab.dhcp_servers import Dhcpd, Server
from lab.lab import Lab
from lab.network import Namespace
from lab.plugin_calls import call
from lab.processes import Daemon, LabError, eventually, run
from lab.standard_site import SITE
from tests.support.packages import Root, build, lacks

pytestmark = [
    pytest.mark.packages,
    pytest.mark.skipif(lacks("mmdebstrap", "systemd-nspawn"), reason="needs systemd-container"),
]

_BOOT = timedelta(seconds=90)
_TWO = f"{1 << 13 | 1 << 10:016x}"  # CAP_NET_RAW, CAP_NET_BIND_SERVICE
_MAC = "02:42:0a:4d:00:0a"


class Booted:
    """A root whose systemd runs, on a machine of the lab's."""

    def __init__(self, root: Root, namespace: Namespace) -> None:
        self.root = root
        container: list[str | Path] = [
            *("systemd-nspawn", "--quiet", "--directory", root.path, "--register=no"),
            *("--keep-unit", "--capability=all", "--machine=d4d-booted", "--boot"),
            "--system-call-filter=@raw-io add_key keyctl bpf perf_event_open",
        ]
        self.daemon: Daemon = namespace.daemon("systemd", container)
        self.daemon.start(ready=lambda _: self._leader() is not None)
        eventually(self._is_up, what=self.daemon.logged, timeout=_BOOT)

    def _leader(self) -> int | None:
        """Its PID 1, as this machine counts."""
        path = Path(f"/proc/{self.daemon.pid}/task/{self.daemon.pid}/children")
        children = path.read_text().split()
        return int(children[0]) if children else None

    def run(self, *words: str) -> str:
        """What a command prints in it. Raises LabError."""
        flags = ("--mount", "--uts", "--ipc", "--net", "--pid", "--root", "--wd=/")
        enter = ["nsenter", f"--target={self._leader()}", *flags, "--", *words]
        return run(enter, env=self.root.environment)

    def property(self, unit: str, name: str) -> str:
        return self.run("systemctl", "show", "--value", f"--property={name}", unit).strip()

    def _is_up(self) -> bool:
        try:
            return "active" in self.run("systemctl", "is-active", "multi-user.target")
        except LabError:
            return False

    def close(self) -> None:
        """Shut it down: a killed nspawn leaves its processes behind."""
        if self.daemon.running:
            self.run("systemctl", "poweroff", "--no-block")
            eventually(lambda: not self.daemon.running, what=self.daemon.logged, timeout=_BOOT)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[tuple[Booted, Server]]:
    with Lab() as lab, Root("bookworm", lab.directory) as root:
        switch = lab.switch()
        server = lab.server(Dhcpd, lab.machine("server", switch, "10.77.0.1/16"), SITE)
        server.start()
        root.install(build("deb", tmp_path, "0.1.0", "--quick"))
        root.there("/usr/sbin/policy-rc.d").unlink()
        booted = Booted(root, lab.machine("host", switch, "10.77.0.2/16"))
        try:
            yield booted, server
        finally:
            booted.close()


def test_the_units_serve_shut_in_and_live_through_crash_and_upgrade(
    site: tuple[Booted, Server], tmp_path: Path
) -> None:
    booted, server = site
    eventually(
        lambda: booted.property("d4d.service", "ActiveState") == "active",
        what=lambda: booted.run("journalctl", "-u", "d4d.service", "-n", "40", "--no-pager"),
        timeout=_BOOT,
    )
    status = booted.run("cat", f"/proc/{booted.property('d4d.service', 'MainPID')}/status")
    assert f"CapEff:\t{_TWO}" in status
    assert "NoNewPrivs:\t1" in status

    # called inside: in the root's files a socket in its /run is not to be seen
    ask = (
        "import sys; sys.path.insert(0, '/root'); from pathlib import Path; import json; "
        "from plugin_calls import call; "
        "s = Path('/run/docker/plugins/talkingdata.sock'); "
        f"pool = call(s, 'IpamDriver.RequestPool', {{'Pool': '{SITE.subnet}'}}).content['PoolID']; "
        f"options = {{'com.docker.network.endpoint.macaddress': '{_MAC}'}}; "
        "body = {'PoolID': pool, 'Address': '', 'Options': options}; "
        "print(json.dumps(call(s, 'IpamDriver.RequestAddress', body).content))"
    )
    plain = Path(call.__code__.co_filename)
    booted.root.take(plain)
    answer = json.loads(booted.run("python3", "-c", ask))
    address = IPv4Address(answer["Address"].partition("/")[0])
    assert server.leased()[address].mac == _MAC

    first = booted.property("d4d.service", "MainPID")
    booted.run("systemctl", "kill", "--signal=KILL", "d4d.service")
    eventually(
        lambda: (
            booted.property("d4d.service", "MainPID") not in ("0", first)
            and booted.property("d4d.service", "ActiveState") == "active"
        ),
        what="systemd starts it again",
        timeout=_BOOT,
    )
    eventually(lambda: str(address) in booted.run("d4d", "leases"), what="the lease has gone")

    warned = booted.run(
        "journalctl", "-u", "d4d.service", "-p", "warning", "--no-pager", "-o", "cat"
    )
    told = booted.run("journalctl", "-u", "d4d.service", "--no-pager", "-o", "cat")
    assert '"level": "info"' in told
    assert '"level": "info"' not in warned

    crashed = booted.property("d4d.service", "MainPID")
    socket = booted.property("d4d.socket", "ActiveEnterTimestampMonotonic")
    upgrade = booted.root.take(build("deb", tmp_path, "0.1.1", "--quick"))
    booted.run("dpkg", "--install", str(upgrade))
    assert booted.property("d4d.service", "MainPID") != crashed
    assert booted.property("d4d.socket", "ActiveEnterTimestampMonotonic") == socket
    eventually(lambda: str(address) in booted.run("d4d", "leases"), what="the lease has gone")
    assert server.releases() == []

    booted.run("dpkg", "--remove", "d4d")
    booted.run("test", "!", "-e", "/run/docker/plugins/talkingdata.sock")
    booted.run("dpkg", "--install", str(upgrade))
    eventually(lambda: str(address) in booted.run("d4d", "leases"), what="it is not started again")
    booted.run("dpkg", "--purge", "d4d")
    booted.run("test", "!", "-e", "/var/lib/private/d4d")
