"""The links against real servers, in network namespaces: what a server's own lease file says."""

import asyncio
import contextlib
import json
import os
import random
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from d4d.adapters.dhcp.link.base import Deliver, Link, Wants
from d4d.adapters.dhcp.link.layer2 import Layer2Link
from d4d.adapters.dhcp.link.relay import RelayLink
from d4d.adapters.dhcp.link.udp_frame import ETHERNET, ethernet, request_packet, udp_payload
from d4d.adapters.dhcp.wire.codec import decode, dissect, encode
from d4d.domain.addressing import MacAddress
from d4d.domain.dhcp.messages import (
    Identity,
    Message,
    MessageType,
    Unreadable,
    decline,
    discover,
    release,
    request_renewing,
    request_selecting,
)
from d4d.domain.errors import LinkDown
from lab.network import inside
from tests.support.event_loops import each_loop
from tests.support.event_loops import run as on_loop

assert each_loop  # each test runs once for each loop

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root")

HOST, ROUTER, SERVER = (IPv4Address(f"10.77.0.{n}") for n in (2, 254, 1))
FAR_SERVER, FAR_HOST = IPv4Address("10.88.0.1"), IPv4Address("10.66.0.2")
LINK = IPv4Address("10.77.0.0")
NOBODY = IPv4Address("10.77.16.1")
PATIENCE = 15.0
MakeLink = Callable[[Wants, Deliver], Link]

DHCPD = """
authoritative; ddns-update-style none; ping-check false; dhcp-cache-threshold 0;
default-lease-time 120; max-lease-time 7200;
subnet 10.77.0.0 netmask 255.255.0.0 { range 10.77.16.1 10.77.95.254; option routers 10.77.0.254; }
subnet 10.88.0.0 netmask 255.255.255.0 { }
"""
KEA = """
{"Dhcp4":{"interfaces-config":{"interfaces":["eth0"],"dhcp-socket-type":"raw"},
"lease-database":{"type":"memfile","persist":true,"name":"%(d)s/leases","lfc-interval":0},
"authoritative":true,"valid-lifetime":120,
"subnet4":[{"id":1,"subnet":"10.77.0.0/16","pools":[{"pool":"10.77.16.1-10.77.95.254"}],
 "option-data":[{"name":"routers","data":"10.77.0.254"}]}],
"loggers":[{"name":"kea-dhcp4","output_options":[{"output":"stdout"}],"severity":"INFO"}]}}
"""
DNSMASQ = """
port=0
interface=eth0
bind-interfaces
except-interface=lo
user=root
group=root
no-ping
dhcp-authoritative
dhcp-leasefile=%(d)s/leases
log-dhcp
dhcp-range=10.77.16.1,10.77.95.254,255.255.0.0,120
dhcp-option=option:router,10.77.0.254
"""
SERVERS = {
    "dhcpd": (
        DHCPD,
        "dhcpd -4 -f -d -user root -group root -cf {d}/conf -lf {d}/leases --no-pid eth0",
        "Server starting service",
    ),
    "kea": (KEA, "kea-dhcp4 -c {d}/conf", "DHCP4_STARTED"),
    "dnsmasq": (DNSMASQ, "dnsmasq -k -C {d}/conf --pid-file={d}/pid --log-facility=-", "IP range"),
}


def run(*words: str) -> None:
    subprocess.run(words, check=True, capture_output=True)


@contextlib.contextmanager
def namespaces(*names: str) -> Iterator[tuple[str, ...]]:
    """Namespaces of these names, made unique, with loopback up."""
    unique = tuple(f"d4d-{os.getpid()}-{name}" for name in names)
    try:
        for name in unique:
            run("ip", "netns", "add", name)
            run("ip", "-n", name, "link", "set", "lo", "up")
        yield unique
    finally:
        for name in unique:
            subprocess.run(("ip", "netns", "del", name), check=False, capture_output=True)


def cable(one: str, one_dev: str, two: str, two_dev: str) -> None:
    """A veth pair between two namespaces, up."""
    run(*f"ip -n {one} link add {one_dev} type veth peer name {two_dev} netns {two}".split())
    run("ip", "-n", one, "link", "set", one_dev, "up")
    run("ip", "-n", two, "link", "set", two_dev, "up")


def address(namespace: str, device: str, *addresses: str) -> None:
    for text in addresses:
        run("ip", "-n", namespace, "addr", "add", text, "dev", device)


