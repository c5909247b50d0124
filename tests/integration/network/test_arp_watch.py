"""ARP on real interfaces: neighbours that answer or not, macvlan children, strangers."""

import asyncio
import contextlib
import os
import socket
import subprocess
import time
from collections.abc import Awaitable, Callable, Iterator
from datetime import timedelta
from ipaddress import IPv4Address

import pytest

from d4d.adapters.network.arp_watch import ArpWatch
from d4d.domain.addressing import MacAddress
from d4d.domain.errors import LinkDown
from lab.network import inside
from tests.integration.dhcp.test_layer2_link import address, cable, namespaces, run, take_name
from tests.support.event_loops import each_loop
from tests.support.event_loops import run as on_loop

assert each_loop  # each test runs once for each loop

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root")

OWNED, FREE, LEASED = (IPv4Address(f"10.77.0.{n}") for n in (1, 99, 50))
CONTAINER, STRANGER = MacAddress.parse("02:42:0a:4d:00:32"), MacAddress.parse("02:00:00:00:00:ee")
WAIT = timedelta(milliseconds=200)
SECONDS = WAIT.total_seconds()
LONG = timedelta(seconds=30)
"""A wait that is over before it is, if somebody answers: however busy the machine is."""
EARLY = 0.01
"""Seconds by which uvloop's timers may be early: they count in milliseconds."""
PATIENCE = 15.0


class Bench:
    """A watch, what is leased, and the conflicts that it told."""

    def __init__(self, parent: str = "eth0") -> None:
        self.leased = {LEASED: CONTAINER}
        self.looked_up: list[IPv4Address] = []
        self.told: list[tuple[IPv4Address, MacAddress]] = []
        self.watch = ArpWatch(parent, ours=self.ours, on_conflict=self.tell)

    def ours(self, address_: IPv4Address) -> MacAddress | None:
        self.looked_up.append(address_)
        return self.leased.get(address_)

    def tell(self, address_: IPv4Address, mac: MacAddress) -> None:
        self.told.append((address_, mac))

    async def probe(self, address_: IPv4Address, wait: timedelta = WAIT) -> MacAddress | None:
        return await self.watch.probe(address_, chaddr=CONTAINER, wait=wait)

    async def timed(
        self, address_: IPv4Address, wait: timedelta
    ) -> tuple[MacAddress | None, float]:
        began = time.monotonic()
        answer = await self.watch.probe(address_, chaddr=CONTAINER, wait=wait)
        return answer, time.monotonic() - began


def on(host: str, life: Callable[[Bench], Awaitable[None]]) -> None:
    """Run ``life`` in the namespace."""

    async def run_it() -> None:
        bench = Bench()
        try:
            await life(bench)
        finally:
            bench.watch.close()

    with inside(host):
        on_loop(run_it())


async def heard(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "not heard"
        await asyncio.sleep(0.01)


@pytest.fixture
def segment() -> Iterator[tuple[str, str]]:
    """A Docker host whose parent has no address, and a neighbour that owns one."""
    with namespaces("host", "far") as (host, far):
        cable(host, "eth0", far, "eth0")
        address(far, "eth0", f"{OWNED}/16")
        yield host, far


@contextlib.contextmanager
def child(host: str, *addresses: IPv4Address, mac: MacAddress | None = None) -> Iterator[str]:
    """A container as Docker makes it: a macvlan child of the host's eth0, in bridge mode."""
    with namespaces("child") as (name,):
        made = f"ip -n {host} link add link eth0 name child0 type macvlan mode bridge".split()
        run(*made)
        run(*f"ip -n {host} link set child0 netns {name}".split())
        if mac is not None:
            run(*f"ip -n {name} link set child0 address {mac}".split())
        run(*f"ip -n {name} link set child0 up".split())
        address(name, "child0", *(f"{each}/16" for each in addresses))
        yield name


def mac_of(namespace: str, device: str = "eth0") -> MacAddress:
    command = ("ip", "netns", "exec", namespace, "cat", f"/sys/class/net/{device}/address")
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return MacAddress.parse(text.strip())


def read(tap: socket.socket) -> Iterator[bytes]:
    """The frames that it has heard."""
    with contextlib.suppress(BlockingIOError):
        while True:
            yield tap.recv(2048)


@contextlib.contextmanager
def sender(namespace: str, device: str = "eth0") -> Iterator[Callable[[bytes], int]]:
    with inside(namespace):
        sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        sock.bind((device, 0))
    with sock:
        yield sock.send


def announcement(address_: IPv4Address, mac: bytes, *, operation: int = 1) -> bytes:
    head = b"\xff" * 6 + mac + bytes.fromhex("0806 0001 0800 06 04")
    return head + operation.to_bytes(2, "big") + mac + address_.packed + bytes(6) + address_.packed


def test_a_host_that_owns_the_address_answers_at_once(segment: tuple[str, str]) -> None:
    host, far = segment

    async def life(bench: Bench) -> None:
        mac, took = await bench.timed(OWNED, LONG)
        assert mac == mac_of(far)
        assert took < LONG.total_seconds() / 2, "it did not wait"

    on(host, life)


def test_nobody_answers_for_a_free_address_within_the_wait(segment: tuple[str, str]) -> None:
    async def life(bench: Bench) -> None:
        mac, took = await bench.timed(FREE, WAIT)
        assert mac is None
        assert took >= SECONDS - EARLY

    on(segment[0], life)


def test_it_asks_at_once_and_half_way(segment: tuple[str, str]) -> None:
    host, far = segment
    with inside(far):
        tap = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0806))
    instants: list[float] = []

    async def life(bench: Bench) -> None:
        asyncio.get_running_loop().add_reader(
            tap, lambda: instants.append(time.monotonic() if tap.recv(99)[38:42] else 0)
        )
        assert await bench.probe(FREE) is None
        asyncio.get_running_loop().remove_reader(tap)

    with tap:
        on(host, life)
    first, second = instants
    assert second - first >= SECONDS / 2 - EARLY


