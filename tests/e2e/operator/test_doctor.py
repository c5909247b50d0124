"""``d4d doctor`` on a host that is well, and on hosts that are broken in several ways at once.

What is judged of what was seen is tested in tests/unit/doctor/test_checks.py.
"""

import json
import os
import re
import shutil
import socket
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingUnixStreamServer
from typing import Any

import pytest

from d4d.entrypoints.cli.schemas import DoctorResponse
from lab.d4d_driver import SERVING, Driver
from lab.dhcp_servers import Dhcpd, Dnsmasq, Site
from lab.lab import Lab
from lab.network import Namespace
from lab.plugin_calls import call
from lab.processes import eventually
from lab.redis_servers import RedisServer, free_port

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root")

PROGRAM = Path(sys.executable).with_name("d4d")
SITE = Site(lease_time=timedelta(seconds=600))
Settings = dict[str, str]
OF_THE_MACHINE = {"clock-unsynchronised", "disk-nearly-full"}
"""What this machine may have, whatever the lab does."""
CONTAINERS = [f"02:42:0a:4d:00:{number:02x}" for number in range(3)]
_OWN_67 = "import socket, time; s = socket.socket(2, 2); s.bind(('', 67)); print(1, flush=True); "


class Answers(BaseHTTPRequestHandler):
    """Answers with what its server says for the path."""

    def do_GET(self) -> None:
        answers: dict[str, Any] = self.server.answers  # type: ignore[attr-defined]  # ours has it
        path = re.sub(r"^/v1\.\d+", "", self.path)
        content = json.dumps(answers.get(path, {})).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def do_POST(self) -> None:
        self.do_GET()

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def address_string(self) -> str:
        return "a unix socket"


@contextmanager
def serving(path: Path, answers: dict[str, Any]) -> Iterator[None]:
    """A program that answers HTTP at a unix socket."""
    server = ThreadingUnixStreamServer(str(path), Answers)
    server.answers = answers  # type: ignore[attr-defined]  # for its handlers
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
        path.unlink()


def docker(*networks: dict[str, Any], version: str = "1.41", engine: str = "20.10.24") -> Any:
    answers = {"ApiVersion": version, "MinAPIVersion": "1.12", "Version": engine}
    return {"/version": answers, "/networks": list(networks)}