@contextlib.contextmanager
def server(kind: str, namespace: str, folder: Path) -> Iterator[None]:
    """A real DHCP server on the namespace's eth0, ready when this is entered."""
    conf, command, ready = SERVERS[kind]
    words = command.format(d=folder).split()
    if shutil.which(words[0]) is None:
        pytest.skip(f"{words[0]} is not installed")
    (folder / "conf").write_text(conf.replace("%(d)s", str(folder)))
    (folder / "leases").touch()
    # Kea keeps its files where its package says, unless told otherwise (2.6: in these only).
    places = ("PIDFILE_DIR", "LOCKFILE_DIR", "DHCP_DATA_DIR", "LOG_FILE_DIR")
    environment = {**os.environ, **{f"KEA_{place}": str(folder) for place in places}}
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            ("ip", "netns", "exec", namespace, *words),
            stdout=log,
            stderr=subprocess.STDOUT,
            env=environment,
        )
    try:
        until(lambda: ready in (folder / "log").read_text(), f"{kind} is ready")
        yield
    finally:
        process.terminate()
        process.wait(PATIENCE)


def until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"not within {PATIENCE} s: {what}"
        time.sleep(0.02)


def holds_lease(kind: str, folder: Path, address_: IPv4Address) -> bool:
    """Whether the server's lease file says that the address is somebody's."""
    text = (folder / "leases").read_text()
    if kind == "dhcpd":
        entries = text.split(f"lease {address_} {{")[1:]
        return bool(entries) and "\n  binding state active;" in entries[-1].split("}")[0]
    if kind == "kea":
        rows = [line.split(",") for line in text.splitlines() if line.startswith(f"{address_},")]
        return bool(rows) and rows[-1][3] != "0"
    return f" {address_} " in text


class Conversation:
    """A client of one lease, as far as a link can tell."""

    def __init__(self, make_link: MakeLink) -> None:
        self.heard: dict[int, asyncio.Queue[Message]] = {}
        self.link = make_link(self.heard.__contains__, self._deliver)

    def _deliver(self, message: Message | Unreadable) -> bool:
        assert isinstance(message, Message)
        self.heard[message.xid].put_nowait(message)
        return True

    async def ask(self, message: Message) -> Message:
        self.heard[message.xid] = asyncio.Queue()
        self.link.broadcast(message)
        return await asyncio.wait_for(self.heard[message.xid].get(), PATIENCE)

    async def acquire(self, identity: Identity) -> Message:
        offer = await self.ask(discover(identity, xid()))
        assert offer.type is MessageType.OFFER
        assert offer.server_id is not None
        ack = await self.ask(
            request_selecting(identity, xid(), requested=offer.yiaddr, server_id=offer.server_id)
        )
        assert ack.type is MessageType.ACK
        assert ack.yiaddr == offer.yiaddr
        return ack

    def release(self, identity: Identity, ack: Message) -> None:
        assert ack.server_id is not None
        message = release(identity, xid(), ciaddr=ack.yiaddr, server_id=ack.server_id)
        self.link.unicast(message, ack.server_id)


def xid() -> int:
    return random.getrandbits(32)


def container() -> Identity:
    mac = MacAddress(bytes([0x02, *random.randbytes(5)]))
    return Identity(chaddr=mac, client_id=b"\x00test-" + mac.hex().encode(), hostname="web")


def packet_link(wants: Wants, deliver: Deliver) -> Layer2Link:
    return Layer2Link("eth0", wants=wants, deliver=deliver)


def relay_link(wants: Wants, deliver: Deliver) -> RelayLink:
    return RelayLink((FAR_SERVER,), giaddr=HOST, wants=wants, deliver=deliver)


def selecting_link(wants: Wants, deliver: Deliver) -> RelayLink:
    return RelayLink(
        (FAR_SERVER,), giaddr=FAR_HOST, link_selection=LINK, wants=wants, deliver=deliver
    )


