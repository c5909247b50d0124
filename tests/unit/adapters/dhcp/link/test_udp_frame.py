"""IPv4 and UDP around the payload."""

import socket
import struct
from ipaddress import IPv4Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from d4d.adapters.dhcp.link.udp_frame import (
    checksum_holds,
    ethernet,
    request_packet,
    udp_payload,
    without_checksum,
)

SOURCE, TO = IPv4Address("192.168.59.10"), IPv4Address("192.168.59.203")


def ones_sum(octets: bytes) -> int:
    """RFC 1071's sum, end-around carry at each step: 0xffff where a checksum is right."""
    total = 0
    for (word,) in struct.iter_unpack("!H", octets.ljust(len(octets) + len(octets) % 2, b"\0")):
        total += word
        total = (total & 0xFFFF) + (total >> 16)
    return total


@given(st.binary(max_size=400))
def test_both_checksums_are_right(payload: bytes) -> None:
    packet = request_packet(payload, source=SOURCE, to=TO)
    pseudo = SOURCE.packed + TO.packed + struct.pack("!HH", 17, len(packet) - 20)
    assert ones_sum(packet[:20]) == 0xFFFF
    assert ones_sum(pseudo + packet[20:]) == 0xFFFF
    assert packet[26:28] != b"\0\0"


@given(st.binary(min_size=1, max_size=400), st.data())
def test_a_checksum_does_not_hold_where_a_bit_is_wrong(payload: bytes, data: st.DataObject) -> None:
    packet = bytearray(request_packet(payload, source=SOURCE, to=TO))
    assert checksum_holds(bytes(packet))
    assert checksum_holds(bytes(packet) + b"padding")
    bit = data.draw(st.integers(8 * 28, 8 * len(packet) - 1))
    packet[bit // 8] ^= 1 << bit % 8
    assert not checksum_holds(bytes(packet))
    frame = without_checksum(ethernet(to=b"\1" * 6, source=b"\2" * 6, packet=bytes(packet)))
    assert checksum_holds(frame[14:]), "it has none"
    assert udp_payload(frame[14:]) == bytes(packet[28:])


def test_a_request_goes_from_the_clients_port_to_the_servers() -> None:
    packet = request_packet(b"payload", source=SOURCE, to=TO)
    assert packet[9] == socket.IPPROTO_UDP
    assert (packet[12:16], packet[16:20]) == (SOURCE.packed, TO.packed)
    assert struct.unpack("!HHH", packet[20:26]) == (68, 67, 15)


def test_an_ethernet_frame_names_ipv4() -> None:
    frame = ethernet(to=b"\xff" * 6, source=b"\x02" * 6, packet=b"packet")
    assert frame == b"\xff" * 6 + b"\x02" * 6 + b"\x08\x00packet"


@given(st.binary(max_size=400), st.binary(max_size=30))
def test_the_padding_behind_a_packet_is_no_payload(payload: bytes, padding: bytes) -> None:
    packet = request_packet(payload, source=SOURCE, to=TO)
    assert udp_payload(packet + padding) == payload


def test_ip_options_are_passed_over() -> None:
    packet = bytearray(request_packet(b"payload", source=SOURCE, to=TO))
    packet[20:20] = b"\x01" * 4
    packet[0] = 0x46
    packet[2:4] = len(packet).to_bytes(2, "big")
    assert udp_payload(bytes(packet)) == b"payload"


@given(st.data())
def test_a_packet_cut_short_has_no_payload(data: st.DataObject) -> None:
    packet = request_packet(b"payload", source=SOURCE, to=TO)
    assert udp_payload(packet[: data.draw(st.integers(0, len(packet) - 1))]) is None


@pytest.mark.parametrize(
    ("at", "octet"), [(0, 0x44), (3, 27), (25, 7), (25, 16)], ids=["header", "total", "low", "high"]
)
def test_lengths_that_contradict_each_other_have_no_payload(at: int, octet: int) -> None:
    packet = bytearray(request_packet(b"payload", source=SOURCE, to=TO))
    packet[at] = octet
    assert udp_payload(bytes(packet)) is None


@given(st.binary(max_size=80))
def test_random_bytes_raise_nothing(packet: bytes) -> None:
    payload = udp_payload(packet)
    assert payload is None or len(payload) <= len(packet) - 28
