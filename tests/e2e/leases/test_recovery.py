"""What D4D finds again, and gives back, after it, its store, dockerd or a container has gone."""

import os
import shutil
import socketserver
import sqlite3
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import timedelta
from http.server import BaseHTTPRequestHandler
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from lab.dhcp_servers import Dhcpd, Dnsmasq, Kea, Server, Site
from lab.lab import Lab
from lab.processes import LabError, eventually
from tests.support.scenarios import LONG, NewEngine, SideBySide, Wire, World, events, running_end

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root")

side_by_side = SideBySide()

SITE = Site(lease_time=LONG)
OFTEN = {"D4D_RECONCILE": "1s"}
FIRST_MAC, SECOND_MAC, OTHER_MAC = (f"0e:a2:bc:e5:f4:0{number}" for number in (1, 2, 3))


def pull_the_plug(world: World) -> None:
    """What a power cut does: dockerd and D4D end at the same moment."""
    world.engine.kill()
    world.driver.kill()


@side_by_side(Dhcpd)
def test_a_dockerd_that_lives_on_or_crashes_with_its_containers_costs_no_more_than_a_question(
    lab: Lab, kind: type[Server]
) -> None:
    world = World(lab, kind, site=SITE, engine_flags=("--live-restore",), settings=OFTEN)
    world.create_network()
    end = world.engine.run("web")
    eventually(lambda: world.await_lease(end).hostname == "web", what="the name is not known")
    wire = Wire(world.machine)
    try:
        world.engine.stop()
        world.engine.start()
        world.check_kept(end, names=["web"])
        assert wire.messages() == []
        pull_the_plug(world)
        world.driver.start()
        world.engine.start()
        world.check_kept(end, names=["web"])
        time.sleep(3)  # it reconciles meanwhile

        assert wire.messages() == ["Request", "ACK"], "each lease is confirmed at a start"
        world.await_lease(end)
        assert events(world.driver, "released") == []

        world.engine.rm("web")
        world.await_release(end.address)
        wire.await_messages("Request", "ACK", "Release")
    finally:
        wire.close()


@side_by_side(Dhcpd, Kea)
def test_without_live_restore_stale_endpoints_are_released_and_containers_come_back(
    lab: Lab, kind: type[Server]
) -> None:
    world = World(lab, kind, site=SITE)
    world.create_network()
    world.engine.run("always", "--restart=always")
    once = world.engine.run("once")
    world.await_lease(once)

    for stop in (world.engine.kill, world.engine.stop):
        stop()
        world.engine.start()
        always = eventually(lambda: running_end(world, "always"), what="always did not come back")
        eventually(
            lambda end=always: world.server.leased().keys() == {end.address},  # type: ignore[misc]  # mypy types no lambda's default
            what=lambda: f"leases: {world.server.leased()}\n{world.driver.log()}",
        )
        world.await_lease(always)
    assert events(world.driver, "lost") == []
    assert world.driver.exceptions() == []


@side_by_side(Dhcpd, Kea)
def test_a_release_that_docker_could_not_deliver_is_made_up_for(
    lab: Lab, kind: type[Server]
) -> None:
    world = World(lab, kind, site=SITE, settings=OFTEN)
    world.create_network()
    gone, stays = world.engine.run("gone"), world.engine.run("stays")
    world.await_lease(gone)
    world.driver.kill()
    world.engine.rm("gone")
    assert world.has(gone)

    world.driver.start()

    world.await_release(gone.address)
    assert "gone" in world.await_event("released", gone.address)["detail"]
    assert world.await_event("container_missing", gone.address)
    time.sleep(2)
    assert world.has(stays)
    world.check_kept(stays, names=["stays"])


@side_by_side(Dhcpd)
def test_a_restart_of_the_driver_between_two_calls_is_nothing_to_docker(
    lab: Lab, kind: type[Server]
) -> None:
    """dockerd keeps its connections: one that broke under a call would lose the call's body."""
    world = World(lab, kind, site=SITE, settings=OFTEN)
    world.create_network()
    ends = [world.engine.run("first")]
    for name, end_driver in [("second", world.driver.stop), ("third", world.driver.kill)]:
        assert connections(world) > 0
        end_driver()
        world.driver.start()
        ends.append(world.engine.run(name))
    assert all(world.has(end) for end in ends)
    assert events(world.driver, "call_refused") == []


@side_by_side(Dhcpd, Kea)
def test_a_driver_killed_before_the_ack_leaves_nothing_leased(lab: Lab, kind: type[Server]) -> None:
    """A lease is stored while its DHCPREQUEST is on the way: here the server has heard of it."""
    check_killed_before_the_ack(lab, kind, lose=False)