@contextlib.contextmanager
def port_owner(port: int) -> Iterator[None]:
    """Another program, that had the port first and shares it with nobody."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("0.0.0.0", port))
        yield


@pytest.fixture
def segment() -> Iterator[tuple[str, str]]:
    """A Docker host and a DHCP server on one segment."""
    with namespaces("host", "server") as (host, far):
        cable(host, "eth0", far, "eth0")
        address(host, "eth0", f"{HOST}/16")
        address(far, "eth0", f"{SERVER}/16")
        yield host, far


@pytest.fixture
def routed() -> Iterator[tuple[str, str]]:
    """A Docker host, and a DHCP server behind a router."""
    with namespaces("host", "router", "server") as (host, router, far):
        cable(host, "eth0", router, "left")
        cable(router, "right", far, "eth0")
        address(host, "eth0", f"{HOST}/16", f"{FAR_HOST}/32")
        address(router, "left", f"{ROUTER}/16")
        address(router, "right", "10.88.0.254/24")
        address(far, "eth0", f"{FAR_SERVER}/24")
        run("ip", "-n", host, "route", "add", "default", "via", str(ROUTER))
        run("ip", "-n", router, "route", "add", str(FAR_HOST), "via", str(HOST))
        run("ip", "-n", far, "route", "add", "default", "via", "10.88.0.254")
        run("ip", "netns", "exec", router, "sysctl", "-qw", "net.ipv4.ip_forward=1")
        yield host, far


def acquire_and_release(kind: str, host: str, folder: Path, make_link: MakeLink) -> None:
    """One lease's life, each step of which the server's lease file must show."""
    identity = container()

    async def life() -> None:
        talk = Conversation(make_link)
        try:
            ack = await talk.acquire(identity)
            assert ack.subnet_mask == IPv4Address("255.255.0.0")
            assert ack.routers == (ROUTER,)
            until(lambda: holds_lease(kind, folder, ack.yiaddr), f"{kind} holds {ack.yiaddr}")
            talk.release(identity, ack)
            until(lambda: not holds_lease(kind, folder, ack.yiaddr), f"{kind} frees {ack.yiaddr}")
        finally:
            talk.link.close()

    with inside(host):
        on_loop(life())


@pytest.mark.parametrize("kind", SERVERS)
def test_a_lease_lives_and_ends_on_layer_2_beside_the_owner_of_port_68(
    kind: str, segment: tuple[str, str], tmp_path: Path
) -> None:
    host, far = segment
    with server(kind, far, tmp_path), inside(host), port_owner(68):
        acquire_and_release(kind, host, tmp_path, packet_link)


@pytest.mark.parametrize("make_link", [relay_link, selecting_link])
@pytest.mark.parametrize("kind", SERVERS)
def test_a_lease_lives_and_ends_by_relay(
    kind: str, make_link: MakeLink, routed: tuple[str, str], tmp_path: Path
) -> None:
    host, far = routed
    with server(kind, far, tmp_path):
        acquire_and_release(kind, host, tmp_path, make_link)


@pytest.mark.parametrize("kind", SERVERS)
def test_a_lease_lives_and_ends_by_relay_beside_the_owner_of_port_67(
    kind: str, routed: tuple[str, str], tmp_path: Path
) -> None:
    host, far = routed
    with server(kind, far, tmp_path), inside(host), port_owner(67):
        acquire_and_release(kind, host, tmp_path, relay_link)


@pytest.mark.parametrize("kind", SERVERS)
def test_a_server_frees_the_lease_of_a_link_that_never_heard_it(
    kind: str, segment: tuple[str, str], tmp_path: Path
) -> None:
    """As after a restart: the server's MAC is asked for by ARP, and the RELEASE is its alone."""
    host, far = segment
    tap = tap_in(far)
    with tap, server(kind, far, tmp_path), inside(host):
        released = release_by_another_link(kind, tmp_path, tap)
    assert released[:6] == mac_of(far)


@pytest.mark.parametrize("kind", SERVERS)
def test_a_server_that_answers_no_arp_frees_the_lease_too(
    kind: str, segment: tuple[str, str], tmp_path: Path
) -> None:
    """Behind a relay agent it is nobody's neighbour: all hear the RELEASE, as a DISCOVER."""
    host, far = segment
    run(*f"ip netns exec {far} sysctl -qw net.ipv4.conf.all.arp_ignore=8".split())
    tap = tap_in(far)
    with tap, server(kind, far, tmp_path), inside(host):
        released = release_by_another_link(kind, tmp_path, tap)
    assert released[:6] == b"\xff" * 6
    assert released[30:34] == b"\xff" * 4


