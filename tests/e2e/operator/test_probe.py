"""``d4d probe`` beside a running driver: who answers where, and nothing is leased by it."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from d4d.entrypoints.cli.schemas import OfferSchema, ProbedSchema, ProbeResponse
from lab.d4d_driver import Driver
from lab.dhcp_servers import Dhcpd, Dnsmasq, Kea, Server, Site
from lab.lab import Lab
from lab.network import Namespace
from lab.plugin_calls import call

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root")

PROGRAM = Path(sys.executable).with_name("d4d")
SITE = Site(lease_time=timedelta(seconds=600))
TIME = "900ms"
_FAR = IPv4Address("10.78.0.254")


@dataclass(frozen=True, slots=True, kw_only=True)
class Country:
    """A host: dhcpd on eth0, Kea on eth1, dnsmasq and dhcpd on eth2, nobody on eth3.

    A Kea stands behind the router on eth0.
    """

    lab: Lab
    host: Namespace
    driver: Driver
    servers: list[Server]
    far: Server

    def d4d(self, *words: str, code: int = 0, **settings: str) -> str:
        command = self.host.command([PROGRAM, *words])
        done = subprocess.run(
            [str(word) for word in command],
            env=self.driver.environment | settings,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + (done.stderr if code else "")

    def probe(self, *words: str, code: int = 0, **settings: str) -> list[ProbedSchema]:
        said = self.d4d("probe", "--json", "--timeout", TIME, *words, code=code, **settings)
        answer = ProbeResponse.model_validate_json(said)
        assert answer.model_dump(mode="json") == json.loads(said)
        return answer.probed

    def mac_of(self, server: Server) -> str:
        return server.namespace.mac()


@pytest.fixture(scope="module")
def country() -> Iterator[Country]:
    with Lab() as lab:
        near, far = lab.switch("near"), lab.switch("far")
        switches = [near, lab.switch("two"), lab.switch("three"), lab.switch("four")]
        host = lab.machine("host", near, "10.77.0.2/16")
        for number in (1, 2, 3):
            switches[number].join(host, interface=f"eth{number}")
        lab.router(near, f"{SITE.router}/16", far, f"{_FAR}/24")
        host.route("10.78.0.0/24", via=SITE.router)
        places: list[tuple[type[Server], int]] = [(Dhcpd, 0), (Kea, 1), (Dnsmasq, 2), (Dhcpd, 2)]
        servers: list[Server] = []
        for number, (kind, at) in enumerate(places):
            machine = lab.machine(f"server{number}", switches[at], f"10.77.1.{number}/16")
            first = SITE.first + 256 * number
            servers.append(lab.server(kind, machine, replace(SITE, first=first, last=first + 99)))
        behind = lab.machine("behind", far, "10.78.0.1/24")
        behind.route("default", via=_FAR)
        relayed = lab.server(Kea, behind, SITE)
        driver = Driver(
            host, socket=host.directory / "talkingdata.sock", docker_socket=host.directory / "none"
        )
        for server in (*servers, relayed):
            server.start()
        driver.start()
        yield Country(lab=lab, host=host, driver=driver, servers=servers, far=relayed)
        assert driver.stop() == 0
        assert driver.exceptions() == []


@pytest.fixture(scope="module")
def probed(country: Country) -> dict[str | None, ProbedSchema]:
    return {each.interface: each for each in country.probe()}


def test_each_interface_that_could_be_a_parent_is_probed(
    probed: dict[str | None, ProbedSchema],
) -> None:
    assert list(probed) == ["eth0", "eth1", "eth2", "eth3"]
    assert all(each.error is None and each.relay is None for each in probed.values())


def test_what_a_server_offers_is_told(
    country: Country, probed: dict[str | None, ProbedSchema]
) -> None:
    for server, interface in ((country.servers[0], "eth0"), (country.servers[1], "eth1")):
        (offer,) = probed[interface].offers
        _is_of(offer, server)
        assert offer.server_mac == country.mac_of(server)


def test_two_servers_on_one_interface_are_both_told(
    country: Country, probed: dict[str | None, ProbedSchema]
) -> None:
    offers = {offer.server: offer for offer in probed["eth2"].offers}
    assert len(offers) == 2
    for server in country.servers[2:]:
        _is_of(offers[str(server.namespace.address.ip)], server)


def test_where_nobody_serves_nobody_answers(probed: dict[str | None, ProbedSchema]) -> None:
    assert probed["eth3"].offers == []


def test_nothing_was_leased_and_the_driver_leases_on(
    country: Country, probed: dict[str | None, ProbedSchema]
) -> None:
    assert [server.bindings() for server in country.servers] == [[]] * 4
    pool = {"AddressSpace": "d4d-local", "Pool": str(SITE.subnet), "SubPool": "", "Options": None}
    pool_id = call(country.driver.socket, "IpamDriver.RequestPool", pool).content["PoolID"]
    options = {"com.docker.network.endpoint.macaddress": "02:42:0a:4d:00:77"}
    asked = {"PoolID": pool_id, "Address": "", "Options": options}
    assert call(country.driver.socket, "IpamDriver.RequestAddress", asked).status == 200
    assert [each.mac for each in country.servers[0].leased().values()] == ["02:42:0a:4d:00:77"]


def test_servers_that_the_settings_leave_out_are_told_so(country: Country) -> None:
    chosen = country.servers[3].namespace.address.ip
    (probed,) = country.probe("eth2", DHCP_SERVER=str(chosen), D4D_DHCP_MODE="l2")
    accepted = {offer.server: offer.accepted for offer in probed.offers}
    assert accepted == {str(country.servers[2].namespace.address.ip): False, str(chosen): True}


def test_a_server_behind_a_router_is_asked_by_relay(country: Country) -> None:
    local, relayed = country.probe("eth0", DHCP_SERVER="10.78.0.1")
    assert [offer.accepted for offer in local.offers] == [False]
    assert relayed.relay == "10.77.0.2 -> 10.78.0.1"
    (offer,) = relayed.offers
    assert (offer.server, offer.server_mac, offer.accepted) == ("10.78.0.1", None, True)
    assert country.far.bindings() == []


def test_relaying_without_a_server_says_what_is_missing(country: Country) -> None:
    local, relayed = country.probe("eth0", code=1, D4D_DHCP_MODE="relay")
    assert local.offers and not relayed.offers
    assert "mode=relay needs to know the DHCP server" in str(relayed.error)


def test_people_are_shown_a_table(country: Country) -> None:
    text = country.d4d("probe", "eth1", "eth3", "--timeout", TIME)
    (row,) = (line for line in text.splitlines() if line.startswith("eth1"))
    assert country.mac_of(country.servers[1]) in row and "10m" in row and " ms" in row
    assert "eth3       no answer within 900ms" in text


def test_without_an_answer_it_fails(country: Country) -> None:
    assert "no answer" in country.d4d("probe", "eth3", "--timeout", "300ms", code=1)


def test_an_interface_that_is_not_there_or_down_is_named(country: Country) -> None:
    assert "no interface eth9: it has lo, eth0" in country.d4d("probe", "eth9", code=1)
    country.host.ip("link", "add", "idle", "type", "veth", "peer", "name", "its-peer")
    (probed,) = country.probe("idle", code=1)
    assert "bring it up: `ip link set idle up`" in str(probed.error)


def test_without_the_capability_it_says_which_is_missing(country: Country) -> None:
    words = ["setpriv", "--bounding-set=-net_raw", "--inh-caps=-net_raw", str(PROGRAM)]
    done = subprocess.run(
        [str(word) for word in country.host.command([*words, "probe", "eth0"])],
        env=country.driver.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "EPERM); give the service CAP_NET_RAW, or run it as root" in done.stdout


def _is_of(offer: OfferSchema, server: Server) -> None:
    assert offer.server == str(server.namespace.address.ip)
    address, _, prefix = offer.address.partition("/")
    assert server.site.first <= IPv4Address(address) <= server.site.last
    assert prefix == "16"
    assert offer.terms.routers == [str(SITE.router)]
    assert offer.terms.dns_servers == [str(SITE.dns)]
    assert offer.terms.lease_time == 600
    assert offer.after_ms > 0
    assert offer.accepted
