"""``d4d server`` and plain hypercorn: the socket, the calls, the lock, the start and the end."""

import os
import re
import shutil
import socket
import sqlite3
import stat
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from signal import SIGCONT, SIGSTOP, SIGTERM

import pytest

from lab.d4d_driver import Driver
from lab.dhcp_servers import Dhcpd, Server
from lab.lab import Lab
from lab.network import Namespace, Switch
from lab.plugin_calls import call, receive, send
from lab.processes import LabError, eventually
from lab.standard_site import SITE

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root")

FIRST, SECOND = "02:42:0a:4d:00:61", "02:42:0a:4d:00:62"
SUBNET, GATEWAY = str(SITE.subnet), str(SITE.router)
POOL = {"AddressSpace": "d4d-local", "Pool": SUBNET, "SubPool": "", "Options": None, "V6": False}
HYPERCORN = (Path(sys.executable).with_name("hypercorn"), "d4d.entrypoints.ipam:app", "--bind")
PLUGIN_TYPE = "application/vnd.docker.plugins.v1.1+json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Lan:
    """A switch with dhcpd on it, and a machine for the driver, without an engine."""

    lab: Lab
    switch: Switch
    server: Server
    host: Namespace


@pytest.fixture(scope="module")
def lan() -> Iterator[Lan]:
    with Lab() as lab:
        switch = lab.switch()
        server = lab.server(Dhcpd, lab.machine("server", switch, "10.77.0.1/16"), SITE)
        server.start()
        host = lab.machine("host", switch, "10.77.0.2/16")
        yield Lan(lab=lab, switch=switch, server=server, host=host)


def driver_in(host: Namespace) -> Driver:
    home = host.directory
    socket = home / "plugins" / "talkingdata.sock"
    return Driver(host, socket=socket, docker_socket=home / "no-docker.sock")


@pytest.fixture
def driver(lan: Lan) -> Iterator[Driver]:
    """A driver with a new state directory and no socket, not started."""
    driver = driver_in(lan.host)
    yield driver
    driver.kill()
    shutil.rmtree(driver.state_dir)
    shutil.rmtree(driver.socket.parent, ignore_errors=True)
    assert driver.exceptions() == []
    driver.daemon.log.unlink(missing_ok=True)


def fails(driver: Driver, **settings: str) -> str:
    """What another ``d4d server`` says, with these settings changed, before it ends with code 1."""
    with pytest.raises(LabError, match="exit code 1\n") as failed:
        driver.namespace.run(
            [driver.program, "server"],
            env={**driver.environment, **settings},
            timeout=timedelta(seconds=15),
        )
    text = str(failed.value).partition("\n")[2]
    assert "Traceback" not in text, text
    return text


# The socket


def test_the_socket_is_private_and_served_from_its_first_moment(driver: Driver) -> None:
    assert not driver.socket.parent.exists()
    with ThreadPoolExecutor(1) as pool:
        starting = pool.submit(driver.start)

        eventually(driver.socket.exists, what="no socket appeared")

        assert call(driver.socket, "IpamDriver.RequestPool", POOL).status == 200
        starting.result()
    mode = driver.socket.stat().st_mode
    assert stat.S_ISSOCK(mode) and stat.S_IMODE(mode) == 0o600
    assert [path.name for path in driver.socket.parent.iterdir()] == ["talkingdata.sock"]
    assert stat.S_IMODE(driver.socket.parent.stat().st_mode) == 0o755


@contextmanager
def locked_store(driver: Driver) -> Iterator[None]:
    """The driver's store can't be read meanwhile."""
    driver.start()
    driver.stop()
    with closing(sqlite3.connect(driver.state_dir / "leases.db", isolation_level=None)) as store:
        store.execute("PRAGMA locking_mode = EXCLUSIVE")
        store.execute("BEGIN EXCLUSIVE")
        yield


def opens(driver: Driver) -> bool:
    """Whether it has its state directory, which comes right before the store."""
    return (driver.state_dir / "lock").read_text() == f"{driver.daemon.pid}\n"


def test_calls_wait_while_the_store_can_not_be_read(driver: Driver) -> None:
    with ThreadPoolExecutor(2) as pool, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        told = driver.state_dir / "notify"
        systemd.bind(str(told))
        with locked_store(driver):
            driver.environment["NOTIFY_SOCKET"] = str(told)
            starting = pool.submit(driver.start)
            eventually(lambda: driver.accepts, what="no socket")
            asked = pool.submit(call, driver.socket, "IpamDriver.RequestPool", POOL)
            eventually(lambda: opens(driver), what="it does not open its store")
            # A failure here would stick in dockerd.
            assert call(driver.socket, "Plugin.Activate").content == {"Implements": ["IpamDriver"]}
            assert call(driver.socket, "IpamDriver.GetCapabilities").status == 200
            eventually(lambda: systemd.recv(4096) == b"STATUS=starting, or stopping", what="status")
            assert not asked.done() and not starting.done()

        assert asked.result().status == 200
        starting.result()
        # With its status, or `systemctl start` would return to one that says that D4D starts.
        assert re.match(rb"READY=1\nSTATUS=\d+ leases in \d+ pools, ", systemd.recv(4096))