@side_by_side(Dhcpd, Kea)
def test_a_driver_killed_before_the_ack_of_a_request_that_got_lost_leaves_nothing_stored(
    lab: Lab, kind: type[Server]
) -> None:
    check_killed_before_the_ack(lab, kind, lose=True)


def check_killed_before_the_ack(lab: Lab, kind: type[Server], *, lose: bool) -> None:
    world = World(lab, kind, site=SITE, settings=OFTEN, gated=True)
    gate = world.gate
    assert gate is not None
    world.create_network()
    gate.hold("request")
    with ThreadPoolExecutor(1) as executor:
        running = executor.submit(world.engine.run, "web")
        eventually(lambda: gate.held, what=lambda: f"no DHCPREQUEST:\n{world.driver.log()}")
        (address,) = eventually(lambda: stored(world), what="the lease is not stored")
        world.driver.kill()
        assert world.server.leased() == {}
        gate.open(lose=lose)
        if not lose:
            eventually(lambda: address in world.server.leased(), what="the server gave no lease")
        wire = Wire(world.machine)
        world.driver.start()
        with pytest.raises(LabError):  # the call's connection broke, and with it its body
            running.result()
    try:
        eventually(
            lambda: not stored(world) and not world.server.leased(),
            what=lambda: f"{stored(world)} {world.server.leased()}\n{world.driver.log()}",
            timeout=timedelta(seconds=15),
        )
        eventually(lambda: wire.messages()[-1:] == ["Release"], what="no RELEASE passed")
        assert wire.messages()[0] == "Request"  # it asks first whether it has it
    finally:
        wire.close()
    end = world.engine.run("next")
    world.await_lease(end)
    lost = events(world.driver, "lost")  # Kea refuses what it only offered, dhcpd gives it
    assert len(world.driver.exceptions()) == len(lost) <= (lose and kind is Kea)


def stored(world: World) -> list[IPv4Address]:
    """The addresses that the driver's store says are held."""
    with closing(sqlite3.connect(world.driver.state_dir / "leases.db")) as database:
        rows = database.execute("SELECT address FROM leases WHERE state <> 'freed'").fetchall()
    return [IPv4Address(address) for (address,) in rows]


def connections(world: World) -> int:
    """How many are open at the plugin's socket."""
    lines = Path(f"/proc/{world.driver.daemon.pid}/net/unix").read_text().splitlines()
    plugins, connected = f" {world.driver.socket.parent}/", "03"
    return len([line for line in lines if plugins in line and line.split()[5] == connected])


def check_adopted(world: World) -> None:
    """Whose store is lost goes on with what Docker has. The server's range holds the gateway."""
    world.create_network()
    first = world.engine.run("first")
    world.await_lease(first)

    world.driver.kill()
    shutil.rmtree(world.driver.state_dir)
    world.driver.start()

    # A busy machine has twenty such hosts to start: each imports, and asks the server and Docker.
    world.await_event("adopted", first.address)
    time.sleep(3)  # two reconciliations more: none takes it for gone
    assert world.has(first)
    second = world.engine.run("second")
    assert second.address not in (first.address, world.site.router)
    world.await_lease(second)
    world.check_kept(first, names=["first"])
    assert events(world.driver, "released") == []

    world.engine.stop_container("first", "second")
    world.await_release(first.address)
    world.await_release(second.address)
    world.engine.rm("first", "second")
    world.engine.network_rm("lan")
    assert events(world.driver, "lost") == []
    assert world.driver.exceptions() == []


# The gateway's, two for containers, and one that dhcpd sets aside for what it offered at
# network create, when it was asked which router it names.
FOUR_ADDRESSES = replace(
    SITE,
    first=IPv4Address("10.77.16.1"),
    router=IPv4Address("10.77.16.2"),
    last=IPv4Address("10.77.16.4"),
)


@side_by_side(Dhcpd, Kea)
def test_running_containers_are_adopted_when_the_store_is_lost(
    lab: Lab, kind: type[Server]
) -> None:
    check_adopted(World(lab, kind, site=FOUR_ADDRESSES, settings=OFTEN))


@side_by_side(Kea)
def test_running_containers_are_adopted_by_a_store_that_only_remembers(
    lab: Lab, kind: type[Server]
) -> None:
    settings = {**OFTEN, "D4D_STORE": "memory"}
    check_adopted(World(lab, kind, site=FOUR_ADDRESSES, settings=settings))


