"""The codec: there and back, and what servers get wrong."""

import struct
from collections.abc import Callable
from datetime import timedelta
from ipaddress import IPv4Address, IPv4Network

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from d4d.adapters.dhcp.wire.codec import (
    Malformed,
    build,
    decode,
    dissect,
    encode,
    scapy_layers,
    xid_of,
)
from d4d.adapters.dhcp.wire.option_fields import HEADER
from d4d.domain.addressing import MacAddress
from d4d.domain.dhcp.messages import (
    INFINITE,
    Identity,
    Message,
    MessageType,
    discover,
    request_selecting,
)

scapy_layers()  # its import would be the first test's time

MAC = MacAddress.parse("02:42:c0:a8:3b:0a")
XID = 0x3903F326
COOKIE = b"\x63\x82\x53\x63"
OFFER = b"\x35\x01\x02"
END = b"\xff"

addresses = st.integers(1, 2**32 - 1).map(IPv4Address)
any_addresses = st.integers(0, 2**32 - 1).map(IPv4Address)
durations = st.integers(0, 2**32 - 2).map(lambda s: timedelta(seconds=s)) | st.just(INFINITE)
texts = st.text(st.characters(min_codepoint=0, max_codepoint=255), min_size=1, max_size=255).filter(
    lambda text: not text.endswith("\0")
)
networks = st.tuples(any_addresses, st.integers(0, 32)).map(
    lambda pair: IPv4Network(pair, strict=False)
)
lists = st.lists(any_addresses, max_size=63).map(tuple)
messages = st.builds(
    Message,
    source=st.none(),
    type=st.sampled_from(MessageType),
    xid=st.integers(0, 2**32 - 1),
    chaddr=st.binary(min_size=6, max_size=6).map(MacAddress),
    secs=st.integers(0, 0xFFFF),
    broadcast=st.booleans(),
    ciaddr=any_addresses,
    yiaddr=any_addresses,
    siaddr=any_addresses,
    giaddr=any_addresses,
    requested=st.none() | addresses,
    server_id=st.none() | addresses,
    client_id=st.none() | st.binary(min_size=1, max_size=255),
    hostname=st.none() | texts,
    parameters=st.lists(st.integers(0, 255), max_size=255).map(tuple),
    link_selection=st.none() | addresses,
    lease_time=st.none() | durations,
    renewal_time=st.none() | durations,
    rebinding_time=st.none() | durations,
    subnet_mask=st.none() | st.integers(1, 32).map(lambda n: IPv4Network((0, n)).netmask),
    routers=lists,
    dns_servers=lists,
    ntp_servers=lists,
    domain=st.none() | texts,
    mtu=st.none() | st.integers(68, 0xFFFF),
    static_routes=st.lists(st.tuples(networks, any_addresses), max_size=28).map(tuple),
    text=st.none() | texts,
)


def reply(options: bytes, *, sname: bytes = b"", file: bytes = b"") -> bytes:
    """A hand-made BOOTREPLY that offers 192.168.59.10."""
    head = struct.pack("!4BIHH", 2, 1, 6, 0, XID, 0, 0x8000)
    addresses_ = b"\0" * 4 + IPv4Address("192.168.59.10").packed + b"\0" * 8
    fixed = head + addresses_ + MAC.ljust(16, b"\0") + sname.ljust(64, b"\0")
    return fixed + file.ljust(128, b"\0") + COOKIE + options


def option(code: int, value: bytes) -> bytes:
    return bytes([code, len(value)]) + value


def packed(*texts_: str) -> bytes:
    return b"".join(IPv4Address(text).packed for text in texts_)


@given(messages)
def test_a_message_comes_back_as_it_went(message: Message) -> None:
    assert decode(encode(message)) == message


@given(messages)
def test_patched_bytes_are_those_that_scapy_would_have_built(message: Message) -> None:
    assume(not scapy_takes_for_text(message.chaddr))
    encode(message)  # its shape is remembered now
    assert encode(message, hops=3) == build(message, hops=3)


def scapy_takes_for_text(mac: MacAddress) -> bool:
    """Whether scapy (2.8, not 2.6) reads the six bytes as a number in hex, and sends that."""
    try:
        int(bytes(mac), 16)
    except ValueError:
        return b":" in bytes(mac)
    return True