def test_a_start_can_be_ended(driver: Driver) -> None:
    with ThreadPoolExecutor(1) as pool:
        pool.submit(driver.start)
        eventually(lambda: driver.accepts, what="no socket")

        assert driver.stop() == 0

    assert '"serving"' not in driver.log()
    assert not driver.socket.exists()


def test_a_start_at_whose_end_a_call_waits_answers_it(driver: Driver) -> None:
    with ThreadPoolExecutor(1) as pool, socket.socket(socket.AF_UNIX) as connection:
        pool.submit(driver.start)
        eventually(lambda: driver.accepts, what="no socket")
        connection.settimeout(10)
        connection.connect(str(driver.socket))
        send(connection, "IpamDriver.RequestPool", POOL)
        assert call(driver.socket, "IpamDriver.GetCapabilities").status == 200  # it came later
        time.sleep(0.05)

        assert driver.stop() == 0

        assert receive(connection).status == 200


def test_a_call_that_waited_hears_why_it_can_not_be_served(driver: Driver) -> None:
    driver.start()
    driver.stop()
    with sqlite3.connect(driver.state_dir / "leases.db") as store:
        store.execute("PRAGMA user_version = 99")
    store.close()
    with ThreadPoolExecutor(1) as pool:
        starting = pool.submit(driver.start)
        eventually(lambda: driver.accepts, what="no socket")

        reply = call(driver.socket, "IpamDriver.RequestPool", POOL)

        assert reply.status == 503
        assert reply.content["Err"] == reply.content["Error"]
        assert "leases.db has version 99" in reply.content["Err"]
        with pytest.raises(LabError, match="start_failed"):
            starting.result()
    assert not driver.socket.exists()
    driver.daemon.log.unlink()


def test_a_socket_that_a_crash_left_is_replaced(driver: Driver) -> None:
    driver.start()
    driver.kill()
    assert driver.socket.exists() and not driver.accepts

    driver.start()

    assert call(driver.socket, "Plugin.Activate").status == 200


def test_the_socket_goes_with_the_driver(driver: Driver) -> None:
    driver.start()
    assert driver.stop() == 0
    assert list(driver.socket.parent.iterdir()) == []


def test_a_request_in_flight_is_answered_before_the_end(driver: Driver, lan: Lan) -> None:
    server, before = lan.server, lan.server.leased().keys()
    driver.start()
    pool_id = call(driver.socket, "IpamDriver.RequestPool", POOL).content["PoolID"]
    server.daemon.signal(SIGSTOP)
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(10)
            connection.connect(str(driver.socket))
            send(connection, "IpamDriver.RequestAddress", of_container(pool_id, FIRST))
            eventually(lambda: awaits_answer(driver), what="the request did not come in")
            driver.daemon.signal(SIGTERM)
            eventually(lambda: not driver.accepts, what="it still takes connections")
            server.daemon.signal(SIGCONT)

            reply = receive(connection)
    finally:
        server.daemon.signal(SIGCONT)

    assert reply.status == 200, reply
    assert reply.headers["connection"] == "close"
    eventually(lambda: not driver.daemon.running, what="it did not end")
    assert not driver.socket.exists()
    (address,) = server.leased().keys() - before  # a live lease survives the driver
    assert reply.content["Address"] == f"{address}/16"


def test_a_connection_lasts_until_the_driver_ends_and_delays_no_end(driver: Driver) -> None:
    driver.start()
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(10)
        connection.connect(str(driver.socket))
        for _ in range(3):
            send(connection, "IpamDriver.RequestPool", POOL)
            reply = receive(connection)
            assert reply.status == 200 and "connection" not in reply.headers

        # One that waits for its connections does so for 25 s: this gives up before.
        assert driver.stop() == 0

        assert connection.recv(1) == b""


def awaits_answer(driver: Driver) -> bool:
    """Whether the driver has opened its packet socket on the parent: it has asked the server."""
    return len(driver.namespace.run(["cat", "/proc/net/packet"]).splitlines()) > 1


