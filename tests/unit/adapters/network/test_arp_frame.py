"""What ARP frames say of an address, byte by byte."""

from ipaddress import IPv4Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from d4d.adapters.network.arp_frame import ArpClaim, answers, conflicts, probe_frame, read_claim
from d4d.adapters.observability.seldom import Seldom
from d4d.domain.addressing import MacAddress

ADDRESS = IPv4Address("192.168.59.10")
PARENT, CONTAINER, STRANGER = (
    MacAddress.parse(f"02:42:c0:a8:3b:{last}") for last in ("01", "0a", "ee")
)
PROBE = bytes.fromhex(
    "ffffffffffff 0242c0a83b01 080600010800 0604 0001 0242c0a83b01 00000000 000000000000 c0a83b0a"
)
REPLY = bytes.fromhex(
    "0242c0a83b01 0242c0a83bee 080600010800 0604 0002 0242c0a83bee c0a83b0a 0242c0a83b01 00000000"
)
REQUEST = bytes.fromhex(
    "ffffffffffff 0242c0a83bee 080600010800 0604 0001 0242c0a83bee c0a83b0a 000000000000 c0a83b01"
)
GRATUITOUS = bytes.fromhex(
    "ffffffffffff 0242c0a83bee 080600010800 0604 0001 0242c0a83bee c0a83b0a ffffffffffff c0a83b0a"
)
CLAIM = ArpClaim(STRANGER, ADDRESS.packed, False)


def claim_by(mac: MacAddress, *, probing: bool = False) -> ArpClaim:
    return ArpClaim(mac, ADDRESS.packed, probing)


def is_conflict(claim: ArpClaim, *, hosted: bool = False) -> bool:
    return conflicts(claim, ours=CONTAINER, parent=PARENT, hosted=lambda: hosted)


def test_a_probe_asks_all_and_names_no_address_of_the_asker() -> None:
    assert probe_frame(ADDRESS, sender=PARENT) == PROBE


@pytest.mark.parametrize("frame", [REPLY, REQUEST, GRATUITOUS])
def test_a_reply_or_request_claims_its_senders_address(frame: bytes) -> None:
    assert read_claim(frame) == CLAIM


def test_ethernets_padding_changes_nothing() -> None:
    assert read_claim(REPLY + b"\xff" * 18) == CLAIM


def test_the_sender_is_who_the_arp_part_says_not_the_repeater_before_it() -> None:
    assert read_claim(REPLY[:6] + b"\x02repea" + REPLY[12:]) == CLAIM


def test_a_probe_claims_what_it_asks_for() -> None:
    assert read_claim(PROBE) == ArpClaim(PARENT, ADDRESS.packed, True)


def test_a_reply_from_no_address_claims_nothing() -> None:
    assert read_claim(REPLY[:28] + bytes(4) + REPLY[32:]) is None


@pytest.mark.parametrize(
    ("at", "value"),
    [
        (12, "0800"),
        (12, "8035"),
        (14, "0006"),
        (16, "86dd"),
        (18, "0804"),
        (19, "10"),
        (20, "0003"),
    ],
)
def test_what_is_no_arp_for_ipv4_claims_nothing(at: int, value: str) -> None:
    octets = bytes.fromhex(value)
    assert read_claim(REPLY[:at] + octets + REPLY[at + len(octets) :]) is None


@given(st.integers(0, len(REPLY) - 1))
def test_a_frame_cut_short_claims_nothing(length: int) -> None:
    assert read_claim(REPLY[:length]) is None


@pytest.mark.parametrize("probing", [False, True])
def test_a_probed_address_is_anothers_where_a_stranger_has_it_or_asks_for_it(
    probing: bool,
) -> None:
    assert answers(claim_by(STRANGER, probing=probing), chaddr=CONTAINER, parent=PARENT)


@pytest.mark.parametrize("mac", [CONTAINER, PARENT])
def test_neither_the_container_nor_an_echo_of_our_probe_answers_it(mac: MacAddress) -> None:
    assert not answers(claim_by(mac, probing=True), chaddr=CONTAINER, parent=PARENT)


def test_a_stranger_who_claims_a_leased_address_is_in_conflict() -> None:
    assert is_conflict(claim_by(STRANGER))


def test_the_container_is_not_in_conflict_with_itself() -> None:
    assert not is_conflict(claim_by(CONTAINER))


def test_a_stranger_who_only_probes_is_not_in_conflict() -> None:
    assert not is_conflict(claim_by(STRANGER, probing=True))


def test_the_parents_mac_is_in_conflict_only_where_the_host_has_the_address_itself() -> None:
    assert not is_conflict(claim_by(PARENT))
    assert is_conflict(claim_by(PARENT), hosted=True)


def pair(claim: ArpClaim) -> tuple[bytes, bytes]:
    """What the watch tells seldom."""
    return claim.address, claim.mac


def test_a_pair_is_told_once_in_a_pause() -> None:
    told = Seldom(pause=60, at_most=10)
    assert [told.may_tell(pair(CLAIM), now) for now in (0.0, 1.0, 59.9, 60.0, 61.0, 120.0)] == [
        True,
        False,
        False,
        True,
        False,
        True,
    ]  # fmt: skip - an instant and its answer stand in one order


def test_another_mac_or_address_is_told_by_itself() -> None:
    told = Seldom(pause=60, at_most=10)
    assert told.may_tell(pair(CLAIM), 0)
    assert told.may_tell(pair(claim_by(CONTAINER)), 1)
    assert told.may_tell(pair(CLAIM._replace(address=b"\x0a\0\0\1")), 1)


def test_a_flood_of_forged_macs_is_cut_short_until_the_first_were_forgotten() -> None:
    told = Seldom(pause=60, at_most=10)
    flood = [CLAIM._replace(mac=number.to_bytes(6, "big")) for number in range(1000)]
    assert sum(told.may_tell(pair(claim), 5) for claim in flood) == 10
    assert not told.may_tell(pair(CLAIM), 64.9)
    assert told.may_tell(pair(CLAIM), 65)