@pytest.mark.parametrize("mac", [b"\t\t 000", b"0:0:00", b"0_0000"])
def test_a_mac_that_scapy_takes_for_text_is_sent_as_it_is(mac: bytes) -> None:
    message = Message(type=MessageType.DISCOVER, xid=XID, chaddr=MacAddress(mac))
    assert encode(message)[28:34] == mac


def test_a_time_of_no_seconds_is_sent_and_what_is_empty_is_not() -> None:
    zero = timedelta(0)
    message = Message(type=MessageType.ACK, xid=XID, chaddr=MAC, lease_time=zero, domain="")
    assert encode(message) == build(message)
    assert decode(encode(message)).lease_time == zero
    assert decode(encode(message)).domain is None


@given(messages)
def test_a_message_is_read_as_scapy_reads_it(message: Message) -> None:
    assert decode(encode(message)) == dissect(encode(message))


READ = (1, 3, 6, 12, 15, 26, 33, 42, 50, 51, 53, 54, 55, 56, 58, 59, 61, 82, 121)
any_options = st.lists(st.tuples(st.sampled_from(READ), st.binary(max_size=24)), max_size=6)


@given(any_options, st.integers(0, 2**64 - 1), st.booleans())
def test_what_makes_no_sense_is_read_as_scapy_reads_it(
    odd: list[tuple[int, bytes]], fixed: int, is_typed: bool
) -> None:
    head = reply(b"")[:HEADER]
    head = head[:4] + fixed.to_bytes(8, "big") + head[12:]
    payload = head + (OFFER if is_typed else b"")
    payload += b"".join(option(code, value) for code, value in odd) + END
    assert outcome_of(decode, payload) == outcome_of(dissect, payload)


def outcome_of(read: Callable[[bytes], Message], payload: bytes) -> Message | str:
    try:
        return read(payload)
    except Malformed as error:
        return str(error)


def test_messages_of_one_shape_keep_nothing_of_each_other() -> None:
    def ours(number: int) -> Message:
        identity = Identity(
            chaddr=MacAddress(bytes([2, 0, 0, 0, 0, number])),
            client_id=b"\x00d4d-%d" % number,
            hostname=f"web-{number}",
        )
        address = IPv4Address(number + 1)
        return request_selecting(identity, number, requested=address, server_id=address)

    for number in range(10):
        assert encode(ours(number)) == build(ours(number))
        assert decode(encode(ours(number))) == ours(number)


@given(st.binary(max_size=700))
def test_random_bytes_are_malformed_at_worst(payload: bytes) -> None:
    try_to_decode(payload)


@given(st.binary(max_size=400), st.binary(max_size=64), st.binary(max_size=128))
def test_random_options_are_malformed_at_worst(options: bytes, sname: bytes, file: bytes) -> None:
    assert decode(reply(OFFER + END)).xid == XID
    try_to_decode(reply(OFFER + options, sname=sname, file=file))
    try_to_decode(reply(option(52, b"\3") + options, sname=sname, file=file))


@given(
    st.integers(0, 254),
    st.binary(max_size=40),
    st.sampled_from((1, 3, 12, 26, 33, 51, 61, 82, 121)),
)
def test_a_bad_option_spoils_no_other(wrong: int, value: bytes, code: int) -> None:
    message = decode(
        reply(OFFER + option(code, value) + option(54, packed("192.168.59.203")) + END)
    )
    assert message.server_id == IPv4Address("192.168.59.203")
    assert message.yiaddr == IPv4Address("192.168.59.10")


def try_to_decode(payload: bytes) -> None:
    try:
        message = decode(payload)
    except Malformed as error:
        assert str(error)
    else:
        assert message.xid == xid_of(payload)


@given(messages, st.data())
def test_a_message_that_was_cut_is_malformed_or_has_what_came_before(
    message: Message, data: st.DataObject
) -> None:
    whole = encode(message)
    cut = whole[: data.draw(st.integers(0, len(whole)))]
    try:
        short = decode(cut)
    except Malformed:
        assert len(cut) < 243  # the type is the first option
    else:
        for field in ("requested", "server_id", "client_id", "routers", "mtu"):
            assert getattr(short, field) in (getattr(message, field), None, ())


