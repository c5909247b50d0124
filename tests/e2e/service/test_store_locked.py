"""Another process holds leases.db while the DHCP server is slow: a call has one deadline."""

import os
import sqlite3
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import timedelta

import pytest

from lab.dhcp_servers import Dhcpd, Site
from lab.engineless_host import PluginHost
from lab.lab import Lab
from lab.loops import LOOPS, run_on
from lab.packet_gate import Gate
from lab.plugin_calls import call
from lab.processes import eventually

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root")

COUNT = 40
DEADLINE = 6.0
"""Seconds, of D4D_DHCP_DEADLINE."""
PATIENCE = timedelta(seconds=60)


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    host: PluginHost
    dhcpd: Dhcpd
    gate: Gate

    @contextmanager
    def locked(self) -> Iterator[None]:
        path = self.host.driver.state_dir / "leases.db"
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN EXCLUSIVE")
            yield


@pytest.fixture(params=LOOPS)
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    with Lab() as lab:
        near, far = lab.switch("near"), lab.switch("far")
        gate = lab.gate(near, far)
        dhcpd = lab.server(Dhcpd, lab.machine("server", far, "10.77.0.1/16"), Site())
        dhcpd.start()
        settings = {"D4D_DHCP_DEADLINE": f"{DEADLINE:g}s", "D4D_RECONCILE": "0s"}
        host = PluginHost(lab.machine("host", near, "10.77.0.2/16"), settings)
        run_on(request.param, host)
        try:
            host.start()
            yield World(host=host, dhcpd=dhcpd, gate=gate)
        finally:
            host.driver.kill()


def test_calls_are_answered_within_one_deadline_and_nothing_is_leaked(world: World) -> None:
    host = world.host
    pool = host.create("10.77.0.0/16", parent="eth0")
    kept = host.run(pool, "kept")

    def ask(name: str) -> tuple[int, str, float]:
        began = time.monotonic()
        reply = host.ask(pool, name)
        return reply.status, str(reply.content), time.monotonic() - began

    def release(address: str) -> tuple[int, float]:
        began = time.monotonic()
        body = {"PoolID": pool, "Address": address}
        reply = call(host.driver.socket, "IpamDriver.ReleaseAddress", body)
        return reply.status, time.monotonic() - began

    with ThreadPoolExecutor(2 * COUNT) as threads:
        gone = [*threads.map(lambda n: host.run(pool, f"a{n}"), range(COUNT))]
        with world.locked():
            world.gate.hold("ack")
            asked = [threads.submit(ask, f"b{n}") for n in range(COUNT)]
            freed = [threads.submit(release, address) for address in gone]
            time.sleep(DEADLINE - 1.5)
            world.gate.open()
            requests = [each.result() for each in asked]
            releases = [each.result() for each in freed]
    print("longest request", max(seconds for _, _, seconds in requests))
    print("longest release", max(seconds for _, seconds in releases))
    assert {status for status, _, _ in requests} == {503}
    assert {status for status, _ in releases} == {200}
    assert all("lease store" in text for _, text, _ in requests), requests
    eventually(
        lambda: {str(address) for address in world.dhcpd.leased()} == {kept},
        what=lambda: f"the server has {len(world.dhcpd.leased())} leases",
        timeout=PATIENCE,
    )
    assert host.run(pool, "c0") != kept
    assert host.driver.exceptions() == []