@pytest.mark.parametrize("kind", SERVERS)
def test_a_release_leaves_by_its_parent_wherever_the_hosts_routes_lead(
    kind: str, segment: tuple[str, str], tmp_path: Path
) -> None:
    """A parent needs no address, and a host's default route is often another interface's."""
    host, far = segment
    with namespaces("elsewhere") as (elsewhere,):
        cable(host, "eth1", elsewhere, "eth0")
        run("ip", "-n", host, "addr", "flush", "dev", "eth0")
        address(host, "eth1", "192.0.2.2/24")
        run("ip", "-n", host, "route", "add", "default", "via", "192.0.2.1")
        tap = tap_in(far)
        with tap, server(kind, far, tmp_path), inside(host):
            released = release_by_another_link(kind, tmp_path, tap)
        assert released[:6] == mac_of(far)


def release_by_another_link(kind: str, folder: Path, tap: socket.socket) -> bytes:
    """The frame of a RELEASE, by which the server was seen to free the lease of another link."""
    identity = container()

    async def life() -> bytes:
        before, after = Conversation(packet_link), Conversation(packet_link)
        try:
            ack = await before.acquire(identity)
            before.link.close()
            until(lambda: holds_lease(kind, folder, ack.yiaddr), f"{kind} holds {ack.yiaddr}")
            frames(tap)
            after.release(identity, ack)
            async with asyncio.timeout(PATIENCE):
                while holds_lease(kind, folder, ack.yiaddr):  # noqa: ASYNC110 - a file tells nobody
                    await asyncio.sleep(0.02)
        finally:
            before.link.close()
            after.link.close()
        (released,) = (frame for frame in frames(tap) if frame[36:38] == b"\0\x43")
        return released

    return on_loop(life())


def test_a_release_that_waits_for_its_servers_mac_is_not_overtaken(
    segment: tuple[str, str],
) -> None:
    """It would free the lease that its container, started again, had got meanwhile."""
    host, far = segment
    run(*f"ip netns exec {far} sysctl -qw net.ipv4.conf.all.arp_ignore=8".split())
    identity, other = container(), container()

    async def life() -> None:
        link = packet_link(lambda _: False, lambda _: False)
        released = release(identity, 1, ciaddr=IPv4Address("10.77.16.1"), server_id=SERVER)
        try:
            link.unicast(released, SERVER)
            link.broadcast(discover(other, 2))
            link.broadcast(discover(identity, 3))
        finally:
            link.close()

    tap = tap_in(far)
    with tap, inside(host):
        on_loop(life())
        sent = [frame for frame in frames(tap) if frame[36:38] == b"\0\x43"]
    assert [int.from_bytes(frame[46:50], "big") for frame in sent] == [2, 1, 3]


def test_a_release_that_waits_for_its_servers_mac_goes_out_at_the_end(
    segment: tuple[str, str],
) -> None:
    host, far = segment
    run(*f"ip netns exec {far} sysctl -qw net.ipv4.conf.all.arp_ignore=8".split())

    async def life() -> None:
        link = packet_link(lambda _: False, lambda _: False)
        released = release(container(), 1, ciaddr=IPv4Address("10.77.16.1"), server_id=SERVER)
        link.unicast(released, SERVER)
        link.close()

    tap = tap_in(far)
    with tap, inside(host):
        on_loop(life())
        assert len([frame for frame in frames(tap) if frame[36:38] == b"\0\x43"]) == 1


@pytest.mark.parametrize("kind", SERVERS)
def test_a_declined_address_is_not_offered_again(
    kind: str, segment: tuple[str, str], tmp_path: Path
) -> None:
    host, far = segment
    identity = container()

    async def life() -> None:
        talk = Conversation(packet_link)
        try:
            ack = await talk.acquire(identity)
            assert ack.server_id is not None
            talk.link.broadcast(
                decline(identity, xid(), requested=ack.yiaddr, server_id=ack.server_id)
            )
            # dnsmasq forgets what was declined: option 50 would get the same address again.
            again = await talk.ask(discover(identity, xid()))
            assert again.type is MessageType.OFFER
            assert again.yiaddr != ack.yiaddr
        finally:
            talk.link.close()

    with server(kind, far, tmp_path), inside(host):
        on_loop(life())


