"""The fields and options of each message: RFC 2131, table 5 and section 4.3.6's table 4."""

import pytest

from d4d.domain.dhcp import messages
from d4d.domain.dhcp.messages import NO_ADDRESS, PARAMETERS, Identity, Message, MessageType
from tests.support.client_harness import ADDRESS, IDENTITY, MAC, OURS

XID = 0x12345678


def said(message: Message) -> dict[str, object]:
    """The fields that say something, beside those of every message."""
    empty = Message(type=message.type, xid=message.xid, chaddr=message.chaddr)._asdict()
    return {name: value for name, value in message._asdict().items() if value != empty[name]}


WHOSE = {"client_id": IDENTITY.client_id}
ASKING = {**WHOSE, "hostname": "web", "parameters": PARAMETERS}
SILENT = {**WHOSE, "broadcast": False}
DISCOVER = messages.discover(IDENTITY, XID)
DISCOVER_AGAIN = messages.discover(IDENTITY, XID, requested=ADDRESS)
SELECTING = messages.request_selecting(IDENTITY, XID, requested=ADDRESS, server_id=OURS)
REBOOTING = messages.request_rebooting(IDENTITY, XID, requested=ADDRESS)
RENEWING = messages.request_renewing(IDENTITY, XID, ciaddr=ADDRESS)
DECLINE = messages.decline(IDENTITY, XID, requested=ADDRESS, server_id=OURS)
RELEASE = messages.release(IDENTITY, XID, ciaddr=ADDRESS, server_id=OURS)


@pytest.mark.parametrize(
    ("message", "type_", "parts"),
    [
        (DISCOVER, MessageType.DISCOVER, ASKING),
        (DISCOVER_AGAIN, MessageType.DISCOVER, {**ASKING, "requested": ADDRESS}),
        (SELECTING, MessageType.REQUEST, {**ASKING, "requested": ADDRESS, "server_id": OURS}),
        (REBOOTING, MessageType.REQUEST, {**ASKING, "requested": ADDRESS}),
        (RENEWING, MessageType.REQUEST, {**ASKING, "ciaddr": ADDRESS}),
        (DECLINE, MessageType.DECLINE, {**SILENT, "requested": ADDRESS, "server_id": OURS}),
        (RELEASE, MessageType.RELEASE, {**SILENT, "ciaddr": ADDRESS, "server_id": OURS}),
    ],
)
def test_a_message_has_the_parts_of_its_occasion_and_no_other(
    message: Message, type_: MessageType, parts: dict[str, object]
) -> None:
    assert message.type is type_
    assert (message.xid, message.chaddr) == (XID, MAC)
    assert said(message) == parts


@pytest.mark.parametrize("message", [DISCOVER, SELECTING, REBOOTING, RENEWING])
def test_who_awaits_an_answer_asks_for_a_broadcast(message: Message) -> None:
    assert message.broadcast


def test_an_identity_without_a_client_id_says_none_anywhere() -> None:
    bare = Identity(chaddr=MAC)
    assert messages.discover(bare, XID).client_id is None
    assert messages.request_renewing(bare, XID, ciaddr=ADDRESS).client_id is None
    released = messages.release(bare, XID, ciaddr=ADDRESS, server_id=OURS)
    assert released.client_id is None


def test_classless_routes_are_asked_for_before_routers_and_static_routes() -> None:
    # RFC 3442, "DHCP Client Behavior"
    assert PARAMETERS.index(121) < min(PARAMETERS.index(3), PARAMETERS.index(33))


def test_the_lease_and_its_times_are_asked_for() -> None:
    assert {1, 3, 51, 54, 58, 59} <= set(PARAMETERS)
    assert len(set(PARAMETERS)) == len(PARAMETERS)


def test_no_address_is_all_zeros() -> None:
    assert str(NO_ADDRESS) == "0.0.0.0"
