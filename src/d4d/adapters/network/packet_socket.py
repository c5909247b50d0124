"""A packet socket on a parent interface: it hears what a filter lets through."""

import errno
import os
import socket
import struct

from d4d.adapters.network.bpf import attach
from d4d.adapters.network.socket_reading import enlarge
from d4d.domain.addressing import MacAddress

GONE = frozenset({errno.ENXIO, errno.ENODEV})
"""The interface was deleted; one of its name may be there again, with another index."""
_ALL_PROTOCOLS = 0x0003  # ETH_P_ALL
_SOL_PACKET, _ADD_MEMBERSHIP, _AUXDATA, _PROMISCUOUS = 263, 1, 8, 1  # not in Python's module
_STATUS = struct.Struct("I16x")  # struct tpacket_auxdata: what it says of the frame, and more
_CHECKSUM_NOT_READY = 1 << 3  # TP_STATUS_CSUMNOTREADY
_LONGEST = 0xFFFF
_MEMBERSHIP = struct.Struct("iHH8s")  # struct packet_mreq: index, type, address and its length


def open_tap(parent: str, program: bytes, *, promiscuous: bool = False) -> socket.socket:
    """Non-blocking; it hears nothing until its filter is in place. Raises OSError.

    ETH_P_ALL taps stand before macvlan takes a frame away, and hear what its children send. A
    ``promiscuous`` one hears what is sent to MACs that are not the host's, too: a bridge or a real
    card keeps it to itself otherwise. The kernel counts who asks for that; it ends with the socket.
    """
    _check_there(parent)
    # With a protocol from the start it would hear everything before the filter is there.
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    try:
        sock.setblocking(False)
        enlarge(sock)
        attach(sock, program)
        sock.bind((parent, _ALL_PROTOCOLS))
        mac_of(sock, parent)
        if promiscuous:
            index = socket.if_nametoindex(parent)
            membership = _MEMBERSHIP.pack(index, _PROMISCUOUS, 0, b"")
            sock.setsockopt(_SOL_PACKET, _ADD_MEMBERSHIP, membership)
    except OSError:
        sock.close()
        raise
    return sock


def tell_checksums(sock: socket.socket) -> None:
    """Have the kernel say with each frame whether its checksum is there. Raises OSError."""
    sock.setsockopt(_SOL_PACKET, _AUXDATA, 1)


def receive_with_status(sock: socket.socket) -> tuple[bytes, bool]:
    """A frame, and whether its UDP checksum is there. Raises OSError.

    Where sender and receiver are on one machine, as veth ends are, nobody fills it in.
    """
    frame, ancillary, _, _ = sock.recvmsg(_LONGEST, socket.CMSG_SPACE(_STATUS.size))
    for level, kind, said in ancillary:
        if (level, kind) == (_SOL_PACKET, _AUXDATA):
            (status,) = _STATUS.unpack_from(said)
            return frame, not status & _CHECKSUM_NOT_READY
    return frame, False


def _check_there(parent: str) -> None:
    """To close a packet socket takes the kernel some 20 ms, though it never was bound."""
    try:
        socket.if_nametoindex(parent)
    except OSError as error:
        raise OSError(errno.ENODEV, os.strerror(errno.ENODEV)) from error


def mac_of(sock: socket.socket, parent: str) -> MacAddress:
    """The parent's MAC as it is now.

    Raises OSError, by ``GONE``, where the interface has gone, or is not called so any more: a
    socket is bound to an interface, and goes with it when that is renamed.
    """
    name, *_, mac = sock.getsockname()
    if name != parent:
        raise OSError(errno.ENODEV, os.strerror(errno.ENODEV))
    try:
        return MacAddress(mac)
    except ValueError as error:
        raise OSError(errno.ENODEV, "No such device with an Ethernet address") from error


def advice(parent: str) -> dict[int, str]:
    """The operator's next step for what goes wrong with an interface, by errno."""
    absent = f"is {parent} the right parent? See `ip link`; set D4D_PARENT or --ipam-opt parent="
    return {
        errno.ENETDOWN: f"bring it up: `ip link set {parent} up`",
        errno.ENODEV: absent,
        errno.ENXIO: absent,
    }