def test_an_option_that_is_split_is_joined_before_it_is_read() -> None:
    routes = option(121, b"\x08\x0a\xc0\xa8") + OFFER + option(121, b"\x3b\x01\x00")
    message = decode(reply(routes + option(121, packed("192.168.59.2")) + END))
    assert message.static_routes == (
        (IPv4Network("10.0.0.0/8"), IPv4Address("192.168.59.1")),
        (IPv4Network("0.0.0.0/0"), IPv4Address("192.168.59.2")),
    )


@pytest.mark.parametrize(
    ("code", "field", "first", "second", "value"),
    [
        (54, "server_id", packed("10.77.0.1"), packed("10.77.0.9"), IPv4Address("10.77.0.1")),
        (1, "subnet_mask", packed("255.255.0.0"), packed("255.0.0.0"), IPv4Address("255.255.0.0")),
        (51, "lease_time", bytes([0, 0, 14, 16]), bytes([0, 0, 0, 9]), timedelta(hours=1)),
        (58, "renewal_time", bytes([0, 0, 0, 60]), bytes(4), timedelta(minutes=1)),
        (26, "mtu", bytes([5, 220]), bytes([2, 2]), 1500),
        (53, "type", bytes([5]), bytes([6]), MessageType.ACK),
    ],
)
def test_of_an_option_of_one_value_that_is_there_twice_the_first_counts(
    code: int, field: str, first: bytes, second: bytes, value: object
) -> None:
    twice = option(code, first) + option(code, second)
    for options in (twice, option(code, first + second), option(code, first) + option(code, b"")):
        payload = reply(options + (b"" if code == 53 else OFFER) + END)
        assert getattr(decode(payload), field) == value
        assert decode(payload) == dissect(payload)


def test_an_option_of_one_value_may_be_split_too() -> None:
    raw = packed("10.77.0.1")
    payload = reply(OFFER + option(54, raw[:1]) + option(54, raw[1:]) + END)
    assert decode(payload).server_id == IPv4Address("10.77.0.1")


def test_a_joined_option_may_be_longer_than_any_that_is_not_split() -> None:
    many = [f"10.0.{n}.1" for n in range(120)]
    split = option(6, packed(*many[:60])) + option(6, packed(*many[60:]))
    message = decode(reply(OFFER + split + END))
    assert message.dns_servers == tuple(map(IPv4Address, many))


@pytest.mark.parametrize(
    ("overload", "sname", "file", "found"),
    [
        (1, b"\x0f\x01s\xff", b"\x0f\x01f\xff", "f"),
        (2, b"\x0f\x01s\xff", b"\x0f\x01f\xff", "s"),
        (3, b"\x0f\x01s\xff", b"\x0f\x01f\xff", "fs"),
        (3, b"\x0f\x01s\xff", b"\x00\x00\x0f\x01f", "fs"),
        (0, b"\x0f\x01s\xff", b"\x0f\x01f\xff", None),
    ],
    ids=["file", "sname", "file before sname", "file without END", "neither"],
)
def test_overloaded_fields_are_read(
    overload: int, sname: bytes, file: bytes, found: str | None
) -> None:
    options = OFFER + option(52, bytes([overload])) + END
    assert decode(reply(options, sname=sname, file=file)).domain == found


def test_the_message_type_may_stand_in_an_overloaded_field() -> None:
    assert decode(reply(option(52, b"\1") + END, file=OFFER + END)).type is MessageType.OFFER


@pytest.mark.parametrize(
    "options",
    [
        b"\0\0" + OFFER + b"\0" + option(54, packed("192.168.59.203")) + END + b"\0" * 60,
        OFFER + option(54, packed("192.168.59.203")),
        OFFER + option(54, packed("192.168.59.203")) + b"\x03",
        OFFER + option(54, packed("192.168.59.203")) + b"\x03\x08" + packed("192.168.59.1"),
        OFFER + option(54, packed("192.168.59.203")) + END + b"\x03\x04" + packed("192.168.59.1"),
        OFFER + option(222, b"unknown") + option(54, packed("192.168.59.203")) + END,
    ],
    ids=[
        "padded",
        "no END",
        "code alone",
        "last cut short",
        "rubbish behind END",
        "unknown option",
    ],
)
def test_what_can_be_read_is_read(options: bytes) -> None:
    message = decode(reply(options))
    assert message == Message(
        type=MessageType.OFFER,
        xid=XID,
        chaddr=MAC,
        yiaddr=IPv4Address("192.168.59.10"),
        server_id=IPv4Address("192.168.59.203"),
    )