@pytest.mark.parametrize("src_mac_container", [False, True])
def test_a_release_goes_to_the_mac_that_answered_and_ahead_of_what_follows(
    src_mac_container: bool, segment: tuple[str, str], tmp_path: Path
) -> None:
    host, far = segment
    identity = container()

    async def life() -> None:
        talk = Conversation(
            lambda wants, deliver: Layer2Link(
                "eth0", wants=wants, deliver=deliver, src_mac_container=src_mac_container
            )
        )
        try:
            ack = await talk.acquire(identity)
            drained = frames(tap)
            assert drained
            talk.release(identity, ack)
            talk.link.broadcast(discover(identity, xid()))
            released, discovered = (frame for frame in frames(tap) if frame[36:38] == b"\0\x43")
        finally:
            talk.link.close()
        source = bytes(identity.chaddr) if src_mac_container else mac_of(host)
        assert (released[:6], released[6:12]) == (mac_of(far), source)
        assert (released[26:30], released[30:34]) == (ack.yiaddr.packed, SERVER.packed)
        assert (discovered[:6], discovered[6:12]) == (b"\xff" * 6, source)

    tap = tap_in(far)
    with tap, server("dnsmasq", far, tmp_path), inside(host):
        on_loop(life())


@pytest.mark.parametrize("kind", SERVERS)
def test_what_a_server_says_is_read_as_scapy_reads_it(
    kind: str, segment: tuple[str, str], tmp_path: Path
) -> None:
    host, far = segment

    async def life() -> Message:
        talk = Conversation(packet_link)
        try:
            return await talk.acquire(container())
        finally:
            talk.link.close()

    tap = tap_in(host)
    with tap, server(kind, far, tmp_path), inside(host):
        ack = on_loop(life())
        packets = (udp_payload(frame[ETHERNET:]) for frame in frames(tap))
        payloads = [payload for payload in packets if payload and payload[0] == 2]
    read = [decode(payload) for payload in payloads]
    assert read == [dissect(payload) for payload in payloads]
    assert [message.type for message in read] == [MessageType.OFFER, MessageType.ACK]
    assert read[-1] == ack._replace(source=None)


def test_a_parent_that_gets_another_mac_sends_from_it_soon(
    segment: tuple[str, str], tmp_path: Path
) -> None:
    host, far = segment

    async def life() -> None:
        talk = Conversation(packet_link)
        try:
            await talk.acquire(container())
            run("ip", "-n", host, "link", "set", "eth0", "address", "02:00:00:77:00:99")
            await asyncio.sleep(1.1)
            await talk.acquire(container())
        finally:
            talk.link.close()

    before = mac_of(host)
    tap = tap_in(far)
    with tap:
        with server("dnsmasq", far, tmp_path), inside(host):
            on_loop(life())
        sent = frames(tap)
    sources = [frame[6:12] for frame in sent if frame[36:38] == b"\0\x43"]
    assert sources == [before, before, mac_of(host), mac_of(host)]
    assert before != mac_of(host)


def tap_in(namespace: str) -> socket.socket:
    """Hears the IPv4 frames that come into it from now on."""
    with inside(namespace):
        tap = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0800))
    tap.setblocking(False)
    return tap


def frames(tap: socket.socket) -> list[bytes]:
    """What has come in by now; the veth pair delivers at once."""
    found = []
    with contextlib.suppress(BlockingIOError):
        while True:
            found.append(tap.recv(0xFFFF))
    return found


def mac_of(namespace: str) -> bytes:
    command = ("ip", "netns", "exec", namespace, "cat", "/sys/class/net/eth0/address")
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return bytes.fromhex(text.strip().replace(":", ""))


@pytest.mark.parametrize("kind", SERVERS)
def test_a_relayed_lease_is_renewed_from_its_address(
    kind: str, routed: tuple[str, str], tmp_path: Path
) -> None:
    host, far = routed
    identity = container()

    async def life() -> None:
        talk = Conversation(relay_link)
        try:
            ack = await talk.acquire(identity)
            renewed = await talk.ask(request_renewing(identity, xid(), ciaddr=ack.yiaddr))
            assert (renewed.type, renewed.yiaddr) == (MessageType.ACK, ack.yiaddr)
        finally:
            talk.link.close()

    with server(kind, far, tmp_path), inside(host):
        on_loop(life())


def test_a_link_survives_its_interface_going_down_and_up(
    segment: tuple[str, str], tmp_path: Path
) -> None:
    host, far = segment

    async def life() -> None:
        talk = Conversation(packet_link)
        try:
            await talk.acquire(container())
            run("ip", "-n", host, "link", "set", "eth0", "down")
            with pytest.raises(LinkDown, match=r"eth0: can't send DISCOVER: .*link set eth0 up"):
                talk.link.broadcast(discover(container(), xid()))
            await asyncio.sleep(0.05)
            run("ip", "-n", host, "link", "set", "eth0", "up")
            await talk.acquire(container())
        finally:
            talk.link.close()

    with server("dnsmasq", far, tmp_path), inside(host):
        on_loop(life())


