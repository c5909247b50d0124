"""What comes in and can't be read."""

import structlog

from d4d.adapters.dhcp.link.receive import read_wanted
from d4d.adapters.dhcp.wire.codec import encode
from d4d.domain.addressing import MacAddress
from d4d.domain.dhcp.messages import Message, MessageType

CHADDR = MacAddress.parse("02:42:0a:4d:10:01")
GOOD = encode(Message(type=MessageType.OFFER, xid=7, chaddr=CHADDR))
BAD = [GOOD[:236] + number.to_bytes(4, "big") + bytes(64) for number in range(5000)]


def test_a_flood_of_unreadable_replies_is_a_few_lines() -> None:
    structlog.reset_defaults()
    with structlog.testing.capture_logs() as lines:
        for payload in BAD:
            assert read_wanted(payload, wants=lambda _: True, link="flooded") is None
    told = [line for line in lines if line["event"] == "dhcp_reply_unreadable"]
    assert 1 <= len(told) <= 16
    assert read_wanted(GOOD, wants=lambda _: True, link="flooded") is not None
