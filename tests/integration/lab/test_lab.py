"""The lab tested without D4D: what a test of D4D sees in it is not the lab's own mistake."""

import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import pytest

from lab.dhcp_servers import SERVERS, Dhcpd, Kea, Server, Site, Udhcpd
from lab.docker_engine import FOR_EVER, IMAGE, cgroups
from lab.lab import Lab, leftovers, sweep
from lab.network import NAMESPACES
from lab.processes import LabError, eventually
from lab.server_lease_files import Binding

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root")

GATEWAY = IPv4Address("10.77.0.254")


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab() as lab:
        yield lab


def binding_of(server: Server, address: IPv4Address) -> Binding | None:
    return next((entry for entry in server.bindings() if entry.address == address), None)


def is_active(server: Server, address: IPv4Address) -> bool:
    entry = binding_of(server, address)
    return entry is not None and entry.active


def is_inactive(server: Server, address: IPv4Address) -> bool:
    return not is_active(server, address)


@pytest.mark.parametrize("kind", SERVERS)
def test_a_servers_own_database_shows_a_lease_and_its_release(lab: Lab, kind: type[Server]) -> None:
    switch = lab.switch()
    site = Site(lease_time=timedelta(seconds=120), renewal_time=timedelta(seconds=60))
    server = lab.server(kind, lab.machine("server", switch, "10.77.0.1/16"), site)
    server.start()
    assert server.bindings() == []
    mac = "02:42:0a:4d:00:63"
    client = lab.client(lab.machine("client", switch, mac=mac), hostname="guest")

    before = datetime.now(UTC)
    address = client.acquire()

    assert site.first <= address <= site.last
    binding = eventually(lambda: binding_of(server, address), what="the server shows no binding")
    assert (binding.mac, binding.hostname, binding.active) == (mac, "guest", True)
    assert abs(binding.expires_at - before - site.lease_time) < timedelta(seconds=5)
    if kind is not Udhcpd:
        assert binding.client_id == b"\x01" + bytes.fromhex(mac.replace(":", ""))

    server.restart()
    assert is_active(server, address)
    client.release()
    eventually(lambda: not is_active(server, address), what="the server ignored the RELEASE")
    server.restart(keep_database=False)
    assert server.bindings() == []


def test_a_lease_that_ran_out_is_not_active(lab: Lab) -> None:
    leases = []
    for kind in (Dhcpd, Kea, Udhcpd):  # dnsmasq has no lease below 120 s
        switch = lab.switch(f"{kind.name}-switch")
        server = lab.server(
            kind,
            lab.machine(f"{kind.name}-server", switch, "10.77.0.1/16"),
            Site(lease_time=timedelta(seconds=5)),
        )
        server.start()
        client = lab.client(lab.machine(f"{kind.name}-client", switch), hostname="guest")
        leases.append((server, client.acquire()))
        client.close()
        assert is_active(*leases[-1])

    for server, address in leases:
        ran_out = partial(is_inactive, server, address)
        eventually(ran_out, what=f"the lease of {server.name} never ran out")


RELAYED_DISCOVER = """
import socket, sys
relay, server = map(socket.inet_aton, sys.argv[1:])
head = bytes([1, 1, 6, 1]) + b"lab!" + bytes(16) + relay + bytes.fromhex("02420a4d0063")
discover = (head.ljust(236, b"\\0") + bytes.fromhex("63825363 350101 ff")).ljust(300, b"\\0")
with socket.socket(type=socket.SOCK_DGRAM) as client:
    client.settimeout(10)
    client.bind((sys.argv[1], 67))
    client.sendto(discover, (sys.argv[2], 67))
    print(socket.inet_ntoa(client.recv(1500)[16:20]))
"""


def test_servers_behind_a_router_make_offers_to_a_relay(lab: Lab) -> None:
    near, far = lab.switch("near"), lab.switch("far")
    lab.router(near, f"{GATEWAY}/16", far, "10.78.0.254/24")
    host = lab.machine("host", near, "10.77.0.2/16")
    host.route("10.78.0.0/24", via=GATEWAY)
    site = Site()
    for number, kind in enumerate(SERVERS, start=1):
        namespace = lab.machine(kind.name, far, f"10.78.0.{number}/24")
        namespace.route("default", via=IPv4Address("10.78.0.254"))
        lab.server(kind, namespace, site).start()

        words = (sys.executable, "-c", RELAYED_DISCOVER, "10.77.0.2", f"10.78.0.{number}")
        offered = IPv4Address(host.run(words).strip())

        assert site.first <= offered <= site.last, kind.name