def test_the_second_question_is_answered_where_the_first_was_lost(
    segment: tuple[str, str],
) -> None:
    host, far = segment
    run("ip", "-n", far, "addr", "del", f"{OWNED}/16", "dev", "eth0")

    async def life(bench: Bench) -> None:
        wait = timedelta(seconds=4)  # half of it, for a busy machine to give the address
        asking = asyncio.create_task(bench.timed(OWNED, wait))
        await asyncio.sleep(0.02)
        address(far, "eth0", f"{OWNED}/16")
        mac, took = await asking
        assert mac == mac_of(far)
        assert took >= wait.total_seconds() / 2 - EARLY

    on(host, life)


def test_the_containers_own_answer_is_no_conflict(segment: tuple[str, str]) -> None:
    host, far = segment

    async def life(bench: Bench) -> None:
        assert await bench.watch.probe(OWNED, chaddr=mac_of(far), wait=WAIT) is None

    on(host, life)


def test_fifty_probes_at_once_take_as_long_as_one(segment: tuple[str, str]) -> None:
    host, far = segment
    owned = [IPv4Address(f"10.77.3.{n}") for n in range(1, 26)]
    free = [IPv4Address(f"10.77.4.{n}") for n in range(1, 26)]
    address(far, "eth0", *(f"{each}/16" for each in owned))
    with inside(far):
        tap = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0806))
    tap.setblocking(False)

    async def life(bench: Bench) -> None:
        answers = await asyncio.gather(
            *(bench.probe(each, timedelta(seconds=2)) for each in owned + free)
        )
        assert answers == [mac_of(far)] * 25 + [None] * 25

    with tap:
        on(host, life)
        asked = [IPv4Address(frame[38:42]) for frame in read(tap) if frame[20:22] == b"\0\1"]
    first = asked[: asked.index(free[0], asked.index(free[0]) + 1)]
    assert {*free} <= {*first}, "none waits until another has been asked for a second time"


def test_a_probe_wakes_a_watch_that_rests_between_readings(segment: tuple[str, str]) -> None:
    host, far = segment

    async def life(bench: Bench) -> None:
        bench.watch.open_soon()
        with sender(far) as say:
            say(announcement(FREE, STRANGER))
        await heard(lambda: FREE in bench.looked_up)
        mac, took = await bench.timed(OWNED, LONG)
        assert mac == mac_of(far)
        assert took < LONG.total_seconds() / 2

    on(host, life)


def test_a_busy_wire_hides_no_conflict(segment: tuple[str, str]) -> None:
    host, far = segment

    async def life(bench: Bench) -> None:
        bench.watch.open_soon()
        with sender(far) as say:
            for _ in range(1000):
                say(announcement(FREE, STRANGER))
            say(announcement(LEASED, STRANGER))
        await heard(lambda: bool(bench.told))
        assert bench.looked_up == [FREE] * 1000 + [LEASED]

    on(host, life)


def test_two_probes_of_one_address_both_hear_the_answer(segment: tuple[str, str]) -> None:
    host, far = segment

    async def life(bench: Bench) -> None:
        one, two = await asyncio.gather(bench.probe(OWNED, LONG), bench.probe(OWNED, LONG))
        assert one == two == mac_of(far)

    on(host, life)


def test_two_hosts_that_probe_for_one_address_both_give_way(segment: tuple[str, str]) -> None:
    host, far = segment

    async def life(bench: Bench) -> None:
        with inside(far):
            other = Bench()
            other.watch.open_soon()
        try:
            here, there = await asyncio.gather(bench.probe(FREE, LONG), other.probe(FREE, LONG))
        finally:
            other.watch.close()
        assert here == mac_of(far)
        assert there == mac_of(host)

    on(host, life)