@pytest.mark.parametrize(
    ("code", "value", "field"),
    [
        (1, b"\xff\xff\xff", "subnet_mask"),
        (1, packed("255.0.255.0"), "subnet_mask"),
        (12, b"", "hostname"),
        (12, b"\0\0", "hostname"),
        (26, b"\x05", "mtu"),
        (26, b"\x00\x43", "mtu"),
        (51, b"\x00\x00\x01", "lease_time"),
        (54, packed("0.0.0.0"), "server_id"),
        (54, packed("10.0.0.1")[:3], "server_id"),
        (61, b"", "client_id"),
        (82, b"\x05\x03\x0a\x00\x00", "link_selection"),
        (82, b"\x01\x04\x0a\x00\x00\x01", "link_selection"),
    ],
)
def test_a_value_that_nobody_means_is_left_out(code: int, value: bytes, field: str) -> None:
    assert getattr(decode(reply(OFFER + option(code, value) + END)), field) is None


@pytest.mark.parametrize(
    "value",
    [b"\x21" + b"\x0a" * 9, b"\x08\x0a" + b"\xc0\xa8", b"\xff"],
    ids=["prefix of 33", "router cut short", "no router"],
)
def test_bad_routes_are_left_out(value: bytes) -> None:
    assert decode(reply(OFFER + option(121, value) + END)).static_routes == ()


def test_classful_routes_are_read_where_there_are_no_classless_ones() -> None:
    pairs = ("10.0.0.0", "172.16.0.0", "192.168.7.0", "192.168.7.9", "0.0.0.0")
    classful = option(33, b"".join(packed(to, "192.168.59.1") for to in pairs))
    found = decode(reply(OFFER + classful + END)).static_routes
    nets = ("10.0.0.0/8", "172.16.0.0/16", "192.168.7.0/24", "192.168.7.9/32")
    assert found == tuple((IPv4Network(net), IPv4Address("192.168.59.1")) for net in nets)
    classless = option(121, b"\x08\x0b" + packed("192.168.59.2"))
    for options in (classful + classless, classless + classful):
        found = decode(reply(OFFER + options + END)).static_routes
        assert found == ((IPv4Network("11.0.0.0/8"), IPv4Address("192.168.59.2")),)


def test_texts_lose_the_nuls_that_some_servers_end_them_with() -> None:
    message = decode(reply(OFFER + option(15, b"d4d.test\0\0") + option(56, b"na\xefve\0") + END))
    assert (message.domain, message.text) == ("d4d.test", "naïve")


def test_a_lease_for_ever_is_infinite() -> None:
    assert decode(reply(OFFER + option(51, b"\xff" * 4) + END)).lease_time == INFINITE


@pytest.mark.parametrize(
    ("payload", "why"),
    [
        (b"", "too short"),
        (reply(b"")[:239], "too short"),
        (reply(b""), "no message type"),
        (reply(option(53, b"\x09") + END), "no message type"),
        (reply(option(53, b"") + END), "no message type"),
        (reply(option(53, b"\x01") + END), "neither request nor reply"),
        (b"\x03" + reply(OFFER + END)[1:], "neither request nor reply"),
        (reply(OFFER + END).replace(COOKIE, b"\x63\x82\x53\x64"), "magic cookie"),
        (b"\x02\x20\x14" + reply(OFFER + END)[3:], "not Ethernet"),
    ],
)
def test_what_is_no_dhcp_message_is_malformed(payload: bytes, why: str) -> None:
    with pytest.raises(Malformed, match=why):
        decode(payload)


def test_a_value_too_long_for_its_option_is_refused() -> None:
    with pytest.raises(Malformed, match="hostname has 256 bytes"):
        encode(discover(Identity(chaddr=MAC, hostname="x" * 256), XID))


def test_the_xid_is_read_without_the_rest() -> None:
    assert xid_of(reply(b"")) == XID
    with pytest.raises(Malformed):
        xid_of(b"\2\1\6\0\1\2\3")


def test_every_payload_has_at_least_300_bytes() -> None:
    assert len(encode(discover(Identity(chaddr=MAC), XID))) == 300
