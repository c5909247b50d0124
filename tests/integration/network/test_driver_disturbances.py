"""A driver that serves hears what becomes of its parents, and goes by what it knew of them."""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Iterator
from ipaddress import ip_network
from pathlib import Path

import pytest
import structlog
from dependency_injector import providers

from d4d.adapters.dhcp.link.layer2 import Layer2Link
from d4d.adapters.dhcp.routes import Route
from d4d.bootstrap import Driver, DriverParts, compose, open_driver
from d4d.domain.pools import PoolOptions, PoolRequest
from d4d.domain.ports.disturbances import Disturbance, EngineRestarted, LinkChange, LinkChanged
from d4d.settings.loading import load_settings
from lab.network import inside
from tests.integration.dhcp.test_layer2_link import address, cable, namespaces, run, take_name
from tests.support.event_loops import each_loop
from tests.support.event_loops import run as on_loop

assert each_loop  # each test runs once for each loop

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root")

PATIENCE = 20.0
MAC, OTHER_MAC = "02:00:00:77:00:01", "02:00:00:77:00:99"


@pytest.fixture
def host() -> Iterator[str]:
    with namespaces("host", "far") as (name, far):
        cable(name, "eth0", far, "eth0")
        run("ip", "-n", name, "link", "set", "eth0", "address", MAC)
        address(name, "eth0", "10.77.0.9/16")
        yield name


def parts_in(state: Path) -> DriverParts:
    """A driver's that asks neither Docker nor a server."""
    return compose(
        load_settings(files=(), state_dir=state, host="host-a", reconcile="0s", allocator="range")
    )


async def until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, what
        await asyncio.sleep(0.01)


def serving(host: str, state: Path, life: Callable[[Driver, DriverParts], Awaitable[None]]) -> None:
    """Run ``life`` while a driver serves in the namespace."""

    async def run_it() -> None:
        parts = parts_in(state)
        async with asyncio.timeout(PATIENCE), open_driver(parts) as driver:
            await life(driver, parts)

    with inside(host):
        on_loop(run_it())


async def make_network(driver: Driver) -> None:
    options = PoolOptions.parse({"parent": "eth0"})
    await driver.ipam.request_pool(
        PoolRequest(subnet=ip_network("10.77.0.0/16"), range=None, options=options)
    )


def test_it_tells_of_a_parent_and_counts(host: str, tmp_path: Path) -> None:
    async def life(driver: Driver, parts: DriverParts) -> None:
        heard: list[Disturbance] = []
        driver.disturbances.add(heard.append)
        await make_network(driver)
        macs = [OTHER_MAC, MAC]
        while not heard:  # until it knows all links, nothing is a change
            macs.reverse()
            run("ip", "-n", host, "link", "set", "eth0", "address", macs[0])
            await asyncio.sleep(0.3)
        told = heard[0]
        assert isinstance(told, LinkChanged)
        assert told.name == "eth0"
        assert told.changes == {LinkChange.MAC}
        driver.disturbances.engine_restarted()
        assert EngineRestarted() in heard
        text = parts.metrics().text()
        assert b'd4d_disturbances_total{kind="link"} 0.0' not in text
        assert b'd4d_disturbances_total{kind="engine"} 1.0' in text

    with structlog.testing.capture_logs() as logged:
        serving(host, tmp_path, life)
    (line,) = [line for line in logged if line["event"] == "parent_changed"]
    assert (line["link"], line["changes"]) == ("eth0", "mac")


class FakeDhcp:
    """An allocator whose leases run out, as far as disturbances go."""

    def __init__(self) -> None:
        self.heard: list[Disturbance] = []

    def disturbed(self, disturbance: Disturbance) -> None:
        self.heard.append(disturbance)

    def silences(self) -> dict[str, str]:
        return {}

    def has_heard_of_addresses(self) -> bool:
        return any(
            isinstance(each, LinkChanged)
            and each.name == "eth0"
            and LinkChange.ADDRESSES in each.changes
            for each in self.heard
        )


def test_its_allocators_hear_of_an_address_that_comes_late(host: str, tmp_path: Path) -> None:
    async def run_it() -> None:
        parts, dhcp = parts_in(tmp_path), FakeDhcp()
        parts.dhcp_allocator.override(providers.Object(dhcp))
        async with asyncio.timeout(PATIENCE), open_driver(parts):
            late = 1
            while not dhcp.has_heard_of_addresses():
                address(host, "eth0", f"10.88.0.{late}/32")
                late += 1
                await asyncio.sleep(0.3)

    with inside(host):
        on_loop(run_it())


def test_a_socket_goes_over_with_its_name_before_anything_is_sent(
    host: str, tmp_path: Path
) -> None:
    run("ip", "-n", host, "link", "add", "spare", "type", "veth", "peer", "name", "other")

    async def life(driver: Driver, parts: DriverParts) -> None:
        link = parts.link()(Route(parent="eth0"), lambda _: True, lambda _: True)
        assert isinstance(link, Layer2Link)
        link.open()
        driver.disturbances.add(lambda _: states.append(repr(link)))
        take_name(host, "eth0", "spare")
        try:
            await until(lambda: "closed" in "".join(states), "its socket is the former one's")
        finally:
            link.close()

    states: list[str] = []
    serving(host, tmp_path, life)


def test_a_start_keeps_what_client_ids_of_a_known_parent_go_by(host: str, tmp_path: Path) -> None:
    async def made(driver: Driver, parts: DriverParts) -> None:
        await make_network(driver)

    async def upgraded(driver: Driver, parts: DriverParts) -> None:
        """Nobody has asked for an address yet."""
        await until(anchor.exists, "the anchor is not kept")

    anchor = tmp_path / "anchor-eth0"
    serving(host, tmp_path, made)
    anchor.unlink(missing_ok=True)
    serving(host, tmp_path, upgraded)
    assert anchor.read_text().split()[0] == MAC.replace(":", "")