def test_the_hosts_own_address_is_anothers_than_the_containers(segment: tuple[str, str]) -> None:
    host, _ = segment
    address(host, "eth0", "10.77.0.2/16")

    async def life(bench: Bench) -> None:
        mac, took = await bench.timed(IPv4Address("10.77.0.2"), LONG)
        assert mac == mac_of(host)
        assert took < LONG.total_seconds() / 2

    on(host, life)


def test_a_macvlan_child_does_not_hear_its_parents_probe(segment: tuple[str, str]) -> None:
    """Why the watch hears what the parent sends: the kernel hides parent and child."""

    async def life(bench: Bench) -> None:
        assert await bench.probe(FREE) is None

    with child(segment[0], FREE):
        on(segment[0], life)


def test_a_macvlan_child_that_took_a_leased_address_is_told_when_it_asks(
    segment: tuple[str, str],
) -> None:
    host, _ = segment

    async def life(bench: Bench) -> None:
        bench.watch.open_soon()
        with child(host, LEASED) as name:
            run("ip", "netns", "exec", name, "busybox", "ping", "-c1", "-W2", str(OWNED))
            await heard(lambda: bool(bench.told))
            assert bench.told == [(LEASED, mac_of(name, "child0"))]

    on(host, life)


def test_the_leased_container_itself_is_not_told(segment: tuple[str, str]) -> None:
    """Its engine announced it, and it pings: then a stranger shows that all was heard."""
    host, far = segment

    async def life(bench: Bench) -> None:
        bench.watch.open_soon()
        with child(host, LEASED, mac=CONTAINER) as name, sender(name, "child0") as send:
            send(announcement(LEASED, CONTAINER))
            run("ip", "netns", "exec", name, "busybox", "ping", "-c1", "-W2", str(OWNED))
            with sender(far) as say:
                say(announcement(LEASED, STRANGER))
            await heard(lambda: bool(bench.told))
            assert bench.looked_up.count(LEASED) >= 3
            assert bench.told == [(LEASED, STRANGER)]

    on(host, life)


@pytest.mark.parametrize("operation", [1, 2])
def test_a_strangers_announcement_is_told_once(segment: tuple[str, str], operation: int) -> None:
    host, far = segment

    async def life(bench: Bench) -> None:
        bench.watch.open_soon()
        with sender(far) as say:
            for _ in range(20):
                say(announcement(LEASED, STRANGER, operation=operation))
            say(announcement(FREE, STRANGER, operation=operation))
        await heard(lambda: FREE in bench.looked_up)
        assert bench.told == [(LEASED, STRANGER)]

    on(host, life)


def test_only_the_containers_present_mac_is_its_own(segment: tuple[str, str]) -> None:
    host, far = segment
    revived = MacAddress.parse("02:42:0a:4d:00:33")

    async def life(bench: Bench) -> None:
        bench.watch.open_soon()
        bench.leased[LEASED] = revived
        with sender(far) as say:
            say(announcement(LEASED, revived))
            say(announcement(LEASED, CONTAINER))
        await heard(lambda: bool(bench.told))
        assert bench.told == [(LEASED, CONTAINER)]

    on(host, life)


def test_the_host_may_answer_for_its_container_but_not_have_its_address(
    segment: tuple[str, str],
) -> None:
    host, _ = segment

    async def life(bench: Bench) -> None:
        bench.watch.open_soon()
        with sender(host) as say:
            say(announcement(LEASED, mac_of(host)))
            await heard(lambda: LEASED in bench.looked_up)
            assert bench.told == []
            address(host, "eth0", f"{LEASED}/16")
            say(announcement(LEASED, mac_of(host)))
            await heard(lambda: bool(bench.told))
        assert bench.told == [(LEASED, mac_of(host))]

    on(host, life)


def test_what_is_no_arp_for_ipv4_never_reaches_us(segment: tuple[str, str]) -> None:
    host, far = segment
    good = announcement(FREE, STRANGER)
    tagged = good[:12] + bytes.fromhex("8100 0007") + good[12:]
    bad = [good[:41], good[:18] + b"\x08" + good[19:], good[:14] + b"\0\6" + good[16:], tagged]

    async def life(bench: Bench) -> None:
        bench.watch.open_soon()
        with sender(far) as say:
            for frame in (*bad, good):
                say(frame)
        await heard(lambda: bool(bench.looked_up))
        assert bench.looked_up == [FREE]

    on(host, life)


