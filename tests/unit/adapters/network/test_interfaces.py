"""What the kernel says of an interface, as D4D reads it."""

import pytest

from d4d.adapters.network.interfaces import ethernet_mac
from d4d.domain.addressing import MacAddress


def test_an_ethernet_address_is_read() -> None:
    assert ethernet_mac("02:42:c0:a8:3b:0a") == MacAddress(b"\x02\x42\xc0\xa8\x3b\x0a")


@pytest.mark.parametrize(
    "text",
    [
        "00:00:00:00:00:00",  # loopback
        "0a:4d:00:01",  # a tunnel's: its IPv4 address
        ":".join(["02"] * 20),  # InfiniBand's
        "",
    ],
)
def test_what_is_none_of_ethernets_is_no_mac(text: str) -> None:
    assert ethernet_mac(text) is None
