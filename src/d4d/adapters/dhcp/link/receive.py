"""The receiving half that both links share: what a client waits for is decoded."""

import time
from ipaddress import IPv4Address

from d4d.adapters.dhcp.link.base import Wants
from d4d.adapters.dhcp.wire.codec import Malformed, chaddr_of, decode, xid_of
from d4d.adapters.observability.seldom import Seldom
from d4d.domain.dhcp.messages import Message, Unreadable
from d4d.service_layer import log_messages as log

_MOST_UNREADABLE = 16
_seldom = Seldom(at_most=_MOST_UNREADABLE)
"""What is told of unreadable replies: anybody on the wire can send them by the thousand."""


def read_wanted(
    payload: bytes, *, wants: Wants, link: str, source: bytes | None
) -> Message | Unreadable | None:
    """What came from the IPv4 address ``source``, if a client waits for its xid; else None."""
    try:
        xid = xid_of(payload)
    except Malformed as error:
        log.dhcp_packet_dropped(link=link, error=str(error))
        return None
    if not wants(xid):
        return None
    came_from = IPv4Address(source) if source is not None else None
    try:
        return decode(payload, source=came_from)
    except Malformed as error:
        if _seldom.may_tell((link, str(error)), time.monotonic()):
            log.dhcp_reply_unreadable(
                link=link,
                xid=f"{xid:08x}",
                error=str(error),
                untold=_seldom.untold(),
            )
        return Unreadable(xid=xid, chaddr=chaddr_of(payload), reason=str(error), source=came_from)