def test_containers_of_two_engines_reach_each_other_and_the_gateway(lab: Lab) -> None:
    switch = lab.switch()
    lab.machine("gateway", switch, f"{GATEWAY}/16")
    engines = [
        lab.engine(lab.machine(f"host{number}", switch, f"10.77.0.{number}/16"))
        for number in (2, 3)
    ]
    subnet = ("-d", "macvlan", "--subnet=10.77.0.0/16", f"--gateway={GATEWAY}", "-o", "parent=eth0")

    attached = []
    for number, engine in enumerate(engines, start=16):
        engine.start()
        engine.network_create("lan", *subnet, f"--ip-range=10.77.{number}.0/24")
        attached.append(engine.run("one"))

    assert [str(end.address) for end in attached] == ["10.77.16.0", "10.77.17.0"]
    assert attached[0].mac != attached[1].mac
    engines[0].ping("one", attached[1].address)
    engines[1].ping("one", GATEWAY)
    engines[0].stop_container("one")
    with pytest.raises(LabError, match="exit code 1"):
        engines[1].ping("one", attached[0].address)
    assert engines[0].start_container("one").address in IPv4Network("10.77.16.0/24")
    engines[0].rm("one")
    engines[0].network_rm("lan")


def test_a_live_restoring_engine_finds_its_container_after_a_crash(lab: Lab) -> None:
    engine = lab.engine(lab.machine("host", lab.switch(), "10.77.0.2/16"), "--live-restore")
    engine.start()
    engine.network_create("lan", "-d", "macvlan", "--subnet=10.77.0.0/16", "-o", "parent=eth0")
    before = engine.run("one")
    started = engine.docker("inspect", "-f", "{{.State.StartedAt}}", "one")

    engine.kill()
    engine.start()

    assert engine.inspect("one") == before
    assert engine.docker("inspect", "-f", "{{.State.StartedAt}}", "one") == started
    assert "eth0" in engine.exec("one", "ip", "addr")


def test_a_program_that_fails_is_shown_with_its_last_words(lab: Lab) -> None:
    machine = lab.machine("server", lab.switch(), "10.77.0.1/16")
    server = lab.server(Dhcpd, machine, Site())
    server.config.write_text("nonsense\n")

    with pytest.raises(
        LabError, match=r"(?s)dhcpd in server ended before it was ready.*semicolon expected"
    ):
        server.start()


def test_nothing_is_left_of_a_lab(lab: Lab) -> None:
    assert remains(lab.name) == [Path("/tmp") / lab.directory.name]
    with pytest.raises(ZeroDivisionError), lab:
        engine = lab.engine(lab.machine("host", lab.switch(), "10.77.0.2/16"))
        engine.start()
        engine.docker("run", "--detach", "--network=none", IMAGE, *FOR_EVER)
        raise ZeroDivisionError

    assert remains(lab.name) == []


def test_what_a_killed_process_left_can_be_swept() -> None:
    build = (
        "import os, signal; from lab.lab import Lab; lab = Lab()\n"
        "engine = lab.engine(lab.machine('host', lab.switch(), '10.77.0.2/16')); engine.start()\n"
        "engine.docker('run', '-d', '--network=none', 'lab:busybox', 'sleep', '1000')\n"
        "print(lab.name, flush=True); os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    killed = subprocess.run(
        [sys.executable, "-c", build], capture_output=True, text=True, check=False
    )
    name = killed.stdout.strip()
    assert name and remains(name), killed.stderr

    assert any(left.startswith(name) for left in leftovers())
    sweep()
    assert remains(name) == []


def remains(name: str) -> list[Path]:
    """What exists on the real machine under names that begin with ``name``."""
    places = [*NAMESPACES.glob(f"{name}-*"), *Path("/tmp").glob(f"{name}-*")]
    return [*places, *cgroups(f"{name}-*"), *processes_in(name)]


def processes_in(name: str) -> list[Path]:
    """Processes that were started with a path of the lab, or in its cgroups."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            texts = (process / "cmdline").read_text() + (process / "cgroup").read_text()
        except (FileNotFoundError, ProcessLookupError):  # it has ended meanwhile
            continue
        if f"{name}-" in texts:
            found.append(process)
    return found
