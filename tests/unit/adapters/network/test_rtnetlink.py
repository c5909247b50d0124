"""The kernel's messages, byte by byte."""

import struct

import pytest

from d4d.adapters.network.rtnetlink import (
    AddressTold,
    DumpEnded,
    Link,
    LinkGone,
    LinkTold,
    RouteTold,
    read_news,
)
from d4d.domain.addressing import MacAddress

NEWLINK, DELLINK, NEWADDR, DELADDR, NEWROUTE, DONE, ERROR = 16, 17, 20, 21, 24, 3, 2
UNSPEC, INET, BRIDGE = 0, 2, 7
UP, RUNNING, LOWER_UP = 0x1, 0x40, 0x10000
MAC = MacAddress.parse("02:00:00:00:00:0e")
ADDRESS = bytes([10, 77, 0, 9])


def message(kind: int, body: bytes, *, flags: int = 0) -> bytes:
    padding = bytes(-len(body) % 4)
    return struct.pack("=IHHII", 16 + len(body), kind, flags, 0, 0) + body + padding


def attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)


def link(family: int = UNSPEC, flags: int = UP | RUNNING | LOWER_UP) -> bytes:
    head = struct.pack("=BxHiII", family, 1, 7, flags, 0)
    return head + attribute(3, b"eth0\0") + attribute(1, bytes(MAC)) + attribute(99, b"odd")


def address() -> bytes:
    return struct.pack("=BBBBi", INET, 16, 0, 0, 7) + attribute(1, ADDRESS) + attribute(2, ADDRESS)


def route(table: int) -> bytes:
    return struct.pack("=BBBBBBBBI", INET, 0, 0, 0, table, 0, 0, 0, 0)


def test_a_datagram_has_many() -> None:
    datagram = (
        message(NEWLINK, link())
        + message(NEWADDR, address())
        + message(DELADDR, address())
        + message(NEWROUTE, route(254))
        + message(DELLINK, link())
        + message(DONE, bytes(4))
    )
    at = bytes([16]) + ADDRESS
    assert list(read_news(datagram)) == [
        LinkTold(link=Link(index=7, name="eth0", mac=MAC, is_up=True)),
        AddressTold(index=7, address=at, is_there=True),
        AddressTold(index=7, address=at, is_there=False),
        RouteTold(),
        LinkGone(index=7),
        DumpEnded(is_whole=True),
    ]


@pytest.mark.parametrize("flags", [0, UP, UP | LOWER_UP, RUNNING])
def test_up_is_with_a_carrier(flags: int) -> None:
    (told,) = read_news(message(NEWLINK, link(flags=flags)))
    assert isinstance(told, LinkTold)
    assert not told.link.is_up


def test_a_port_that_leaves_its_bridge_lives_on() -> None:
    assert list(read_news(message(DELLINK, link(BRIDGE)) + message(NEWLINK, link(BRIDGE)))) == []


def test_the_routes_to_the_hosts_own_addresses_are_no_news() -> None:
    assert list(read_news(message(NEWROUTE, route(255)))) == []


def test_a_dump_that_was_interrupted_says_so() -> None:
    assert list(read_news(message(DONE, bytes(4), flags=0x10))) == [DumpEnded(is_whole=False)]


@pytest.mark.parametrize("datagram", [message(ERROR, struct.pack("=i", -1)), bytes(16)])
def test_an_error_is_raised(datagram: bytes) -> None:
    with pytest.raises(OSError, match=r"not permitted|Bad message"):
        list(read_news(datagram))
