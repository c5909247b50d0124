"""DHCP as a relay agent (RFC 1542, RFC 2131 section 4.1): UDP to servers off the link.

Servers answer to port 67 of giaddr, which is this host's address. Where another program owns that
port we send from any other, and read the answers below UDP.
"""

import errno
import socket
from ipaddress import IPv4Address

from d4d.adapters.dhcp.link.base import Deliver, Wants
from d4d.adapters.dhcp.link.hearing import Hearing
from d4d.adapters.dhcp.link.receive import read_wanted
from d4d.adapters.dhcp.link.udp_frame import SERVER_PORT, udp_payload
from d4d.adapters.dhcp.wire.codec import encode
from d4d.adapters.dhcp.wire.message_log import PacketLog
from d4d.adapters.network.bpf import attach, udp_filter
from d4d.adapters.network.socket_errors import link_down
from d4d.adapters.network.socket_reading import SocketReader, drain, enlarge
from d4d.domain.addressing import MacAddress
from d4d.domain.dhcp.messages import AWAITED, Message
from d4d.domain.errors import LinkDown
from d4d.service_layer import log_messages as log
from d4d.service_layer.concurrency.supervised_task import its_own

_IPV4_PROTOCOL = 0x0800  # ETH_P_IP: a packet to this host's own address is no macvlan's to steal
_ONE_HOP = 1


class RelayLink:
    """The way to servers behind a router. The sockets open at ``open()`` or when first sending."""

    def __init__(
        self,
        servers: tuple[IPv4Address, ...],
        *,
        giaddr: IPv4Address,
        link_selection: IPv4Address | None = None,
        wants: Wants,
        deliver: Deliver,
        log_packets: bool = False,
    ) -> None:
        """``giaddr`` is this host's; ``link_selection`` says the subnet, where it is not in it."""
        self.name = f"{giaddr} -> {', '.join(map(str, servers))}"
        self._packet_log = PacketLog(self.name) if log_packets else None
        self._servers = servers
        self._giaddr = giaddr
        self._link_selection = link_selection
        self._wants = wants
        self._deliver = deliver
        self._socket: socket.socket | None = None
        self._sniffer: socket.socket | None = None
        self._reader: SocketReader | None = None
        self._hearing = Hearing()

    def __repr__(self) -> str:
        state = "sniffing" if self._sniffer else "open" if self._socket else "closed"
        return f"<RelayLink {self.name} {state}>"

    def open(self) -> None:
        """Start to listen; needs a running event loop. Raises LinkDown."""
        self._opened()

    def close(self) -> None:
        """Let go of the sockets; sending opens others."""
        if self._reader is not None:
            self._reader.close()
            self._reader = None
        for sock in (self._socket, self._sniffer):
            if sock is not None:
                sock.close()
        self._socket = self._sniffer = None

    @property
    def silence(self) -> str:
        """See ``Link``."""
        return str(self._hearing)

    def broadcast(self, message: Message) -> None:
        """Send to each server. Raises LinkDown if it could be sent to none of them."""
        failures: list[LinkDown] = []
        for server in self._servers:
            try:
                self._send_to(server, message)
            except LinkDown as error:
                log.dhcp_relay_failed(link=self.name, server=str(server), error=str(error))
                failures.append(error)
        if len(failures) == len(self._servers):
            raise failures[0]

    def unicast(self, message: Message, server: IPv4Address) -> None:
        """Send to one server, or to all where it is none of ours by that name. Raises LinkDown.

        Behind NAT, a shared address or a container's port a server calls itself by an address that
        is not reached.
        """
        if server in self._servers:
            self._send_to(server, message)
        else:
            self.broadcast(message)

    def _send_to(self, server: IPv4Address, message: Message) -> None:
        self._hearing.open_anew_if_silent(self)
        relayed = message._replace(giaddr=self._giaddr, link_selection=self._link_selection)
        payload = encode(relayed, hops=_ONE_HOP)
        sock = self._opened()
        try:
            sock.sendto(payload, (str(server), SERVER_PORT))
        except OSError as error:
            raise self._down(error, f"send {message.type.name} to {server}") from error
        if message.type in AWAITED:
            self._hearing.asked()
        if self._packet_log is not None:
            self._packet_log.sent(relayed, to=server, length=len(payload))

    def mac_of(self, server: IPv4Address) -> MacAddress | None:
        """Nobody's: UDP hides it."""
        return None

    def _opened(self) -> socket.socket:
        if self._socket is None:
            try:
                return self._open()
            except OSError as error:
                self.close()
                raise self._down(error, "open a socket for the servers' answers") from error
        return self._socket

    def _open(self) -> socket.socket:
        self._socket = sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.setblocking(False)
        enlarge(sock)
        try:
            # Without SO_REUSEADDR: with it the last to bind an address takes all its packets, be
            # the first another program's or another link's of ours.
            sock.bind((str(self._giaddr), SERVER_PORT))
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            sock.bind((str(self._giaddr), 0))
            self._sniffer = _open_sniffer(self._giaddr)
            self._reader = SocketReader(self._sniffer, read=self._sniff, failed=self._read_failed)
        else:
            self._reader = SocketReader(sock, read=self._read, failed=self._read_failed)
        self._reader.open()
        return sock

    def _read(self, payloads: list[bytes]) -> None:
        if payloads:
            self._hearing.heard()
        for payload in payloads:
            with its_own(f"a packet on {self.name}"):
                self._take(payload)

    def _sniff(self, packets: list[bytes]) -> None:
        self._read([each for each in map(udp_payload, packets) if each is not None])

    def _take(self, payload: bytes) -> None:
        message = read_wanted(payload, wants=self._wants, link=self.name, source=None)
        if message is None:
            return
        if isinstance(message, Message) and self._packet_log is not None:
            self._packet_log.received(message, length=len(payload))
        self._deliver(message)

    def _read_failed(self, error: OSError) -> None:
        log.dhcp_link_down(link=self.name, error=str(error))
        if error.errno != errno.ENETDOWN:
            self.close()

    def _down(self, error: OSError, action: str) -> LinkDown:
        return link_down(error, link=self.name, action=action, advice=_advice(self._giaddr))


def _open_sniffer(giaddr: IPv4Address) -> socket.socket:
    """On all interfaces, which Python can't bind to: so the protocol is there from the start."""
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(_IPV4_PROTOCOL))
    try:
        sock.setblocking(False)
        enlarge(sock)
        attach(sock, udp_filter(SERVER_PORT, ip_at=0, destination=giaddr))
        _forget_unfiltered(sock)
    except OSError:
        sock.close()
        raise
    return sock


def _forget_unfiltered(sock: socket.socket) -> None:
    """Throw away what came in before the filter: nothing was asked yet, so no answer is lost."""
    packets, error = drain(sock)
    while packets and error is None:
        packets, error = drain(sock)


def _advice(giaddr: IPv4Address) -> dict[int, str]:
    foreign = f"{giaddr} is no address of this host (now): see `ip addr`; set D4D_LISTEN_ADDR"
    return {errno.EADDRNOTAVAIL: foreign, errno.EINVAL: foreign}