def test_a_send_right_after_a_flap_is_made_though_the_kernel_still_tells_of_it(
    segment: tuple[str, str], tmp_path: Path
) -> None:
    host, far = segment

    async def life() -> None:
        talk = Conversation(packet_link)
        try:
            await talk.acquire(container())
            for _ in range(3):
                run("ip", "-n", host, "link", "set", "eth0", "down")
                run("ip", "-n", host, "link", "set", "eth0", "up")
                await talk.acquire(container())  # the loop has read nothing meanwhile
        finally:
            talk.link.close()

    with server("dnsmasq", far, tmp_path), inside(host):
        on_loop(life())


def test_a_link_that_is_opened_while_its_interface_is_down_hears_when_it_comes_up(
    segment: tuple[str, str], tmp_path: Path
) -> None:
    host, far = segment

    async def life() -> None:
        talk = Conversation(packet_link)
        try:
            run("ip", "-n", host, "link", "set", "eth0", "down")
            with pytest.raises(LinkDown, match="bring it up: `ip link set eth0 up`"):
                talk.link.broadcast(discover(container(), xid()))
            await asyncio.sleep(0.1)
            run("ip", "-n", host, "link", "set", "eth0", "up")
            await talk.acquire(container())
        finally:
            talk.link.close()

    with server("dnsmasq", far, tmp_path), inside(host):
        on_loop(life())


def test_a_link_survives_its_interface_being_deleted_and_made_again(
    segment: tuple[str, str], tmp_path: Path
) -> None:
    host, far = segment

    async def life() -> None:
        talk = Conversation(packet_link)
        try:
            talk.link.broadcast(discover(container(), xid()))
            run("ip", "-n", host, "link", "del", "eth0")
            await asyncio.sleep(0.05)
            with pytest.raises(LinkDown, match=r"eth0: can't .*D4D_PARENT"):
                talk.link.broadcast(discover(container(), xid()))
            cable(host, "eth0", far, "eth0")
            address(far, "eth0", f"{SERVER}/16")
            with server("dnsmasq", far, tmp_path):
                await talk.acquire(container())
        finally:
            talk.link.close()

    with inside(host):
        on_loop(life())


@pytest.mark.parametrize("is_told", [True, False])
@pytest.mark.parametrize("src_mac_container", [True, False])
def test_a_link_follows_its_name_to_another_interface(
    segment: tuple[str, str], src_mac_container: bool, is_told: bool
) -> None:
    """At once where it is told of it, else with what it sends soon after."""
    host, far = segment
    cable(host, "spare", far, "eth1")

    async def life() -> None:
        link = Layer2Link(
            "eth0",
            wants=lambda _: True,
            deliver=lambda _: True,
            src_mac_container=src_mac_container,
        )
        try:
            link.broadcast(discover(container(), xid()))
            assert is_heard(taps[0])
            take_name(host, "eth0", "spare")
            if is_told:
                link.follow()
            else:
                await asyncio.sleep(1.1)  # for so long the parent's MAC is taken for known
            link.broadcast(discover(container(), xid()))  # too few to be a silence
            assert is_heard(taps[1])
            assert not is_heard(taps[0])
        finally:
            link.close()

    taps = tap_on(far, "eth0"), tap_on(far, "eth1")
    with taps[0], taps[1], inside(host):
        on_loop(life())


def take_name(namespace: str, device: str, other: str) -> None:
    """``other`` is called ``device`` from now on, and what was called so, ``former``."""
    run("ip", "-n", namespace, "link", "set", device, "down")
    run("ip", "-n", namespace, "link", "set", device, "name", "former")
    run("ip", "-n", namespace, "link", "set", "former", "up")
    run("ip", "-n", namespace, "link", "set", other, "down")
    run("ip", "-n", namespace, "link", "set", other, "name", device)
    run("ip", "-n", namespace, "link", "set", device, "up")


def tap_on(namespace: str, device: str) -> socket.socket:
    """Hears the IPv4 frames that come into one interface of it from now on."""
    tap = tap_in(namespace)
    with inside(namespace):
        tap.bind((device, 0x0800))
    return tap


def is_heard(tap: socket.socket) -> bool:
    """Whether a DHCP client's message has come in since the last time."""
    return any(frame[36:38] == b"\0\x43" for frame in frames(tap))


