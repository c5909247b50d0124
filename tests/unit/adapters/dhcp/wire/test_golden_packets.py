"""What goes over the wire on each occasion, byte for byte, and why each byte stands there.

Servers ignore, without a word, a message with a field too many or too few (RFC 2131 table 5): a
change here is a change for every server there is. Written by hand from the RFCs.
"""

from ipaddress import IPv4Address

import pytest

from d4d.adapters.dhcp.wire.codec import build, decode, encode
from d4d.domain.addressing import MacAddress
from d4d.domain.dhcp.messages import (
    Identity,
    Message,
    decline,
    discover,
    release,
    request_rebooting,
    request_renewing,
    request_selecting,
)

XID = 0x3903F326
OURS, SERVER = IPv4Address("192.168.59.10"), IPv4Address("192.168.59.203")
CONTAINER = Identity(
    chaddr=MacAddress.parse("02:42:c0:a8:3b:0a"), client_id=b"\x00d4d-1", hostname="web-1"
)

PREAMBLE = """
    01                  # op: every message of a client is a BOOTREQUEST
    01 06               # Ethernet, 6 bytes
    00                  # hops: a relay agent's
    39 03 f3 26         # xid: what the answer is known by
    00 00               # secs
"""
BROADCAST = """
    80 00               # broadcast flag: a unicast answer would go to the container, not to us
"""
NO_BROADCAST = """
    00 00               # nobody answers a RELEASE or a DECLINE
"""
NO_CIADDR = """
    00 00 00 00         # ciaddr 0: not BOUND, or renewing in the SELECTING form
"""
CIADDR = """
    c0 a8 3b 0a         # ciaddr: the address that we have
"""
MIDDLE = """
    00 00 00 00         # yiaddr: the server's to fill in
    00 00 00 00         # siaddr
    00 00 00 00         # giaddr: a relay agent's
    02 42 c0 a8 3b 0a   # chaddr: the container's MAC, not the host's
    10*00               # chaddr's padding
    192*00              # sname and file: no boot server is asked for
    63 82 53 63         # the magic cookie: options follow
"""
CLIENT_ID = """
    3d 06 00 64 34 64 2d 31     # 61: always or never, else dhcpd makes a second lease
"""
REQUESTED = """
    32 04 c0 a8 3b 0a           # 50: this address
"""
SERVER_ID = """
    36 04 c0 a8 3b cb           # 54: this server and no other
"""
ASKED = """
    0c 05 77 65 62 2d 31        # 12: shows in every server's lease database
    37 0e                       # 55: what we want to be told, 121 before 3 and 33 (RFC 3442)
    01 79 03 06 0c 0f 1a 1c 21 2a 33 36 3a 3b
"""
END = """
    ff
"""

GOLDEN: dict[str, tuple[Message, str]] = {
    "discover": (
        discover(CONTAINER, XID),
        PREAMBLE + BROADCAST + NO_CIADDR + MIDDLE + "35 01 01" + CLIENT_ID + ASKED + END,
    ),
    "discover, asking for an address": (
        discover(CONTAINER, XID, requested=OURS),
        PREAMBLE
        + BROADCAST
        + NO_CIADDR
        + MIDDLE
        + "35 01 01"
        + CLIENT_ID
        + REQUESTED
        + ASKED
        + END,
    ),
    # 54 tells the other servers that their offers are declined (section 4.3.2).
    "request, selecting": (
        request_selecting(CONTAINER, XID, requested=OURS, server_id=SERVER),
        PREAMBLE
        + BROADCAST
        + NO_CIADDR
        + MIDDLE
        + "35 01 03"
        + CLIENT_ID
        + REQUESTED
        + SERVER_ID
        + ASKED
        + END,
    ),
    # "'server identifier' MUST NOT be filled in, 'requested IP address' MUST be" (section 4.3.2).
    "request, rebooting": (
        request_rebooting(CONTAINER, XID, requested=OURS),
        PREAMBLE
        + BROADCAST
        + NO_CIADDR
        + MIDDLE
        + "35 01 03"
        + CLIENT_ID
        + REQUESTED
        + ASKED
        + END,
    ),
    # "'server identifier' MUST NOT, 'requested IP address' MUST NOT, 'ciaddr' MUST" (the same).
    "request, renewing": (
        request_renewing(CONTAINER, XID, ciaddr=OURS),
        PREAMBLE + BROADCAST + CIADDR + MIDDLE + "35 01 03" + CLIENT_ID + ASKED + END,
    ),
    # Table 5: 50 and 54 MUST, ciaddr and flags 0, 55 MUST NOT.
    "decline": (
        decline(CONTAINER, XID, requested=OURS, server_id=SERVER),
        PREAMBLE
        + NO_BROADCAST
        + NO_CIADDR
        + MIDDLE
        + "35 01 04"
        + CLIENT_ID
        + REQUESTED
        + SERVER_ID
        + END,
    ),
    # Table 5: ciaddr and 54 MUST, 50 and 55 MUST NOT; with ciaddr 0 no server frees anything.
    "release": (
        release(CONTAINER, XID, ciaddr=OURS, server_id=SERVER),
        PREAMBLE + NO_BROADCAST + CIADDR + MIDDLE + "35 01 07" + CLIENT_ID + SERVER_ID + END,
    ),
}


def octets(text: str) -> bytes:
    """``39 03  # comment``; ``10*00`` is ten zero bytes. Padded to BOOTP's 300 bytes."""
    words = " ".join(line.split("#")[0] for line in text.splitlines()).split()
    parts = (word.split("*") if "*" in word else ("1", word) for word in words)
    return b"".join(bytes.fromhex(word) * int(count) for count, word in parts).ljust(300, b"\0")


@pytest.mark.parametrize(("message", "text"), GOLDEN.values(), ids=GOLDEN.keys())
def test_each_occasion_has_its_bytes(message: Message, text: str) -> None:
    assert encode(message).hex(" ") == octets(text).hex(" ")


@pytest.mark.parametrize(("message", "text"), GOLDEN.values(), ids=GOLDEN.keys())
def test_scapy_alone_builds_the_same_bytes(message: Message, text: str) -> None:
    assert build(message).hex(" ") == octets(text).hex(" ")


@pytest.mark.parametrize(("message", "text"), GOLDEN.values(), ids=GOLDEN.keys())
def test_each_occasions_bytes_are_read_as_that_message(message: Message, text: str) -> None:
    assert decode(octets(text)) == message
