"""What a container is called towards the DHCP server."""

from ipaddress import IPv4Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from d4d.domain.addressing import MacAddress
from d4d.domain.client_identity import Anchor, check_template, client_id, hostname
from d4d.domain.errors import BadRequest
from d4d.domain.leases import Endpoint
from d4d.domain.policies import IdentityPolicy
from tests.support import strategies

MAC = MacAddress.parse("02:42:0a:4d:10:01")
OTHER_MAC = MacAddress.parse("02:42:0a:4d:10:02")
NET = IPv4Network("10.77.0.0/16")
AUTO, BY_MAC, BY_NAME = IdentityPolicy.AUTO, IdentityPolicy.MAC, IdentityPolicy.NAME


def identify(
    name: str | None = "web",
    *,
    mac: MacAddress = MAC,
    policy: IdentityPolicy = AUTO,
    host: str = "host-a",
    anchor: bytes = b"\x02\x00\x00\x00\x00\x0e",
    subnet: IPv4Network = NET,
) -> bytes:
    return client_id(
        Endpoint(mac=mac, name=name), policy=policy, host=host, anchor=anchor, subnet=subnet
    )


def test_without_a_name_it_is_the_mac() -> None:
    assert identify(None) == b"\x01" + MAC


def test_by_mac_the_name_does_not_count() -> None:
    assert identify("web", policy=BY_MAC) == b"\x01" + MAC


def test_by_name_a_new_mac_is_the_same_client() -> None:
    assert identify(mac=MAC) == identify(mac=OTHER_MAC)


def test_it_is_short_and_says_whose_it_is() -> None:
    assert identify().startswith(b"\x00d4d:")
    assert len(identify()) == 21


@pytest.mark.parametrize(
    "other",
    [
        {"name": "db"},
        {"host": "host-b"},
        {"anchor": b"\x02\x00\x00\x00\x00\x0f"},
        {"subnet": IPv4Network("10.78.0.0/16")},
        {"host": "host-", "anchor": b"a\x02\x00\x00\x00\x00\x0e"},
    ],
)
def test_another_name_host_wire_or_network_is_another_client(other: dict[str, object]) -> None:
    assert identify(**other) != identify()  # type: ignore[arg-type]  # one keyword of many types


def test_a_policy_that_needs_a_name_says_so() -> None:
    with pytest.raises(BadRequest, match="Set D4D_IDENTITY=auto"):
        identify(None, policy=BY_NAME)
    assert identify("web", policy=BY_NAME) == identify("web", policy=AUTO)


@pytest.mark.parametrize(
    ("name", "template", "label"),
    [
        ("web", "{name}", "web"),
        ("my_app.web-1", "{name}", "my-app-web-1"),
        ("Web", "{name}-{host}", "web-host-a"),
        ("_x_", "{name}", "x"),
        ("___", "{name}", None),
        ("a" * 70, "{name}", "a" * 63),
        ("a" * 62 + "_b", "{name}", "a" * 62),
        (None, "{name}", None),
        ("", "{name}", None),
    ],
)
def test_a_hostname_is_what_rfc_1123_allows(
    name: str | None, template: str, label: str | None
) -> None:
    assert hostname(Endpoint(mac=MAC, name=name), template=template, host="host-a") == label


@given(name=strategies.texts, host=st.text(max_size=80))
def test_any_name_gives_a_label_or_none(name: str, host: str) -> None:
    label = hostname(Endpoint(mac=MAC, name=name), template="{name}-{host}", host=host)
    assert label is None or (1 <= len(label) <= 63 and label.strip("-") == label)
    assert label is None or set(label) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")


@pytest.mark.parametrize("template", ["{name}", "{host}", "{name}.{host}", "fixed", "{name:>10}"])
def test_a_template_that_can_be_filled_in_is_taken(template: str) -> None:
    assert check_template(template) == template


@pytest.mark.parametrize(
    "template", ["{id}", "{}", "{0}", "{", "}", "{name.x}", "{name[0]}", "{name!x}", "{name:d}"]
)
def test_a_template_that_cannot_be_filled_in_is_refused(template: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        check_template(template)


# What stays, though the parent's MAC does not

CARD, OTHER_CARD, THIRD_CARD = (bytes([2, 0, 0, 0, 0, n]) for n in (1, 2, 3))


def kept(*hardware: bytes) -> Anchor:
    return Anchor(value=bytes(MAC), hardware=frozenset(hardware))


@pytest.mark.parametrize(
    ("before", "now", "is_kept"),
    [
        ({CARD}, {CARD}, True),  # a bridge took another port's MAC, or the parent was made anew
        ({CARD}, {CARD, OTHER_CARD}, True),
        ({CARD, OTHER_CARD}, {OTHER_CARD}, True),
        ({CARD}, {OTHER_CARD}, False),  # copied to another machine
        (set(), {CARD}, True),
        ({CARD}, set(), True),  # none tells
        (set(), set(), True),
    ],
)
def test_an_anchor_stays_on_its_machine(before: set[bytes], now: set[bytes], is_kept: bool) -> None:
    seen = kept(*before).seen_now(value=bytes(OTHER_MAC), hardware=frozenset(now))
    assert seen.value == (MAC if is_kept else OTHER_MAC)


def test_cards_that_are_replaced_one_by_one_are_no_other_machine() -> None:
    anchor = kept(CARD)
    for cards in ({CARD, OTHER_CARD}, {OTHER_CARD}, set[bytes](), {OTHER_CARD, THIRD_CARD}):
        anchor = anchor.seen_now(value=bytes(OTHER_MAC), hardware=frozenset(cards))
    assert anchor.seen_now(value=b"", hardware=frozenset({THIRD_CARD})).value == MAC