def test_a_link_says_which_capability_it_lacks(segment: tuple[str, str]) -> None:
    host, _ = segment

    async def life() -> None:
        link = packet_link(lambda _: False, lambda _: False)
        os.seteuid(65534)
        try:
            with pytest.raises(LinkDown, match=r"eth0: can't open a packet socket: .*CAP_NET_RAW"):
                link.open()
        finally:
            os.seteuid(0)

    with inside(host):
        on_loop(life())


def test_a_relay_says_that_its_address_is_not_the_hosts(segment: tuple[str, str]) -> None:
    host, _ = segment

    async def life() -> None:
        link = selecting_link(lambda _: False, lambda _: False)
        with pytest.raises(LinkDown, match=r"10\.66\.0\.2 is no address of this host"):
            link.broadcast(discover(container(), xid()))

    with inside(host):
        on_loop(life())


def test_as_a_relay_a_release_goes_where_answers_come_from(routed: tuple[str, str]) -> None:
    """Behind NAT a server calls itself by an address that is not reached."""
    host, far = routed

    async def life() -> None:
        link = relay_link(lambda _: False, lambda _: False)
        named = IPv4Address("192.0.2.77")
        try:
            message = release(container(), 1, ciaddr=NOBODY, server_id=named)
            link.unicast(message, named)
        finally:
            link.close()

    tap = tap_in(far)
    with tap, inside(host):
        on_loop(life())
        until(lambda: bool(sent := frames(tap)) and is_to_server(sent[-1]), "it comes in")


def is_to_server(frame: bytes) -> bool:
    return frame[30:34] == FAR_SERVER.packed and frame[36:38] == b"\0\x43"


def test_two_relay_links_of_one_address_both_hear_their_answers(
    routed: tuple[str, str], tmp_path: Path
) -> None:
    host, far = routed

    async def life() -> None:
        talks = [Conversation(relay_link), Conversation(relay_link)]
        try:
            for talk in (*talks, *talks):
                await talk.acquire(container())
        finally:
            for talk in talks:
                talk.link.close()

    with server("dnsmasq", far, tmp_path), inside(host):
        on_loop(life())


def test_a_burst_of_replies_is_heard_to_the_last_and_what_nobody_wants_is_not_read(
    segment: tuple[str, str],
) -> None:
    host, far = segment
    heard: list[int] = []
    all_heard = asyncio.Event()
    burst = 2000
    with inside(far):
        answerer = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        answerer.bind(("eth0", 0))

    def send(number: int, *, spoil: bool = False) -> None:
        offer = Message(
            type=MessageType.OFFER,
            xid=number,
            chaddr=container().chaddr,
            yiaddr=IPv4Address("10.77.16.1"),
            server_id=SERVER,
        )
        packet = reply_packet(b"\0" * 300 if spoil else encode(offer))
        answerer.send(ethernet(to=b"\xff" * 6, source=b"\2" * 6, packet=packet))

    def hear(message: Message | Unreadable) -> bool:
        heard.append(message.xid)
        if len(heard) == burst + 2:
            all_heard.set()
        return False

    async def life() -> None:
        link = packet_link(lambda x: x < burst, hear)
        link.open()
        try:
            for number in range(burst):
                send(number)
                send(number + burst)
            send(0, spoil=True)
            send(burst - 1)
            await asyncio.wait_for(all_heard.wait(), PATIENCE)
        finally:
            link.close()

    with answerer, inside(host):
        on_loop(life())
    assert heard == [*range(burst), 0, burst - 1], "what can not be read is told, too"


@pytest.mark.parametrize("to", ["the container", "all"])
def test_on_a_bridge_an_answer_to_the_containers_own_mac_is_heard(
    to: str, segment: tuple[str, str]
) -> None:
    """Some servers ignore the broadcast flag. A veth filters nothing; a bridge does, as a card."""
    host, far = segment
    client = container()
    run(*f"ip -n {host} link add br0 type bridge".split())
    run(*f"ip -n {host} link set eth0 master br0".split())
    run(*f"ip -n {host} link set br0 up".split())
    with inside(far):
        answerer = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    heard: asyncio.Queue[Message | Unreadable] = asyncio.Queue()

    def hear(message: Message | Unreadable) -> bool:
        heard.put_nowait(message)
        return True

    async def life() -> None:
        link = Layer2Link("br0", wants=lambda _: True, deliver=hear)
        link.open()
        offer = Message(type=MessageType.OFFER, xid=7, chaddr=client.chaddr, server_id=SERVER)
        mac = bytes(client.chaddr) if to == "the container" else b"\xff" * 6
        try:
            packet = bytearray(request_packet(encode(offer), source=SERVER, to=NOBODY))
            packet[20:24] = (
                b"\0\x43\0\x44"  # the other way round: checksums stay, and must be right
            )
            frame = ethernet(to=mac, source=b"\2" * 6, packet=bytes(packet))
            async with asyncio.timeout(PATIENCE):
                while heard.empty():  # a bridge forwards a moment after it came up
                    answerer.send(frame)
                    await asyncio.sleep(0.02)
            message = heard.get_nowait()
        finally:
            link.close()
        assert isinstance(message, Message)
        assert message.server_id == SERVER

    with answerer:
        answerer.bind(("eth0", 0))
        with inside(host):
            on_loop(life())


