"""What comes in and can't be read."""

from ipaddress import IPv4Address

import structlog

from d4d.adapters.dhcp.link.receive import read_wanted
from d4d.adapters.dhcp.wire.codec import encode
from d4d.domain.addressing import MacAddress
from d4d.domain.dhcp.messages import Message, MessageType, Unreadable

SERVER = IPv4Address("10.77.0.1")
CHADDR = MacAddress.parse("02:42:0a:4d:10:01")
GOOD = encode(Message(type=MessageType.OFFER, xid=7, chaddr=CHADDR))
BAD = [GOOD[:236] + number.to_bytes(4, "big") + bytes(64) for number in range(5000)]


def test_a_flood_of_unreadable_replies_is_a_few_lines() -> None:
    structlog.reset_defaults()
    with structlog.testing.capture_logs() as lines:
        for payload in BAD:
            read = read_wanted(payload, wants=lambda _: True, link="flooded", source=SERVER.packed)
            assert isinstance(read, Unreadable)
            assert (read.xid, read.chaddr, read.source) == (7, CHADDR, SERVER)
            assert "magic cookie" in read.reason
    told = [line for line in lines if line["event"] == "dhcp_reply_unreadable"]
    assert 1 <= len(told) <= 16
    read = read_wanted(GOOD, wants=lambda _: True, link="flooded", source=SERVER.packed)
    assert isinstance(read, Message)
    assert read.source == SERVER
    assert read_wanted(BAD[0], wants=lambda _: False, link="flooded", source=SERVER.packed) is None