def test_an_inherited_socket_is_served_and_left_alone(driver: Driver) -> None:
    driver.socket.parent.mkdir()
    launcher = (
        "import os, socket, sys\n"
        "path, program = sys.argv[1:]\n"
        "listening = socket.socket(socket.AF_UNIX); listening.bind(path); listening.listen()\n"
        "if listening.fileno() == 3: listening.set_inheritable(True)\n"
        "else: os.dup2(listening.fileno(), 3)\n"
        "os.environ |= {'LISTEN_FDS': '1', 'LISTEN_PID': str(os.getpid())}\n"
        "os.execv(program, [program, 'server'])\n"
    )
    daemon = driver.namespace.daemon(
        "activated",
        [sys.executable, "-c", launcher, driver.socket, driver.program],
        env=driver.environment,
    )
    daemon.start(ready=lambda _: driver.accepts)  # calls wait in it from the first moment
    try:
        assert call(driver.socket, "IpamDriver.RequestPool", POOL).status == 200
        assert daemon.stop() == 0
    finally:
        daemon.kill()

    assert driver.socket.exists()
    assert "Traceback" not in daemon.logged()


# One driver


def test_a_second_driver_at_the_same_socket_says_so(driver: Driver) -> None:
    driver.start()

    assert f"another process serves {driver.socket}" in fails(driver)

    assert driver.accepts


def test_a_second_driver_in_the_same_state_directory_names_the_first(driver: Driver) -> None:
    driver.start()
    other = driver.socket.with_name("other.sock")

    text = fails(driver, D4D_PLUGIN_SOCKET=str(other))

    assert f"another D4D (pid {driver.daemon.pid}) uses the state directory" in text
    assert driver.accepts
    assert [path.name for path in driver.socket.parent.iterdir()] == ["talkingdata.sock"]


# What is wrong is said


def test_a_store_of_a_later_version_is_refused(driver: Driver) -> None:
    driver.start()
    driver.stop()
    with sqlite3.connect(driver.state_dir / "leases.db") as store:
        store.execute("PRAGMA user_version = 99")
    store.close()

    text = fails(driver)

    assert "leases.db has version 99, and this D4D knows versions up to" in text
    assert not driver.socket.exists()


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("D4D_DHCP_SERVR", "10.77.0.1", "unknown setting D4D_DHCP_SERVR: did you mean D4D_DHCP_SE"),
        ("D4D_DHCP_DEADLINE", "soon", "D4D_DHCP_DEADLINE: Value error, 'soon' is no duration"),
        ("D4D_STORE", "paper", "D4D_STORE=paper: known are "),
        ("D4D_STATE_DIR", "/proc/d4d", "state directory /proc/d4d can't be used"),
        ("D4D_PLUGIN_SOCKET", f"/tmp/{'x' * 100}.sock", "is too long: shorten D4D_PLUGIN_SOCKET"),
        ("D4D_PLUGIN_SOCKET", "/proc/d4d/x.sock", "can't listen at /proc/d4d/x.sock: "),
    ],
)
def test_a_wrong_setting_is_named(driver: Driver, name: str, value: str, text: str) -> None:
    assert text in fails(driver, **{name: value})


# Plain hypercorn


@pytest.fixture(scope="module")
def served(lan: Lan) -> Iterator[Path]:
    """The socket at which plain hypercorn serves the app."""
    driver = driver_in(lan.lab.machine("host2", lan.switch, "10.77.0.3/16"))
    driver.socket.parent.mkdir()
    daemon = driver.namespace.daemon(
        "hypercorn", [*HYPERCORN, f"unix:{driver.socket}"], env=driver.environment
    )
    daemon.start(ready=lambda _: driver.accepts)
    try:
        yield driver.socket
        assert daemon.stop() == 0
    finally:
        daemon.kill()
    assert "Traceback" not in daemon.logged()


def test_without_the_extra_it_is_hypercorn_that_serves(driver: Driver) -> None:
    """A fresh ``pip install .`` has none of what is fast."""
    hidden = "import sys; sys.modules |= dict.fromkeys(['uvicorn', 'uvloop', 'httptools'])"
    main = "from d4d.entrypoints.cli.main import main; main(); print('unreached')"
    command = [sys.executable, "-c", f"{hidden}; {main}", "server"]
    daemon = driver.namespace.daemon("plain", command, env=driver.environment)
    daemon.start(ready=lambda _: driver.accepts)
    try:
        pool_id = call(driver.socket, "IpamDriver.RequestPool", POOL).content["PoolID"]
        answer = call(driver.socket, "IpamDriver.RequestAddress", of_container(pool_id, FIRST))
        assert answer.status == 200, answer
        loaded = Path(f"/proc/{daemon.pid}/maps").read_text()
        assert "uvloop" not in loaded and "httptools" not in loaded
        assert "connection" not in answer.headers  # kept, here too
        assert daemon.stop() == 0
    finally:
        daemon.kill()
    assert "Traceback" not in daemon.logged()


def of_container(pool_id: str, mac: str) -> dict[str, object]:
    options = {"com.docker.network.endpoint.macaddress": mac}
    return {"PoolID": pool_id, "Address": "", "Options": options}