@side_by_side(Dhcpd)
def test_without_dockers_api_all_works_and_it_is_said_once(lab: Lab, kind: type[Server]) -> None:
    settings = {**OFTEN, "D4D_DOCKER_SOCKET": "/nonexistent/docker.sock"}
    world = World(lab, kind, site=SITE, settings=settings)
    world.create_network()

    end = world.engine.run("web")

    time.sleep(4)
    world.await_lease(end)
    (said,) = events(world.driver, "docker_unavailable")
    assert "/nonexistent/docker.sock" in said["error"]
    world.engine.rm("web")
    world.await_release(end.address)


class _Failing(BaseHTTPRequestHandler):
    """Docker's API, in a bad state."""

    asked = 0

    def do_GET(self) -> None:
        type(self).asked += 1
        self.send_response(500)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name for it
        """Keep quiet; and a unix socket's client has no address to log."""


@contextmanager
def failing_docker(path: Path) -> Iterator[type[_Failing]]:
    with socketserver.ThreadingUnixStreamServer(str(path), _Failing) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield _Failing
        server.shutdown()


@side_by_side(Kea)
def test_an_error_of_dockers_api_frees_nothing(lab: Lab, kind: type[Server]) -> None:
    api = lab.directory / "failing.sock"
    settings = {"D4D_RECONCILE": "200ms", "D4D_DOCKER_SOCKET": str(api)}
    with failing_docker(api) as docker:
        world = World(lab, kind, site=SITE, settings=settings, docker=False)
        end = NewEngine(world).run("web", FIRST_MAC)

        eventually(lambda: docker.asked > 10, what="the API was not asked")

        world.await_lease(end)
        assert events(world.driver, "released") == []
        assert events(world.driver, "container_missing") == []


@side_by_side(Dhcpd, Kea, Dnsmasq)
def test_the_server_learns_the_name_that_an_old_engine_does_not_tell(
    lab: Lab, kind: type[Server]
) -> None:
    world = World(lab, kind, site=SITE)
    world.create_network()

    end = world.engine.run("Web_1")

    eventually(
        lambda: world.await_lease(end).hostname == "web-1",
        what=lambda: f"{world.server.bindings()}\n{world.driver.log()}",
    )


@side_by_side(Dhcpd, Kea, Dnsmasq)
def test_a_container_made_anew_under_its_name_gets_its_old_address(
    lab: Lab, kind: type[Server]
) -> None:
    world = World(lab, kind, site=SITE, docker=False)
    engine = NewEngine(world)
    old = engine.run("web", FIRST_MAC)
    assert world.await_lease(old).hostname == "web"
    engine.rm(old)
    world.await_release(old.address)
    other = engine.run("other", OTHER_MAC)
    world.await_lease(other)

    world.driver.kill()  # the address is known to the store
    world.driver.start()
    new = engine.run("web", SECOND_MAC)

    assert new.address == old.address != other.address
    world.await_lease(new)


@side_by_side(Dhcpd, Kea, Dnsmasq)
def test_a_held_address_is_taken_back_without_an_exchange(lab: Lab, kind: type[Server]) -> None:
    world = World(lab, kind, site=SITE, docker=False, settings={"D4D_HOLD": "3s"})
    engine = NewEngine(world)
    end = engine.run("web", FIRST_MAC)
    world.await_lease(end)
    wire = Wire(world.machine)
    try:
        engine.rm(end)
        assert engine.run("web", FIRST_MAC) == end
        time.sleep(4)
        assert wire.messages() == []
        assert world.has(end)

        engine.rm(end)
        again = engine.run("web", SECOND_MAC)  # a new MAC, of which the server is told behind it
        assert again.address == end.address
        world.await_lease(again)
        wire.await_messages("Request", "ACK")

        engine.rm(again)
        other = engine.run("other", OTHER_MAC)
        assert other.address != again.address
        assert world.has(again)
        world.await_release(again.address)
        assert world.has(other)
    finally:
        wire.close()


@side_by_side(Dhcpd)
def test_a_restarted_container_of_fixed_mac_keeps_a_held_address(
    lab: Lab, kind: type[Server]
) -> None:
    world = World(lab, kind, site=SITE, settings={"D4D_HOLD": "10s"})
    world.create_network()
    end = world.run_with_mac("web", FIRST_MAC)
    eventually(lambda: world.await_lease(end).hostname == "web", what="the name is not known")
    wire = Wire(world.machine)
    try:
        world.engine.docker("restart", "web")
        world.check_kept(end, names=["web"])
        time.sleep(1)
        # An old engine does not tell the name: what was learnt of it the first time holds.
        assert wire.messages() == []
        world.await_lease(end)
    finally:
        wire.close()
