"""What the kernel tells of links, in network namespaces: each thing that becomes of a parent."""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress

import pytest

from d4d.adapters.network.link_news import LinkNews
from d4d.domain.ports.disturbances import Disturbance, LinkChange, LinkChanged, RoutesChanged
from lab.network import inside
from tests.integration.dhcp.test_layer2_link import cable, namespaces, run
from tests.support.event_loops import each_loop
from tests.support.event_loops import run as on_loop

assert each_loop  # each test runs once for each loop

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root")

PATIENCE = 20.0
CAME, WENT, REPLACED = LinkChange.CAME, LinkChange.WENT, LinkChange.REPLACED


class Bench:
    """A host in a namespace, whose links are watched, and what was told of them."""

    def __init__(self, host: str, news: LinkNews) -> None:
        self.host = host
        self.news = news
        self.told: list[Disturbance] = []

    def ip(self, *commands: str) -> None:
        """Run these in one go: the kernel takes them one right behind the other."""
        for command in commands:
            run("ip", "-n", self.host, *command.split())

    async def until(self, condition: Callable[[], bool], what: str) -> None:
        """Raises AssertionError if it does not come."""
        deadline = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < deadline, f"not told: {what}; told: {self.told}"
            await asyncio.sleep(0.01)

    def of(self, name: str) -> list[LinkChanged]:
        """What was told of the link, in order."""
        return [each for each in self.told if isinstance(each, LinkChanged) and each.name == name]

    async def changes(self, name: str, *wanted: LinkChange) -> None:
        """Wait until all of these were told of the link."""

        def told() -> bool:
            return {*wanted} <= {change for each in self.of(name) for change in each.changes}

        await self.until(told, f"{name}: {wanted}")


@pytest.fixture
def host() -> Iterator[str]:
    """A host with eth0, an address on it, and eth1."""
    with namespaces("host", "far") as (name, far):
        cable(name, "eth0", far, "eth0")
        cable(name, "eth1", far, "eth1")
        run("ip", "-n", name, "addr", "add", "10.77.0.9/16", "dev", "eth0")
        yield name


def on(host: str, life: Callable[[Bench], Awaitable[None]]) -> None:
    """Watch in the namespace, until ``life`` is over."""

    async def run_it() -> None:
        bench = Bench(host, LinkNews())
        task = asyncio.create_task(bench.news.watch(bench.told.append))
        try:
            await ready(bench)
            await life(bench)
            assert not task.done()
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    with inside(host):
        on_loop(run_it())


async def ready(bench: Bench) -> None:
    """The watch knows what is there, and tells of what changes: a link flaps until it does."""
    deadline = time.monotonic() + PATIENCE
    bench.ip("link add first type veth peer name last", "link set last up")
    while not bench.of("first"):
        assert time.monotonic() < deadline, "nothing is told"
        bench.ip("link set first up", "link set first down")
        await asyncio.sleep(0.3)
    bench.told.clear()


def test_a_parent_that_goes_down_and_up(host: str) -> None:
    async def life(bench: Bench) -> None:
        bench.ip("link set eth0 down")
        await bench.changes("eth0", LinkChange.DOWN)
        bench.ip("link set eth0 up")
        await bench.changes("eth0", LinkChange.UP)

    on(host, life)


def test_a_parent_that_is_renamed(host: str) -> None:
    async def life(bench: Bench) -> None:
        bench.ip("link set eth0 down", "link set eth0 name wan", "link set wan up")
        await bench.changes("wan", CAME, LinkChange.RENAMED)
        assert bench.of("wan")[0].former_name == "eth0"
        await bench.changes("eth0", WENT)

    on(host, life)


def test_a_name_that_another_interface_takes(host: str) -> None:
    async def life(bench: Bench) -> None:
        bench.ip("link set eth0 down", "link set eth1 down")
        bench.ip("link set eth0 name wan", "link set eth1 name eth0", "link set eth0 up")
        await bench.until(
            lambda: bool({REPLACED, CAME} & {c for each in bench.of("eth0") for c in each.changes}),
            "eth0 is another",
        )
        assert bench.of("eth0")[-1].former_name in {"eth1", None}

    on(host, life)


def test_a_parent_that_is_deleted_and_made_anew(host: str) -> None:
    async def life(bench: Bench) -> None:
        bench.ip("link del eth0", "link add eth0 type veth peer name there", "link set eth0 up")
        await bench.until(lambda: bool(bench.of("eth0")), "eth0")
        await bench.until(
            lambda: bool({REPLACED, CAME} & {c for each in bench.of("eth0") for c in each.changes}),
            "eth0 is another",
        )

    on(host, life)