def test_hypercorn_serves_every_call_as_dockerd_makes_it(served: Path, lan: Lan) -> None:
    """The head has an empty Host and no Content-Type; the body ends in a newline."""
    server, before = lan.server, lan.server.leased().keys()
    replies = {
        method: call(served, method)
        for method in (
            "Plugin.Activate",
            "IpamDriver.GetCapabilities",
            "IpamDriver.GetDefaultAddressSpaces",
        )
    }
    assert replies["Plugin.Activate"].content == {"Implements": ["IpamDriver"]}
    pool = replies["RequestPool"] = call(served, "IpamDriver.RequestPool", POOL)
    pool_id = pool.content["PoolID"]
    assert pool.content["Pool"] == SUBNET

    gateway = {
        "PoolID": pool_id,
        "Address": GATEWAY,
        "Options": {"RequestAddressType": "com.docker.network.gateway"},
    }
    auxiliary = {"PoolID": pool_id, "Address": GATEWAY, "Options": None}
    for number, asked in enumerate((gateway, auxiliary, of_container(pool_id, SECOND))):
        reply = replies[f"RequestAddress {number}"] = call(
            served, "IpamDriver.RequestAddress", asked
        )
    address = reply.content["Address"]
    assert re.fullmatch(r"10\.77\.\d+\.\d+/16", address)
    (leased,) = server.leased().keys() - before
    assert f"{leased}/16" == address
    assert server.leased()[leased].mac == SECOND

    for released in (str(leased), GATEWAY, GATEWAY):
        replies[f"ReleaseAddress {released}"] = call(
            served, "IpamDriver.ReleaseAddress", {"PoolID": pool_id, "Address": released}
        )
    replies["ReleasePool"] = call(served, "IpamDriver.ReleasePool", {"PoolID": pool_id})
    eventually(lambda: leased not in server.leased(), what="no release")
    for reply in replies.values():
        assert reply.status == 200, replies
        assert reply.headers["connection"] == "close"
        assert reply.headers["content-type"] == PLUGIN_TYPE


@pytest.mark.parametrize("body", [b"", b"\n", b"{", b"[]\n", b'{"Pool": 5}\n'])
def test_a_body_that_is_none_is_refused_in_both_keys(served: Path, body: bytes) -> None:
    reply = call(served, "IpamDriver.RequestPool", body)

    assert reply.status == 400
    assert reply.content["Err"] == reply.content["Error"] != ""
    assert reply.headers["connection"] == "close"


def test_a_call_that_ipam_does_not_have_is_refused_in_both_keys(served: Path) -> None:
    reply = call(served, "NetworkDriver.CreateNetwork", {})

    assert reply.status == 404
    assert reply.content["Err"] == reply.content["Error"] == "no such call: Not Found"


def test_hypercorn_says_why_it_can_not_serve(driver: Driver) -> None:
    driver.start()
    other = driver.socket.with_name("other.sock")

    # Its exit code is 0 nevertheless: hypercorn forgets its worker's.
    text = run_both(driver, [*HYPERCORN, f"unix:{other}"])
    assert f"another D4D (pid {driver.daemon.pid}) uses the state directory" in text


def run_both(driver: Driver, words: Sequence[str | Path]) -> str:
    """What a command prints, to standard output and standard error."""
    command = ["sh", "-c", 'exec "$@" 2>&1', "sh", *words]
    return driver.namespace.run(command, env=driver.environment, timeout=timedelta(seconds=15))


# The module

_IMPORT = """
import os, sys, threading
seen = []
def is_scapys():  # it looks at the host's interfaces, and keeps a cache in ~/.cache/scapy
    frame = sys._getframe()
    while frame and not str(frame.f_globals.get("__name__")).startswith("scapy"):
        frame = frame.f_back
    return frame
def watch(event, arguments):
    opens = event in {"socket.bind", "socket.connect", "sqlite3.connect", "os.mkdir"}
    writes = event == "open" and set("wax+") & set(str(arguments[1]))
    if (opens or writes) and not is_scapys():
        seen.append((event, arguments[:2]))
before = sorted(os.listdir("/proc/self/fd"))
sys.addaudithook(watch)
import d4d.entrypoints.ipam
assert sorted(os.listdir("/proc/self/fd")) == before, os.listdir("/proc/self/fd")
assert len(os.listdir("/proc/self/task")) == threading.active_count() == 1
assert seen == [], seen
assert d4d.entrypoints.ipam.app.routes
"""


def test_importing_the_app_opens_nothing(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-B", "-c", _IMPORT],
        check=True,
        cwd=tmp_path,
        env={**os.environ, "HOME": str(tmp_path), "D4D_STATE_DIR": str(tmp_path / "state")},
    )
    assert {path.name for path in tmp_path.iterdir()} <= {".cache", ".config"}  # scapy's
