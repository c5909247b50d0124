"""DHCP on layer 2: one AF_PACKET socket for each parent interface.

It hears replies to MACs and addresses that the host does not own, passes by iptables, and sees
what macvlan takes off an ETH_P_IP socket. It never binds UDP port 68, so that the host's own DHCP
client lives on beside it.
"""

import errno
import socket
import time
from collections.abc import Callable
from ipaddress import IPv4Address

from d4d.adapters.dhcp.link.base import Deliver, Wants
from d4d.adapters.dhcp.link.hearing import Hearing
from d4d.adapters.dhcp.link.receive import read_wanted
from d4d.adapters.dhcp.link.udp_frame import (
    BROADCAST_MAC,
    CLIENT_PORT,
    ETHERNET,
    SOURCE_ADDRESS,
    SOURCE_MAC,
    checksum_holds,
    ethernet,
    request_packet,
    udp_payload,
    without_checksum,
)
from d4d.adapters.dhcp.link.unheard_server import UnheardServers
from d4d.adapters.dhcp.wire.codec import encode
from d4d.adapters.dhcp.wire.message_log import PacketLog
from d4d.adapters.network.arp_frame import probe_frame
from d4d.adapters.network.bpf import udp_filter
from d4d.adapters.network.packet_socket import (
    GONE,
    advice,
    mac_of,
    open_tap,
    receive_with_status,
    tell_checksums,
)
from d4d.adapters.network.socket_errors import link_down
from d4d.adapters.network.socket_reading import SocketReader
from d4d.domain.addressing import MacAddress
from d4d.domain.dhcp.messages import AWAITED, NO_ADDRESS, Message, Unreadable
from d4d.domain.errors import LinkDown
from d4d.service_layer import log_messages as log
from d4d.service_layer.concurrency.supervised_task import its_own

_EVERYBODY = IPv4Address("255.255.255.255")
_MOST_SERVERS = 64
_MAC_FRESH = 1.0  # seconds


