"""What an L2 link believes, and whom."""

from ipaddress import IPv4Address

import pytest

from d4d.adapters.dhcp.link.layer2 import Layer2Link
from d4d.adapters.dhcp.link.udp_frame import ethernet, request_packet
from d4d.adapters.dhcp.wire.codec import encode
from d4d.domain.addressing import MacAddress
from d4d.domain.dhcp.messages import Message, MessageType, Unreadable

SERVER = IPv4Address("10.77.0.1")
STRANGER = MacAddress.parse("66:66:66:66:66:66")
REPLY = Message(
    type=MessageType.ACK,
    xid=7,
    chaddr=MacAddress.parse("02:42:0a:4d:10:01"),
    server_id=SERVER,
)


def frame(payload: bytes) -> bytes:
    packet = request_packet(payload, source=SERVER, to=IPv4Address("255.255.255.255"))
    return ethernet(to=b"\xff" * 6, source=STRANGER, packet=packet)


@pytest.mark.parametrize("is_accepted", [True, False])
def test_the_servers_mac_is_learnt_from_what_a_client_accepted_alone(is_accepted: bool) -> None:
    """A RELEASE goes to that MAC: whoever reads an xid could have it."""
    heard: list[Message | Unreadable] = []

    def deliver(message: Message | Unreadable) -> bool:
        heard.append(message)
        return is_accepted

    link = Layer2Link("eth0", wants=lambda xid: xid == 7, deliver=deliver)
    link._take(frame(encode(REPLY)))
    (message,) = heard
    assert isinstance(message, Message)
    assert message.source == SERVER
    assert link.mac_of(SERVER) == (STRANGER if is_accepted else None)


def test_a_reply_that_cannot_be_read_is_told_with_its_source() -> None:
    heard: list[Message | Unreadable] = []

    def deliver(message: Message | Unreadable) -> bool:
        heard.append(message)
        return False

    link = Layer2Link("eth0", wants=lambda xid: xid == 7, deliver=deliver)
    payload = bytearray(encode(REPLY))
    payload[236] ^= 1  # the magic cookie's
    link._take(frame(bytes(payload)))
    (unreadable,) = heard
    assert isinstance(unreadable, Unreadable)
    assert (unreadable.chaddr, unreadable.source) == (REPLY.chaddr, SERVER)
    assert "magic cookie" in unreadable.reason
