"""ARP on a parent interface: who uses an address already, and who else claims one of ours.

One AF_PACKET socket for each parent hears all of its ARP, for probes (RFC 5227) and for the watch:
- A claim is what a frame's sender says of himself; only a lease's present MAC may claim its
  address. Engines give a container a new MAC when it starts again.
- What the parent sends counts, too: there go the frames of macvlan children, and one of another
  network may have taken our address. Their answers to each other stay inside macvlan.
- A probe goes out to the wire: macvlan shows no child what its parent sends. A child that owns the
  address by itself is found by the watch, when it asks for anything.
- The host's own addresses are looked up, for the host does not hear its own probe.
- Linux does not answer probes by proxy ARP, nor with arp_ignore 2 or 8; 0 and 1 answer. A router
  that does proxy for the whole subnet answers each probe: it must be told not to.
- A container with two macvlan interfaces on one subnet answers for either address with both MACs
  where its arp_ignore is 0. That is a conflict for its neighbours as well, and is told as one.
"""

import asyncio
import contextlib
import errno
import socket
from collections.abc import Callable, Iterator
from datetime import timedelta
from ipaddress import IPv4Address

from d4d.adapters.network.arp_frame import answers, conflicts, probe_frame, read_claim
from d4d.adapters.network.bpf import arp_filter
from d4d.adapters.network.packet_socket import GONE, advice, mac_of, open_tap
from d4d.adapters.network.socket_errors import link_down
from d4d.adapters.network.socket_reading import AT_ONCE, SocketReader
from d4d.adapters.observability.seldom import Seldom
from d4d.domain.addressing import MacAddress
from d4d.domain.errors import LinkDown
from d4d.service_layer import log_messages as log
from d4d.service_layer.concurrency.supervised_task import its_own

_PAUSE = 60.0
_MOST_TOLD = 256
_LOOK_EVERY = 1.0
"""Seconds until the interface that has the name by then is watched, at the most."""
_REST = 0.1
"""Seconds between readings while nobody waits: to wake for a frame costs more than to read it."""
_ANY_PORT = 9


class _Probe:
    """A probe that waits for its answer."""

    def __init__(self, chaddr: MacAddress) -> None:
        self.chaddr = chaddr
        self.answer: asyncio.Future[MacAddress] = asyncio.get_running_loop().create_future()

    async def within(self, deadline: float) -> bool:
        """Whether the answer comes by ``deadline``, in the event loop's seconds."""
        left = deadline - asyncio.get_running_loop().time()
        await asyncio.wait([self.answer], timeout=max(left, 0))
        return self.answer.done()


