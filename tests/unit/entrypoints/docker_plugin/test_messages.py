"""The bodies of IpamDriver.*, read and answered."""

from ipaddress import IPv4Address, IPv4Network, IPv6Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from d4d.domain.errors import BadRequest
from d4d.domain.policies import Mode
from d4d.domain.pools import Pool, PoolOptions, PoolRequest
from d4d.entrypoints.docker_plugin import messages


def test_a_pool_request_is_read_with_all_its_parts() -> None:
    body = (
        b'{"AddressSpace":"d4d-local","Pool":"192.168.60.0/24","SubPool":"192.168.60.64/28",'
        b'"Options":{"parent":"eth0","mode":"l2","server":"0.0.0.0"},"V6":false}\n'
    )
    assert messages.read(messages.RequestPool, body).request() == PoolRequest(
        subnet=IPv4Network("192.168.60.0/24"),
        range=IPv4Network("192.168.60.64/28"),
        options=PoolOptions(parent="eth0", mode=Mode.L2, server=()),
    )


def test_without_subnet_v6_tells_the_family() -> None:
    body = b'{"AddressSpace":"x","Pool":"","SubPool":"","Options":{},"V6":true}'
    assert messages.read(messages.RequestPool, body).request() == PoolRequest(version=6)


def test_a_v6_subnet_is_parsed() -> None:
    body = b'{"AddressSpace":"x","Pool":"fd00:61::/64","SubPool":"","Options":null,"V6":true}'
    asked = messages.read(messages.RequestPool, body).request()
    assert asked.subnet == IPv6Network("fd00:61::/64")


@pytest.mark.parametrize(
    ("options", "is_gateway", "is_container"),
    [
        (b"null", False, False),
        (b"{}", False, False),
        (b'{"RequestAddressType":"com.docker.network.gateway"}', True, False),
        (b'{"com.docker.network.endpoint.macaddress":"02:42:0a:4d:10:01"}', False, True),
        (b'{"com.docker.network.endpoint.macaddress":""}', False, False),
        (b'{"com.docker.network.endpoint.name":"web"}', False, False),
        (b'{"com.docker.network.ipam.serial":"true"}', False, False),
    ],
)
def test_the_options_tell_what_an_address_is_for(
    options: bytes, is_gateway: bool, is_container: bool
) -> None:
    asked = messages.read(
        messages.RequestAddress, b'{"PoolID":"x","Address":"","Options":' + options + b"}"
    )
    assert asked.is_gateway is is_gateway
    assert (asked.endpoint() is not None) is is_container
    assert asked.address() is None


def test_an_empty_name_is_none() -> None:
    body = (
        b'{"PoolID":"x","Address":"","Options":{"com.docker.network.endpoint.name":"",'
        b'"com.docker.network.endpoint.macaddress":"02-42-0A-4D-10-01"}}'
    )
    endpoint = messages.read(messages.RequestAddress, body).endpoint()
    assert endpoint is not None
    assert (str(endpoint.mac), endpoint.name) == ("02:42:0a:4d:10:01", None)


def test_a_release_needs_pool_and_address() -> None:
    with pytest.raises(BadRequest, match=r"PoolID: .*required; Address: .*required"):
        messages.read(messages.ReleaseAddress, b"{}")
    asked = messages.read(messages.ReleaseAddress, b'{"PoolID":"x","Address":"192.168.60.9"}')
    assert asked.address() == IPv4Address("192.168.60.9")


@given(st.binary(max_size=40))
def test_any_bytes_are_read_or_refused(body: bytes) -> None:
    for model in (
        messages.RequestPool,
        messages.ReleasePool,
        messages.RequestAddress,
        messages.ReleaseAddress,
    ):
        try:
            messages.read(model, body)
        except BadRequest as refusal:
            assert str(refusal)


def test_a_gateway_is_told_in_data_and_none_is_not() -> None:
    subnet = IPv4Network("192.168.60.0/24")
    assert messages.pool_answer(Pool(subnet=subnet))["Data"] == {}
    assert messages.pool_answer(Pool(subnet=subnet, gateway=IPv4Address("192.168.60.1"))) == {
        "PoolID": "192.168.60.0/24?gateway=192.168.60.1",
        "Pool": "192.168.60.0/24",
        "Data": {"com.docker.network.gateway": "192.168.60.1/24"},
    }