class Layer2Link:
    """The L2 link of a parent interface. The socket opens at ``open()`` or when first sending."""

    def __init__(
        self,
        parent: str,
        *,
        wants: Wants,
        deliver: Deliver,
        src_mac_container: bool = False,
        log_packets: bool = False,
    ) -> None:
        self.name = parent
        self._packet_log = PacketLog(self.name) if log_packets else None
        self._wants = wants
        self._deliver = deliver
        self._src_mac_container = src_mac_container
        self._socket: socket.socket | None = None
        self._reader: SocketReader | None = None
        self._hearing = Hearing()
        self._mac, self._mac_until = b"", 0.0
        self._server_macs: dict[IPv4Address, bytes] = {}
        self._unheard = UnheardServers(parent, send=self._send_unheard)

    def __repr__(self) -> str:
        state = "open" if self._socket else "closed"
        return f"<Layer2Link {self.name} {state}, {len(self._server_macs)} servers heard>"

    def open(self) -> None:
        """Start to listen; needs a running event loop. Raises LinkDown."""
        self._opened()

    def close(self) -> None:
        """Let go of the socket; sending opens another. What waits for its server goes to all."""
        self._unheard.close()
        self._let_go()

    def _let_go(self) -> None:
        if self._reader is not None:
            self._reader.close()
            self._reader = None
        if self._socket is not None:
            self._socket.close()
            self._socket = None
            self._mac_until = 0.0

    def follow(self) -> None:
        """The name may be another interface's now: let go of a socket that is not on that."""
        if self._socket is None:
            return
        try:
            mac_of(self._socket, self.name)
        except OSError:
            self.close()

    @property
    def silence(self) -> str:
        """See ``Link``."""
        return str(self._hearing)

    def broadcast(self, message: Message) -> None:
        """Send to all servers on the segment. Raises LinkDown."""
        self._hearing.open_anew_if_silent(self)
        self._unheard.hurry(message.chaddr)
        self._broadcast(message)

    def _broadcast(self, message: Message) -> None:
        payload = encode(message)
        packet = request_packet(payload, source=NO_ADDRESS, to=_EVERYBODY)
        self._send(BROADCAST_MAC, message, packet)
        if message.type in AWAITED:
            self._hearing.asked()
        if self._packet_log is not None:
            self._packet_log.sent(message, to=_EVERYBODY, length=len(payload))

    def unicast(self, message: Message, server: IPv4Address) -> None:
        """Send to one server, from the message's ciaddr. Raises LinkDown.

        It goes out by the socket that DISCOVERs go out by, and ahead of them: the kernel's UDP goes
        by the host's routes, which may lead elsewhere. A server whose MAC is unknown is asked for
        it by ARP; where it does not answer, all hear the message.
        """
        mac = self._server_macs.get(server)
        if mac is not None:
            self._send_to(mac, message, server)
            return
        try:
            self._unheard.listen()
            self._put(lambda sock: probe_frame(server, sender=self._own_mac(sock)))
        except OSError as error:
            raise self._down(error, f"send {message.type.name} to {server}") from error
        self._unheard.add(message, server)

    def _send_to(self, mac: bytes, message: Message, server: IPv4Address) -> None:
        payload = encode(message)
        self._send(mac, message, request_packet(payload, source=message.ciaddr, to=server))
        if self._packet_log is not None:
            self._packet_log.sent(message, to=server, length=len(payload))

    def _send_unheard(self, message: Message, server: IPv4Address, mac: bytes | None) -> None:
        """Nobody waits who could be told that the link is down."""
        try:
            if mac is not None:
                self._send_to(mac, message, server)
            else:
                # RFC 1122, 3.3.6: a frame to all with one host's IP address may be discarded.
                self._broadcast(message)
        except LinkDown as error:
            log.dhcp_message_unsent(
                link=self.name,
                message=message.type.name,
                server=str(server),
                error=str(error),
            )

    def mac_of(self, server: IPv4Address) -> MacAddress | None:
        """The Ethernet source of its last answer that was accepted; it may be a relay's."""
        mac = self._server_macs.get(server)
        return MacAddress(mac) if mac is not None else None

    def _send(self, to: bytes, message: Message, packet: bytes) -> None:
        def frame(sock: socket.socket) -> bytes:
            source = message.chaddr if self._src_mac_container else self._own_mac(sock)
            return ethernet(to=to, source=source, packet=packet)

        try:
            self._put(frame)
        except OSError as error:
            raise self._down(error, f"send {message.type.name}") from error

    def _put(self, frame: Callable[[socket.socket], bytes]) -> None:
        """Send a frame, whose source the socket knows. Raises OSError, LinkDown."""
        try:
            self._transmit(frame)
        except OSError as error:
            # The kernel tells of a flap that is over by the next call, which it does not do.
            if error.errno not in {*GONE, errno.ENETDOWN}:
                raise
            if error.errno in GONE:
                self._let_go()
            self._transmit(frame)

    def _transmit(self, frame: Callable[[socket.socket], bytes]) -> None:
        sock = self._opened()
        self._own_mac(sock)  # asked in any case: it tells whether the name is another's now
        sock.send(frame(sock))

    def _own_mac(self, sock: socket.socket) -> bytes:
        """The parent's, which somebody may change; to ask the kernel waits for its other users."""
        now = time.monotonic()
        if now >= self._mac_until:
            self._mac, self._mac_until = mac_of(sock, self.name), now + _MAC_FRESH
        return self._mac

    def _opened(self) -> socket.socket:
        if self._socket is None:
            try:
                # Servers that ignore the broadcast flag answer to the container's MAC.
                self._socket = open_tap(
                    self.name, udp_filter(CLIENT_PORT, ip_at=ETHERNET), promiscuous=True
                )
                tell_checksums(self._socket)
            except OSError as error:
                raise self._down(error, "open a packet socket") from error
            self._reader = SocketReader(
                self._socket, read=self._read, failed=self._read_failed, receive=_receive
            )
            self._reader.open()
        return self._socket

    def _read(self, frames: list[bytes]) -> None:
        if frames:
            self._hearing.heard()
        for frame in frames:
            with its_own(f"a frame on {self.name}"):
                self._take(frame)

    def _take(self, frame: bytes) -> None:
        packet = frame[ETHERNET:]
        payload = udp_payload(packet)
        if payload is None:
            return
        source = frame[SOURCE_ADDRESS]
        message = read_wanted(payload, wants=self._wants, link=self.name, source=source)
        if message is None:
            return
        if not checksum_holds(packet):
            reason = "its UDP checksum is wrong"
            message = Unreadable(
                xid=message.xid, chaddr=message.chaddr, reason=reason, source=message.source
            )
        if isinstance(message, Unreadable):
            self._deliver(message)
            return
        if self._packet_log is not None:
            self._packet_log.received(message, length=len(payload))
        if self._deliver(message) and message.server_id is not None:
            self._learn(message.server_id, frame[SOURCE_MAC])

    def _learn(self, server: IPv4Address, mac: bytes) -> None:
        if server not in self._server_macs and len(self._server_macs) >= _MOST_SERVERS:
            del self._server_macs[next(iter(self._server_macs))]
        self._server_macs[server] = mac

    def _read_failed(self, error: OSError) -> None:
        """Down is not the end: the kernel goes on when the interface comes up again."""
        log.dhcp_link_down(link=self.name, error=str(error))
        if error.errno != errno.ENETDOWN:
            self.close()

    def _down(self, error: OSError, action: str) -> LinkDown:
        return link_down(error, link=self.name, action=action, advice=advice(self.name))


def _receive(sock: socket.socket) -> bytes:
    frame, has_checksum = receive_with_status(sock)
    return frame if has_checksum or len(frame) <= ETHERNET else without_checksum(frame)
