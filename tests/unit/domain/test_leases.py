"""MAC addresses, endpoints, leases."""

import copy
import pickle
from dataclasses import FrozenInstanceError
from datetime import UTC, datetime
from ipaddress import IPv4Address

import pytest

from d4d.domain.addressing import MacAddress
from d4d.domain.errors import BadRequest
from d4d.domain.leases import Endpoint, Lease, LeaseState, RenewalForm
from d4d.domain.pools import PoolId

TEXT = "02:42:c0:a8:3b:0a"
MAC = MacAddress(bytes.fromhex("0242c0a83b0a"))


@pytest.mark.parametrize("text", [TEXT, TEXT.upper(), TEXT.replace(":", "-")])
def test_a_mac_address_is_read_as_docker_and_people_write_it(text: str) -> None:
    assert MacAddress.parse(text) == MAC


def test_a_mac_address_prints_and_parses_back() -> None:
    assert str(MAC) == TEXT
    assert f"{MAC}" == TEXT
    assert MacAddress.parse(str(MAC)) == MAC
    assert repr(MAC) == f"MacAddress.parse({TEXT!r})"


@pytest.mark.parametrize(
    "text",
    ["", "02:42", "0242c0a83b0a", TEXT + ":00", TEXT + "\n", " " + TEXT, "02:42:c0:a8:3b:0g"],
)
def test_a_malformed_mac_address_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(BadRequest, match="malformed: write it as"):
        MacAddress.parse(text)


@pytest.mark.parametrize("text", ["01:00:5e:00:00:01", "ff:ff:ff:ff:ff:ff", "00:00:00:00:00:00"])
def test_a_mac_address_that_no_host_can_have_is_refused(text: str) -> None:
    with pytest.raises(BadRequest, match="no host's"):
        MacAddress.parse(text)


@pytest.mark.parametrize("length", [0, 5, 7, 16])
def test_a_mac_address_has_six_bytes(length: int) -> None:
    with pytest.raises(ValueError, match=f"6 bytes, not {length}"):
        MacAddress(bytes(length))


def test_a_mac_address_is_a_key_and_survives_copying() -> None:
    assert {MAC: 1}[MacAddress.parse(TEXT)] == 1
    for copied in (copy.deepcopy(MAC), pickle.loads(pickle.dumps(MAC))):
        assert (copied, type(copied)) == (MAC, MacAddress)


def test_an_endpoint_shows_its_name_where_docker_gave_one() -> None:
    assert str(Endpoint(mac=MAC)) == TEXT
    assert str(Endpoint(mac=MAC, name="web")) == f"web ({TEXT})"


def test_a_new_lease_is_bound_forever_owned_by_nobody_and_renews_by_the_selecting_form() -> None:
    lease = Lease(
        pool=PoolId("192.168.59.0/24"),
        address=IPv4Address("192.168.59.10"),
        endpoint=Endpoint(mac=MAC),
        acquired_at=datetime(2026, 1, 1, tzinfo=UTC),
    )
    assert (lease.state, lease.form) == (LeaseState.BOUND, RenewalForm.SELECTING)
    assert (lease.owner, lease.generation) == ("", 0)
    assert (lease.renew_at, lease.rebind_at, lease.expires_at) == (None, None, None)
    with pytest.raises(FrozenInstanceError):
        lease.owner = "host"  # type: ignore[misc]  # the test is that it is frozen