def network(
    name: str = "lan",
    *,
    subnet: str = str(SITE.subnet),
    gateway: str = str(SITE.router),
    driver: str = "talkingdata",
    parent: str = "eth0",
) -> dict[str, Any]:
    config = [{"Subnet": subnet, "Gateway": gateway}]
    return {
        "Id": f"{name:0<64}",
        "Name": name,
        "Driver": "macvlan",
        "IPAM": {"Driver": driver, "Options": {"parent": parent}, "Config": config},
        "Options": {"parent": parent},
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """A host with a driver: dhcpd on eth0, nobody on eth1, dhcpd and dnsmasq on eth2.

    eth3 is down, eth4 has no carrier, eth5 is a port of br0.
    """

    host: Namespace
    driver: Driver
    docker: Path

    def examine(
        self, *before: str, code: int = 1, also: Settings | None = None, **settings: str
    ) -> dict[str, str]:
        """What was found by its code, but for what is the machine's own."""
        words = [*before, str(PROGRAM), "doctor", "--json", "--timeout", "700ms"]
        done = subprocess.run(
            [str(word) for word in self.host.command(words)],
            env={**self.driver.environment, **(also or {}), **settings},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert done.returncode == code, done.stdout + done.stderr
        answer = DoctorResponse.model_validate_json(done.stdout)
        assert answer.model_dump(mode="json") == json.loads(done.stdout)
        findings = [finding for check in answer.checks for finding in check.findings]
        assert all(finding.found and finding.remedy for finding in findings)
        return {each.code: each.found for each in findings if each.code not in OF_THE_MACHINE}

    def elsewhere(self, name: str) -> tuple[Path, dict[str, str]]:
        """Settings of a host without driver, whose files are in the directory."""
        directory = self.host.directory / name
        directory.mkdir()
        return directory, {
            "D4D_STATE_DIR": str(directory),
            "D4D_PLUGIN_SOCKET": str(directory / "talkingdata.sock"),
            "D4D_ADMIN_BIND": f"unix:{directory / 'admin.sock'}",
        }


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with Lab() as lab:
        lab.directory.chmod(0o711)
        switches = [lab.switch(name) for name in ("one", "empty", "two", "off")]
        host = lab.machine("host", switches[0], "10.77.0.2/16")
        switches[1].join(host, interface="eth1")
        switches[2].join(host, interface="eth2")
        host.ip("link", "add", "eth3", "type", "veth", "peer", "name", "peer3")
        port = switches[3].join(host, interface="eth4")
        switches[3].namespace.ip("link", "set", port, "down")
        host.ip("link", "add", "eth5", "type", "veth", "peer", "name", "peer5")
        host.ip("link", "add", "br0", "type", "bridge")
        for words in (("eth5", "master", "br0", "up"), ("peer5", "up"), ("br0", "up")):
            host.ip("link", "set", *words)
        short = replace(SITE, lease_time=timedelta(seconds=20))
        servers = [
            lab.server(Dhcpd, lab.machine("server0", switches[0], "10.77.0.1/16"), SITE),
            lab.server(Dhcpd, lab.machine("server1", switches[2], "10.77.1.1/16"), short),
            lab.server(Dnsmasq, lab.machine("server2", switches[2], "10.77.1.2/16"), SITE),
        ]
        plugins = host.directory / "plugins"
        plugins.mkdir()
        docker_socket = host.directory / "docker.sock"
        driver = Driver(
            host,
            socket=plugins / "talkingdata.sock",
            docker_socket=docker_socket,
            settings={"D4D_DHCP_MODE": "l2"},
        )
        driver.state_dir.chmod(0o700)
        for server in servers:
            server.start()
        with serving(docker_socket, docker(network())):
            driver.start()
            yield World(host=host, driver=driver, docker=docker_socket)
            assert driver.stop() == 0
            assert driver.exceptions() == []
        known = [binding for server in servers for binding in server.bindings()]
        assert [each for each in known if each.mac not in CONTAINERS] == [], "the doctor's own"


def test_a_host_that_is_well_has_nothing_found(world: World) -> None:
    plugins, places = world.driver.socket.parent, "/run/docker/plugins"
    mount = f'mkdir -p {places} && mount --bind {plugins} {places} && exec "$@"'
    in_mounts = ("unshare", "--mount", "sh", "-c", mount, "sh")
    found = world.examine(*in_mounts, code=0, D4D_PLUGIN_SOCKET=f"{places}/talkingdata.sock")
    assert found == {}


@contextmanager
def leases(driver: Driver) -> Iterator[None]:
    """A network, and containers that have leases on it, as Docker asks for them."""
    gateway = {"RequestAddressType": "com.docker.network.gateway"}
    pool = call(driver.socket, "IpamDriver.RequestPool", {"Pool": str(SITE.subnet)})
    pool_id = pool.content["PoolID"]
    asked: list[tuple[str, dict[str, str]]] = [(str(SITE.router), gateway)]
    for mac in CONTAINERS:
        asked.append(("", {"com.docker.network.endpoint.macaddress": mac}))
    had = []
    for address, options in asked:
        body = {"PoolID": pool_id, "Address": address, "Options": options}
        answer = call(driver.socket, "IpamDriver.RequestAddress", body)
        assert answer.status == 200, answer.content
        had.append(answer.content["Address"].split("/")[0])
    try:
        yield
    finally:
        for address in had:
            body = {"PoolID": pool_id, "Address": address}
            assert call(driver.socket, "IpamDriver.ReleaseAddress", body).status == 200
        call(driver.socket, "IpamDriver.ReleasePool", {"PoolID": pool_id})
        eventually(lambda: '"bound"' not in driver.cli("leases", "--json"), what="leases stay")


def test_a_store_with_leases_and_a_history_is_well_while_the_driver_runs_and_after(
    world: World,
) -> None:
    """On Debian 12 its own check of them sees NULLs, where a table declares its key late."""
    driver, state = world.driver, world.driver.state_dir
    with leases(driver):
        driver.d4d("reserve", str(SITE.subnet), "10.77.3.9", "--for", "kept")
        eventually((state / "history.db").exists, what="no history")
        assert (state / "leases.db-wal").stat().st_size > 0, "the newest leases are in the log"
        assert _of_the_store(world.examine(code=0)) == {}
        if driver.is_open_to("nobody"):
            as_nobody = ("setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups")
            state.chmod(0o755)  # so that it gets as far as the files
            found = _of_the_store(world.examine(*as_nobody, code=0))
            state.chmod(0o700)
            assert set(found) == {"store-unreadable"}
            assert "Permission denied" in found["store-unreadable"]

        copied, settings = world.elsewhere("copied")
        for file in state.glob("*.db*"):  # as after a power cut: with the log, and no driver
            shutil.copy(file, copied)
        assert _of_the_store(world.examine(also=settings)) == {}

        page = sqlite_page(copied / "leases.db", "leases")
        with (copied / "leases.db").open("r+b") as noise:
            noise.seek(page)
            noise.write(os.urandom(512))
        assert "its rows can't all be read" in world.examine(also=settings)["store-damaged"]
        driver.d4d("unreserve", str(SITE.subnet), "10.77.3.9", "--yes")


def _of_the_store(found: dict[str, str]) -> dict[str, str]:
    return {code: text for code, text in found.items() if code.startswith(("store-", "history-"))}


def sqlite_page(path: Path, table: str) -> int:
    """Where the file has the first page of a table, once its log is emptied into it."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        query = "SELECT rootpage FROM sqlite_schema WHERE name = ?"
        (page,) = connection.execute(query, (table,)).fetchone()
        (size,) = connection.execute("PRAGMA page_size").fetchone()
    return int((page - 1) * size)


def test_parents_that_are_absent_or_on_no_wire_or_on_a_wrong_one(world: World) -> None:
    networks = [
        network("down", parent="eth3"),
        network("unplugged", parent="eth4"),
        network("port", parent="eth5"),
        network("lonely", parent="eth1"),
        network("crowded", parent="eth2"),
    ]
    with another_docker(world, *networks) as path:
        found = world.examine(D4D_PARENT="eth9", D4D_DOCKER_SOCKET=path)
    assert "there is no interface eth9 (D4D_PARENT): there are lo, eth0" in found["parent-missing"]
    assert found["parent-down"] == "eth3 (network down) is down"
    assert found["parent-no-carrier"] == "eth4 (network unplugged) is up, without carrier"
    assert found["parent-enslaved"] == "eth5 (network port) is a port of br0"
    assert found["dhcp-silent"] == "no DHCP server answers on eth1"
    assert "2 DHCP servers answer on eth2" in found["dhcp-several"]
    assert "10.77.1.1" in found["dhcp-several"] and "10.77.1.2" in found["dhcp-several"]
    assert "10.77.1.1 on eth2 gives leases of 20 s" in found["dhcp-lease-short"]


@contextmanager
def another_docker(world: World, *networks: dict[str, Any], **engine: str) -> Iterator[str]:
    path = world.host.directory / "other-docker.sock"
    with serving(path, docker(*networks, **engine)):
        yield str(path)


def test_port_67_is_anothers_where_d4d_relays(world: World) -> None:
    owner = world.host.daemon("owner", [sys.executable, "-c", _OWN_67 + "time.sleep(600)"])
    owner.start(ready=lambda log: "1" in log)
    try:
        relay = {"D4D_DHCP_MODE": "relay", "DHCP_SERVER": "10.77.0.1"}
        found = world.examine(code=0, also=relay)
        assert f"(pid {owner.pid})'s, and D4D is to relay" in found["port-67-taken"]
        assert "dhcp-silent" not in found, "the answers are read below UDP"
    finally:
        owner.kill()


def test_a_host_without_driver_docker_and_the_server_of_its_settings(world: World) -> None:
    directory, settings = world.elsewhere("stale")
    settings |= {"D4D_PARENT": "eth2", "DHCP_SERVER": "10.77.9.9"}
    with socket.socket(socket.AF_UNIX) as gone:
        gone.bind(settings["D4D_PLUGIN_SOCKET"])
    (directory / "leases.db").write_bytes(b"no database" * 1000)
    directory.chmod(0o777)
    found = world.examine(D4D_DOCKER_SOCKET=str(directory / "docker.sock"), also=settings)
    assert "no D4D has the state directory" in found["driver-not-running"]
    assert f"nobody listens at {directory}" in found["plugin-socket-stale"]
    assert "No such file or directory" in found["docker-unreachable"]
    assert "file is not a database" in found["store-damaged"]
    assert "has mode 0777" in found["state-dir-open"]
    assert "is a driver too" in found["second-driver"], "the world's own"
    assert "of 10.77.9.9, whose offers alone are taken, nobody does" in found["dhcp-named-silent"]
    assert "dhcp-several" not in found


@pytest.fixture
def forgetful(tmp_path: Path) -> Iterator[RedisServer]:
    if not shutil.which("redis-server"):
        pytest.skip("there is no Redis here")
    redis = RedisServer(tmp_path, config=["maxmemory 100mb", "maxmemory-policy allkeys-lru"])
    redis.start()
    yield redis
    redis.stop()


def test_the_plugin_socket_is_another_programs_and_redis_forgets(
    world: World, forgetful: RedisServer
) -> None:
    _, settings = world.elsewhere("foreign")
    settings |= {"D4D_STORE": "redis", "D4D_REDIS_URL": forgetful.url}
    with serving(Path(settings["D4D_PLUGIN_SOCKET"]), {}):
        found = world.examine(also=settings)
    assert f"(pid {os.getpid()}) serves" in found["plugin-socket-foreign"]
    assert "may lose leases" in found["redis-forgets"]
    assert "redis-unreachable" not in found


def test_a_driver_without_its_capability_and_its_sockets(world: World) -> None:
    directory, settings = world.elsewhere("weak")
    settings["D4D_PLUGIN_SOCKET"] = str(directory / "plugin.sock")
    words = ["setpriv", "--bounding-set=-net_raw", "--inh-caps=-net_raw", str(PROGRAM), "server"]
    driver = world.host.daemon("weak", words, env=world.driver.environment | settings)
    driver.start(ready=lambda log: SERVING in log)
    try:
        (directory / "plugin.sock").unlink()
        (directory / "admin.sock").unlink()
        found = world.examine(also=settings)
        assert "runs as user 0 without CAP_NET_RAW" in found["capability-missing"]
        assert "plugin.sock is not there" in found["plugin-socket-missing"]
        assert "no driver answers at unix:" in found["admin-silent"]
        assert "driver-not-running" not in found
    finally:
        driver.kill()


def test_a_doctor_without_root_says_what_it_could_not_see_and_that_redis_is_away(
    world: World,
) -> None:
    if not world.driver.is_open_to("nobody"):
        pytest.skip(f"{PROGRAM} lies where nobody has no access")
    directory, settings = world.elsewhere("roots")
    directory.chmod(0o755)
    settings |= {
        "D4D_STORE": "redis",
        "D4D_REDIS_URL": f"redis://127.0.0.1:{free_port()}/0",
        "D4D_PARENT": "eth0",
    }
    as_nobody = ("setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups")
    found = world.examine(*as_nobody, also=settings)
    assert "can't be written" in found["state-dir-denied"]
    assert "CAP_NET_RAW" in found["dhcp-not-asked"]
    assert "Permission denied" in found["docker-unreachable"]
    assert "does it run" in found["redis-unreachable"]


def test_networks_that_do_not_fit_what_is_served(world: World) -> None:
    networks = [
        network("gate", gateway="10.77.0.250"),
        network("narrow", subnet="10.77.0.0/18"),
        network("other", driver="somebody"),
    ]
    with another_docker(world, *networks, version="1.40", engine="19.03.15") as path:
        found = world.examine(D4D_DOCKER_SOCKET=path, D4D_IDENTITY="name")
    assert "gateway 10.77.0.250" in found["gateway-mismatch"]
    assert f"names the router {SITE.router}" in found["gateway-mismatch"]
    assert "subnet 10.77.0.0/18" in found["subnet-mismatch"]
    assert "network other takes its addresses from somebody" in found["docker-other-driver"]
    assert found["docker-too-old"] == "this is Docker Engine 19.03.15"
    assert "19.03.15 tells no container names" in found["docker-no-names"]


def test_people_are_told_findings_with_their_remedies(world: World) -> None:
    words = world.host.command([PROGRAM, "doctor"])
    environment = world.driver.environment | {"D4D_PARNET": "eth0"}
    done = subprocess.run(
        [str(word) for word in words], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stdout.splitlines() == [
        "error   settings: nothing else is looked at before they are right",
        "  setting-unknown: environment: D4D_PARNET: did you mean D4D_PARENT?",
        "    correct the name, or take the line away",
    ]