class ArpWatch:
    """All ARP of one parent. The socket opens at ``open_soon()`` or with the first probe."""

    def __init__(
        self,
        parent: str,
        *,
        ours: Callable[[IPv4Address], MacAddress | None],
        on_conflict: Callable[[IPv4Address, MacAddress], None],
    ) -> None:
        """``ours`` is called for each ARP frame: the MAC that leased an address, now.

        ``on_conflict`` hears of another MAC that claims it, once a minute for each.
        """
        self.name = parent
        self._ours = ours
        self._on_conflict = on_conflict
        self._told = Seldom(pause=_PAUSE, at_most=_MOST_TOLD)
        self._probes: dict[bytes, list[_Probe]] = {}
        self._socket: socket.socket | None = None
        self._reader: SocketReader | None = None
        self._looking: asyncio.TimerHandle | None = None
        self._is_down = False

    def __repr__(self) -> str:
        state = "closed" if self._looking is None else "down" if self._is_down else "open"
        return f"<ArpWatch {self.name} {state}, {len(self._probes)} addresses probed>"

    def open_soon(self) -> None:
        """Watch from now on, or from when the interface is there; needs a running event loop."""
        if self._looking is None:
            self._look()

    def follow(self) -> None:
        """The name may be another interface's now: see to it at once, not within a second."""
        if self._looking is not None:
            self._looking.cancel()
            self._look()

    def close(self) -> None:
        """Stop watching; a new probe opens again."""
        if self._looking is not None:
            self._looking.cancel()
            self._looking = None
        self._close_socket()

    async def probe(
        self, address: IPv4Address, *, chaddr: MacAddress, wait: timedelta
    ) -> MacAddress | None:
        """The MAC of another than ``chaddr`` that has ``address``, as soon as it answers.

        None after ``wait``: the wire was asked at once and half-way, and nobody answered.
        Where the host itself has the address, the parent's MAC. Raises LinkDown.
        """
        began = asyncio.get_running_loop().time()
        self.open_soon()
        with self._probing(address, chaddr) as probe:
            sender = self._send_probe(address)
            if self._is_hosted(address):
                return MacAddress(sender)
            if not await probe.within(began + wait.total_seconds() / 2):
                if self._looking is None:
                    raise LinkDown(f"{self.name}: closed while {address} was probed")
                self._send_probe(address)
                await probe.within(began + wait.total_seconds())
            return probe.answer.result() if probe.answer.done() else None

    @contextlib.contextmanager
    def _probing(self, address: IPv4Address, chaddr: MacAddress) -> Iterator[_Probe]:
        probe = _Probe(chaddr)
        probes = self._probes.setdefault(address.packed, [])
        probes.append(probe)
        try:
            yield probe
        finally:
            probes.remove(probe)
            if not probes:
                del self._probes[address.packed]

    def _send_probe(self, address: IPv4Address) -> bytes:
        """Returns the MAC that it was sent from."""

        def transmit() -> bytes:
            sock, reader = self._opened()
            reader.open()  # an answer is waited for: it does not rest meanwhile
            sender = mac_of(sock, self.name)
            sock.send(probe_frame(address, sender=sender))
            return sender

        try:
            try:
                return transmit()
            except OSError as error:
                if error.errno not in {*GONE, errno.ENETDOWN}:  # the last: of a flap that is over
                    raise
                if error.errno in GONE:
                    self._close_socket()
                return transmit()
        except OSError as error:
            raise self._down(error, f"ask by ARP who has {address}") from error

    def _opened(self) -> tuple[socket.socket, SocketReader]:
        if self._socket is None or self._reader is None:
            try:
                self._socket = open_tap(self.name, arp_filter())
            except OSError as error:
                raise self._down(error, "open a packet socket") from error
            self._reader = SocketReader(self._socket, read=self._read, failed=self._read_failed)
            self._reader.open()
        return self._socket, self._reader

    def _close_socket(self) -> None:
        if self._reader is not None:
            self._reader.close()
            self._reader = None
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _read(self, frames: list[bytes]) -> None:
        if self._socket is None or self._reader is None:
            return
        try:
            parent = mac_of(self._socket, self.name)
        except OSError as gone:
            self._read_failed(gone)
            return
        for frame in frames:
            with its_own(f"a frame of ARP on {self.name}"):
                self._take(frame, parent)
        if frames:
            self._is_down = False
        if not self._probes and len(frames) < AT_ONCE:
            self._reader.rest(_REST)

    def _read_failed(self, error: OSError) -> None:
        """Down is not the end: the kernel goes on when the interface comes up again."""
        self._went_down(error)
        if error.errno != errno.ENETDOWN:
            self._close_socket()

    def _take(self, frame: bytes, parent: bytes) -> None:
        claim = read_claim(frame)
        if claim is None:
            return
        for probe in self._probes.get(claim.address, ()):
            if not probe.answer.done() and answers(claim, chaddr=probe.chaddr, parent=parent):
                probe.answer.set_result(MacAddress(claim.mac))
        address = IPv4Address(claim.address)
        ours = self._ours(address)
        if ours is None or not conflicts(
            claim, ours=ours, parent=parent, hosted=lambda: self._is_hosted(address)
        ):
            return
        if self._told.may_tell((claim.address, claim.mac), asyncio.get_running_loop().time()):
            self._on_conflict(address, MacAddress(claim.mac))

    def _is_hosted(self, address: IPv4Address) -> bool:
        """Whether the host has the address: its packets to it come from it. Raises LinkDown."""
        try:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                return _source_towards(sock, address) == str(address)
        except OSError as error:
            raise self._down(error, f"look up whether {address} is the host's") from error

    def _look(self) -> None:
        """See that there is a socket, and that its interface is there and has the name still.

        While an interface is down, nothing tells of its end; and coming up needs nothing from us.
        """
        self._looking = asyncio.get_running_loop().call_later(_LOOK_EVERY, self._look)
        try:
            try:
                mac_of(self._opened()[0], self.name)
            except OSError:
                self._close_socket()
                self._opened()
        except LinkDown as error:
            self._went_down(error)

    def _went_down(self, error: Exception) -> None:
        """Say so, once until something is heard again: the watch goes on by itself."""
        if not self._is_down:
            log.arp_watch_down(link=self.name, error=str(error))
        self._is_down = True

    def _down(self, error: OSError, action: str) -> LinkDown:
        return link_down(error, link=self.name, action=action, advice=advice(self.name))


def _source_towards(sock: socket.socket, address: IPv4Address) -> str | None:
    """Where the kernel would send from; None where it has no route there, or must not use it."""
    try:
        sock.connect((str(address), _ANY_PORT))
    except OSError:
        return None
    source: str = sock.getsockname()[0]
    return source