def test_an_address_that_comes_and_goes(host: str) -> None:
    async def life(bench: Bench) -> None:
        bench.ip("addr add 10.88.0.9/24 dev eth1")
        await bench.changes("eth1", LinkChange.ADDRESSES)
        bench.ip("addr del 10.77.0.9/16 dev eth0")
        await bench.changes("eth0", LinkChange.ADDRESSES)

    on(host, life)


def test_an_address_whose_lifetime_is_renewed_is_no_news(host: str) -> None:
    """As a DHCP client of the host does it, hour by hour."""

    async def life(bench: Bench) -> None:
        bench.ip("addr change 10.77.0.9/16 dev eth0 valid_lft 3600 preferred_lft 3600")
        bench.ip("addr add 10.88.0.9/24 dev eth1")
        await bench.changes("eth1", LinkChange.ADDRESSES)
        assert bench.of("eth0") == []

    on(host, life)


def test_a_default_route(host: str) -> None:
    async def life(bench: Bench) -> None:
        bench.ip("route add default via 10.77.0.1")
        await bench.until(lambda: RoutesChanged() in bench.told, "routes")

    on(host, life)


def test_another_mac(host: str) -> None:
    async def life(bench: Bench) -> None:
        bench.ip("link set eth0 address 02:00:00:77:00:99")
        await bench.changes("eth0", LinkChange.MAC)

    on(host, life)


def test_a_bridge_that_changes_its_mac_as_a_port_joins(host: str) -> None:
    async def life(bench: Bench) -> None:
        bench.ip("link add br0 type bridge", "link add port0 type veth peer name there")
        await bench.changes("br0", CAME)
        bench.ip("link set port0 address 02:00:00:00:00:01", "link set port0 master br0")
        await bench.changes("br0", LinkChange.MAC)
        assert WENT not in {change for each in bench.of("port0") for change in each.changes}
        bench.ip("link set port0 nomaster")
        bench.ip("addr add 10.88.0.9/24 dev eth1")
        await bench.changes("eth1", LinkChange.ADDRESSES)
        assert WENT not in {change for each in bench.of("port0") for change in each.changes}

    on(host, life)


def flaps(bench: Bench, times: int) -> None:
    batch = "link set eth1 down\nlink set eth1 up\n" * times
    run("sh", "-c", f"printf '{batch}' | ip -n {bench.host} -batch -".replace("\n", "\\n"))


def test_a_burst_of_a_thousand_messages_is_told_of_in_a_few(host: str) -> None:
    async def life(bench: Bench) -> None:
        flaps(bench, 500)
        await bench.changes("eth1", LinkChange.DOWN, LinkChange.UP)
        bench.ip("link set eth0 address 02:00:00:77:00:99")
        await bench.changes("eth0", LinkChange.MAC)
        assert len(bench.of("eth1")) < 10

    on(host, life)


def test_where_the_kernel_had_more_to_tell_than_the_socket_held_all_is_asked_anew(
    host: str,
) -> None:
    async def life(bench: Bench) -> None:
        # None of this is read meanwhile: subprocesses hold up this loop, and megabytes come in.
        bench.ip("link set eth0 address 02:00:00:77:00:99")
        for _ in range(10):
            flaps(bench, 2000)
        bench.ip("link set eth0 down", "link set eth0 name wan")  # comes behind what is lost
        await bench.changes("wan", CAME)
        await bench.changes("eth0", WENT)
        await bench.until(lambda: RoutesChanged() in bench.told, "routes, of which nobody knows")
        bench.ip("addr add 10.88.0.9/24 dev eth1")  # and it goes on
        await bench.changes("eth1", LinkChange.ADDRESSES)

    on(host, life)


def test_who_watches_again_is_told_what_changed_meanwhile(host: str) -> None:
    async def life() -> None:
        bench = Bench(host, LinkNews())
        task = asyncio.create_task(bench.news.watch(bench.told.append))
        await ready(bench)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        bench.ip("link set eth0 address 02:00:00:77:00:99", "link del eth1")
        task = asyncio.create_task(bench.news.watch(bench.told.append))
        await bench.changes("eth0", LinkChange.MAC)
        await bench.changes("eth1", WENT)
        await bench.until(lambda: RoutesChanged() in bench.told, "routes, of which nobody knows")
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

    with inside(host):
        on_loop(life())
