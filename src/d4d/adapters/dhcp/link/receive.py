"""The receiving half that both links share: drain a socket, decode what a client waits for."""

import contextlib
import socket

import structlog

from d4d.adapters.dhcp.link.base import Wants
from d4d.adapters.dhcp.wire.codec import Malformed, decode, xid_of
from d4d.domain.dhcp.messages import Message

_log = structlog.get_logger(__name__)

AT_ONCE = 64
"""Packets read in one go: other work of the event loop waits a few milliseconds, not seconds."""
_LONGEST = 0xFFFF
_RECEIVE_BUFFER = 4 << 20
_SO_RCVBUFFORCE = 33  # not in Python's socket module


def enlarge(sock: socket.socket) -> None:
    """Room for a burst of some thousand replies. Raises OSError."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
    # Beyond net.core.rmem_max with CAP_NET_ADMIN only; without it, what there is must do.
    with contextlib.suppress(PermissionError):
        sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _RECEIVE_BUFFER)


def drain(sock: socket.socket) -> tuple[list[bytes], OSError | None]:
    """Up to 64 packets, and the error that ended the reading, if one did.

    Without their senders: Python asks the kernel for the name of each one's interface.
    """
    packets: list[bytes] = []
    try:
        while len(packets) < AT_ONCE:
            packets.append(sock.recv(_LONGEST))
    except BlockingIOError:
        return packets, None
    except OSError as error:
        return packets, error
    return packets, None


def read_wanted(payload: bytes, *, wants: Wants, link: str) -> Message | None:
    """The message, if a client waits for its xid and it can be read; else None."""
    try:
        xid = xid_of(payload)
    except Malformed as error:
        _log.debug("dhcp_packet_dropped", link=link, error=str(error))
        return None
    if not wants(xid):
        return None
    try:
        return decode(payload)
    except Malformed as error:
        _log.warning("dhcp_reply_unreadable", link=link, xid=f"{xid:08x}", error=str(error))
        return None