def test_a_watch_survives_its_interface_going_down_and_up(segment: tuple[str, str]) -> None:
    host, far = segment

    async def life(bench: Bench) -> None:
        bench.watch.open_soon()
        run("ip", "-n", host, "link", "set", "eth0", "down")
        with pytest.raises(LinkDown, match=r"eth0: can't ask by ARP .*ip link set eth0 up"):
            await bench.probe(OWNED)
        await asyncio.sleep(0.02)
        run("ip", "-n", host, "link", "set", "eth0", "up")
        with sender(far) as say:
            say(announcement(LEASED, STRANGER))
        await heard(lambda: bool(bench.told))
        assert await bench.probe(OWNED, LONG) == mac_of(far)

    on(host, life)


@pytest.mark.parametrize("down_first", [False, True])
def test_a_watch_goes_on_by_itself_when_its_interface_was_deleted_and_made_again(
    segment: tuple[str, str], down_first: bool
) -> None:
    host, far = segment

    async def life(bench: Bench) -> None:
        bench.watch.open_soon()
        if down_first:
            run("ip", "-n", host, "link", "set", "eth0", "down")
            await asyncio.sleep(0.02)
        run("ip", "-n", host, "link", "del", "eth0")
        await asyncio.sleep(0.02)
        cable(host, "eth0", far, "eth0")
        with sender(far) as say:
            while not bench.told:
                say(announcement(LEASED, STRANGER))
                await asyncio.sleep(0.1)
        assert bench.told == [(LEASED, STRANGER)]

    on(host, lambda bench: asyncio.wait_for(life(bench), PATIENCE))


@pytest.mark.parametrize("is_told", [True, False])
def test_a_watch_follows_its_name_to_another_interface(
    segment: tuple[str, str], is_told: bool
) -> None:
    """At once where it is told of it, else within a second."""
    host, far = segment
    cable(host, "spare", far, "eth1")

    async def life(bench: Bench) -> None:
        bench.watch.open_soon()
        take_name(host, "eth0", "spare")
        if is_told:
            bench.watch.follow()
            with sender(far, "eth1") as say:
                say(announcement(LEASED, STRANGER))
        else:
            with sender(far, "eth1") as say:
                while not bench.told:
                    say(announcement(LEASED, STRANGER))
                    await asyncio.sleep(0.1)
        await heard(lambda: bool(bench.told))
        with sender(far, "eth0") as say:
            say(announcement(FREE, STRANGER))  # the wire that it is not on any more
        with sender(far, "eth1") as say:
            say(announcement(OWNED, STRANGER))
        await heard(lambda: OWNED in bench.looked_up)
        assert FREE not in bench.looked_up

    on(host, lambda bench: asyncio.wait_for(life(bench), PATIENCE))


def test_a_probe_says_that_its_interface_is_gone(segment: tuple[str, str]) -> None:
    async def life(bench: Bench) -> None:
        bench.watch.open_soon()
        run("ip", "-n", segment[0], "link", "del", "eth0")
        with pytest.raises(LinkDown, match=r"eth0: can't open a packet socket: .*D4D_PARENT"):
            await bench.probe(OWNED)

    on(segment[0], life)


def test_a_probe_at_once_after_the_interface_was_made_again_is_answered(
    segment: tuple[str, str],
) -> None:
    host, far = segment

    async def life(bench: Bench) -> None:
        bench.watch.open_soon()
        run("ip", "-n", host, "link", "del", "eth0")
        cable(host, "eth0", far, "eth0")
        address(far, "eth0", f"{OWNED}/16")
        assert await bench.probe(OWNED, LONG) == mac_of(far)

    on(host, life)


def test_a_watch_opens_when_its_interface_comes(segment: tuple[str, str]) -> None:
    host, far = segment
    run("ip", "-n", host, "link", "del", "eth0")

    async def life(bench: Bench) -> None:
        bench.watch.open_soon()
        cable(host, "eth0", far, "eth0")
        with sender(far) as say:
            while not bench.told:
                say(announcement(LEASED, STRANGER))
                await asyncio.sleep(0.1)

    on(host, lambda bench: asyncio.wait_for(life(bench), PATIENCE))


def test_a_probe_says_which_capability_it_lacks(segment: tuple[str, str]) -> None:
    async def life(bench: Bench) -> None:
        os.seteuid(65534)
        try:
            with pytest.raises(LinkDown, match=r"eth0: can't open a packet socket: .*CAP_NET_RAW"):
                await bench.probe(FREE)
        finally:
            os.seteuid(0)

    on(segment[0], life)


def test_a_closed_watch_asks_and_tells_no_more(segment: tuple[str, str]) -> None:
    host, far = segment

    async def life(bench: Bench) -> None:
        asking = asyncio.create_task(bench.probe(FREE))
        await asyncio.sleep(0)
        bench.watch.close()
        with pytest.raises(LinkDown, match=r"eth0: closed while 10\.77\.0\.99 was probed"):
            await asking
        with sender(far) as say:
            say(announcement(LEASED, STRANGER))
        await asyncio.sleep(0.05)
        assert bench.looked_up == []

    on(host, life)
