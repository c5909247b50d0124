"""What D4D refuses, in its own words, as the user of the docker command reads them."""

import os

import pytest

from lab.dhcp_servers import Dhcpd
from lab.processes import LabError
from lab.standard_site import MACVLAN, SITE, Lan, leased_to

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root"),
    pytest.mark.parametrize("shared_lan", [Dhcpd], indirect=True, ids=lambda kind: kind.name),
]


@pytest.mark.parametrize(
    ("option", "text"),
    [
        ("parrent=eth0", "unknown --ipam-opt 'parrent': known are parent, allocator, server, mode"),
        ("parent=eth9", "this host has no interface 'eth9' to be the parent: it has eth0"),
        ("allocator=etcd", "unknown allocator 'etcd': known are "),
        ("mode=l3", "unknown mode 'l3': known are auto, l2, relay"),
        ("mode=relay", "mode=relay needs to know the DHCP server: "),
        ("server=dhcp.example", "DHCP server 'dhcp.example' is no IP address"),
        ("server=fd00:77::1", "DHCP server 'fd00:77::1' is no IPv4 address"),
    ],
)
def test_a_wrong_ipam_option_is_named_with_what_would_be_right(
    lan: Lan, option: str, text: str
) -> None:
    with pytest.raises(LabError) as refused:
        lan.create(f"--ipam-opt={option}")

    assert text in str(refused.value)


def test_a_subnet_that_is_on_no_interface_needs_a_parent(lan: Lan) -> None:
    with pytest.raises(LabError, match=r"no interface .* address in 10\.99\.0\.0/16.*--ipam-opt"):
        lan.engine.network_create("lan", *MACVLAN, "--subnet=10.99.0.0/16")


def test_an_ipv6_subnet_is_refused_and_the_ipv4_one_beside_it_is_let_go(lan: Lan) -> None:
    with pytest.raises(LabError, match=r"leases IPv4 addresses only, and none of fd00:77::/64"):
        lan.create("--ipv6", "--subnet=fd00:77::/64")

    lan.engine.network_create("half", *MACVLAN, "--subnet=10.77.0.0/17")


def test_an_overlapping_subnet_is_refused_until_the_other_network_is_removed(lan: Lan) -> None:
    overlapping = (*MACVLAN, "--subnet=10.77.0.0/17", "--gateway=10.77.0.254")
    lan.create()
    with pytest.raises(LabError, match=r"10\.77\.0\.0/17\S* overlaps 10\.77\.0\.0/16\S* on eth0"):
        lan.engine.network_create("half", *overlapping)

    lan.engine.network_rm("lan")

    lan.engine.network_create("half", *overlapping)
    leased_to(lan.server, lan.engine.run("one", network="half"))


@pytest.mark.parametrize("address", ["10.77.0.0", "10.77.255.255"])
def test_network_and_broadcast_address_are_nobodys(lan: Lan, address: str) -> None:
    lan.create()
    with pytest.raises(LabError, match=f"{address} is the network or broadcast address of"):
        lan.engine.run("edge", f"--ip={address}")


def test_the_gateway_is_no_containers(lan: Lan) -> None:
    lan.create()
    with pytest.raises(LabError, match=f"{SITE.router} is .*gateway.*choose an address"):
        lan.engine.run("gateway", f"--ip={SITE.router}")


def test_a_silent_server_fails_a_container_within_the_deadline(lan: Lan) -> None:
    lan.create()
    lan.server.stop()
    try:
        with pytest.raises(
            LabError,
            match=r"no DHCP server answered 02:42:\S+ on eth0 within 5 s \(DHCPDISCOVER to any",
        ):
            lan.engine.run("one")
    finally:
        lan.server.start()

    leased_to(lan.server, lan.engine.start_container("one"))


def test_without_subnet_a_host_with_a_route_into_it_is_told_to_name_it(lan: Lan) -> None:
    """dockerd asks without end for another subnet until the driver refuses."""
    with pytest.raises(LabError, match=f"give --subnet={SITE.subnet}"):
        lan.engine.docker("network", "create", *MACVLAN, "--ipam-opt=parent=eth0", "lan")

    lan.create()  # nothing is left of the attempt