@pytest.mark.parametrize("is_right", [True, False])
def test_a_checksum_that_is_there_is_looked_at(is_right: bool, segment: tuple[str, str]) -> None:
    """Real servers' kernels leave it out between veth ends: the other tests hear these."""
    host, far = segment
    with inside(far):
        answerer = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    heard: asyncio.Queue[Message | Unreadable] = asyncio.Queue()

    def hear(message: Message | Unreadable) -> bool:
        heard.put_nowait(message)
        return True

    offer = Message(type=MessageType.OFFER, xid=7, chaddr=container().chaddr, server_id=SERVER)
    packet = bytearray(request_packet(encode(offer), source=SERVER, to=NOBODY))
    packet[20:24] = b"\0\x43\0\x44"
    packet[28 + 17] ^= 0 if is_right else 4  # yiaddr

    async def life() -> Message | Unreadable:
        link = packet_link(lambda _: True, hear)
        link.open()
        try:
            answerer.send(ethernet(to=b"\xff" * 6, source=b"\2" * 6, packet=bytes(packet)))
            return await asyncio.wait_for(heard.get(), PATIENCE)
        finally:
            link.close()

    with answerer:
        answerer.bind(("eth0", 0))
        with inside(host):
            message = on_loop(life())
    assert isinstance(message, Message if is_right else Unreadable)
    if isinstance(message, Unreadable):
        assert message.reason == "its UDP checksum is wrong"


def promiscuity(namespace: str, device: str) -> int:
    """How many ask the device to hear all."""
    words = ("ip", "-n", namespace, "-d", "-j", "link", "show", device)
    said = subprocess.run(words, check=True, capture_output=True).stdout
    return int(json.loads(said)[0]["promiscuity"])


def test_a_link_asks_for_all_frames_for_as_long_as_it_is_open(segment: tuple[str, str]) -> None:
    host, _ = segment

    async def life() -> None:
        link = packet_link(lambda _: False, lambda _: False)
        before = promiscuity(host, "eth0")
        link.open()
        assert promiscuity(host, "eth0") == before + 1
        link.close()
        assert promiscuity(host, "eth0") == before

    with inside(host):
        on_loop(life())


def test_what_the_host_itself_answers_to_clients_is_not_heard(segment: tuple[str, str]) -> None:
    host, far = segment
    heard: list[int] = []
    last_heard = asyncio.Event()
    ours, theirs = 1, 2

    def hear(message: Message | Unreadable) -> bool:
        heard.append(message.xid)
        if message.xid == theirs:
            last_heard.set()
        return False

    def answer(namespace: str, xid: int) -> None:
        offer = Message(type=MessageType.OFFER, xid=xid, chaddr=container().chaddr)
        packet = reply_packet(encode(offer))
        with inside(namespace):
            answerer = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        with answerer:
            answerer.bind(("eth0", 0))
            answerer.send(ethernet(to=b"\xff" * 6, source=b"\2" * 6, packet=packet))

    async def life() -> None:
        link = packet_link(lambda _: True, hear)
        link.open()
        try:
            answer(host, ours)
            answer(far, theirs)
            await asyncio.wait_for(last_heard.wait(), PATIENCE)
        finally:
            link.close()

    with inside(host):
        on_loop(life())
    assert heard == [theirs]


def reply_packet(payload: bytes) -> bytes:
    """From the server's port to the client's, checksums left out, as between veth ends."""
    length = 8 + len(payload)
    ports = b"".join(n.to_bytes(2, "big") for n in (67, 68, length, 0))
    head = b"\x45\0" + (20 + length).to_bytes(2, "big") + b"\0\0\0\0\x40\x11\0\0"
    return head + SERVER.packed + b"\xff" * 4 + ports + payload
