"""What an operator reserves, with real servers: its container gets it, and no other one does."""

import os
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from d4d.adapters.admin_client import AdminClient
from d4d.domain.errors import D4DError
from d4d.entrypoints.admin_api import schemas
from lab.dhcp_servers import Dhcpd, Kea, Server
from lab.engineless_host import PluginHost, next_mac
from lab.lab import Lab
from lab.plugin_calls import call
from lab.processes import eventually
from lab.standard_site import SITE

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root")

SUBNET, GATEWAY = str(SITE.subnet), str(SITE.router)
FIRST, SECOND, THIRD, FOURTH = SERVED = [str(SITE.first + n) for n in range(4)]
SMALL = "10.79.0.0/29"  # .2 to .6: .1 is its gateway


class World:
    """A server with four addresses, and a driver with two pools: one of its, one of a range."""

    def __init__(self, lab: Lab, kind: type[Server]) -> None:
        switch = lab.switch()
        site = replace(SITE, last=SITE.first + len(SERVED) - 1, insists=False)
        self.server = lab.server(kind, lab.machine("server", switch, "10.77.0.1/16"), site)
        machine = lab.machine("host", switch, "10.77.0.2/16")
        self.host = PluginHost(machine, {"D4D_DHCP_DEADLINE": "5s"})
        self.admin = AdminClient(path=machine.directory / "admin.sock", url="")
        self.server.start()
        self.host.start()
        self.pool = self.host.create(SUBNET, parent="eth0")
        self.range = self.host.create(SMALL, allocator="range")
        options = {"RequestAddressType": "com.docker.network.gateway"}
        body = {"PoolID": self.pool, "Address": GATEWAY, "Options": options}
        assert call(self.host.driver.socket, "IpamDriver.RequestAddress", body).status == 200

    def leased(self) -> dict[str, str]:
        """The MAC that has each address, as the server's database says."""
        return {str(address): each.mac for address, each in self.server.leased().items()}

    def reserve(self, subnet: str, address: str, **more: str) -> Any:
        """As ``d4d reserve`` does, without its start."""
        query = {"pool": subnet, "address": address} | more
        return self.admin.post("/api/reservations", query)

    def tidy(self) -> None:
        for each in self.admin.get("/api/leases", {})["leases"]:
            self.host.remove(each["pool"], each["address"])
        for kept in self.admin.get("/api/reservations", {})["reservations"]:
            self.admin.delete(f"/api/reservations/{kept['address']}", {"pool": kept["pool"]})
        eventually(lambda: not self.leased(), what="not all was released")


@pytest.fixture(scope="module", params=(Dhcpd, Kea), ids=lambda kind: kind.name)
def shared_world(request: pytest.FixtureRequest) -> Iterator[World]:
    with Lab() as lab:
        world = World(lab, request.param)
        try:
            yield world
        finally:
            world.admin.close()
            world.host.driver.stop()


@pytest.fixture
def world(shared_world: World) -> Iterator[World]:
    yield shared_world
    shared_world.tidy()
    assert shared_world.host.driver.exceptions() == []


no_other_server = pytest.mark.parametrize("shared_world", [Dhcpd], ids=["dhcpd"], indirect=True)
"""Of tests that no server has a part in."""


@no_other_server
def test_an_operator_reserves_and_takes_it_back(world: World) -> None:
    host, note = world.host, "the firewall knows it"
    words = (world.pool, FIRST, "--for", "web", "--note", note)
    made = host.json(schemas.ReservedResponse, "reserve", *words)
    kept = made.reservation
    assert (kept.pool, kept.address, kept.name, kept.mac) == (world.pool, FIRST, "web", None)
    assert "from 29 on" in made.warnings[0], "no engine was heard of here"
    assert f"{SECOND} is reserved for nobody" in host.d4d("reserve", SUBNET, SECOND)
    host.d4d("reserve", SMALL, "10.79.0.5", "--for", mac := next_mac())
    shown = host.json(schemas.ReservationsResponse, "reservations").reservations
    assert {(each.address, each.name, each.mac, each.note) for each in shown} == {
        (FIRST, "web", None, note),
        (SECOND, None, None, ""),
        ("10.79.0.5", None, mac, ""),
    }
    only = host.json(schemas.ReservationsResponse, "reservations", "--pool", SMALL).reservations
    assert [each.address for each in only] == ["10.79.0.5"]
    assert note in host.d4d("reservations")
    gone = host.json(schemas.OperatorReservationSchema, "unreserve", SUBNET, FIRST, "--yes")
    assert gone == kept
    assert f"no reservation of {FIRST}" in host.d4d("unreserve", SUBNET, FIRST, "--yes", code=4)


@no_other_server
def test_what_cannot_be_reserved_is_refused(world: World) -> None:
    def refusal(subnet: str, address: str, **more: str) -> str:
        with pytest.raises(D4DError) as caught:
            world.reserve(subnet, address, **more)
        return str(caught.value)

    world.reserve(SUBNET, FIRST, **{"for": "web"})
    unknown = world.host.d4d("reserve", "10.78.0.0/16", "10.78.0.9", code=4)
    assert "no pool '10.78.0.0/16' is in use" in unknown
    twice = world.host.d4d("reserve", SUBNET, FIRST, code=1)
    assert f"{FIRST} is reserved by an operator for container web already" in twice
    second = refusal(SUBNET, SECOND, **{"for": "web"})
    assert f"container web has a reservation there, of {FIRST}" in second
    assert f"not in the pool's subnet {SUBNET}" in refusal(SUBNET, "10.78.0.9")
    assert "network or broadcast address" in refusal(SUBNET, "10.77.0.0")
    assert f"{GATEWAY} is the gateway address" in refusal(SUBNET, GATEWAY)
    assert "'nonsense' is no IP address" in refusal(SUBNET, "nonsense")
    kept = world.admin.get("/api/reservations", {})["reservations"]
    assert [each["address"] for each in kept] == [FIRST]


def test_only_the_named_container_gets_the_address(world: World) -> None:
    host, macs = world.host, {address: next_mac() for address in SERVED}
    for number, address in enumerate(SERVED):
        world.reserve(SUBNET, address, note="ours", **{"for": f"web{number}"})
    refused = host.ask(world.pool, "other", address=FIRST)
    assert refused.status == 409
    whose = f"{FIRST} is reserved by an operator for container web0 (ours)"
    assert f"{whose}: choose another address" in refused.content["Err"]
    refused = host.ask(world.pool, "other")
    assert refused.status == 503, "whatever the server offered was another's"
    assert "no address for" in refused.content["Err"]
    assert "is reserved by an operator for container web" in refused.content["Err"]
    assert world.leased() == {}
    for number, (address, mac) in enumerate(macs.items()):
        # At once: also what the server has just offered to the other, and holds for it.
        assert host.run(world.pool, f"web{number}", mac) == address
    assert world.leased() == macs


def test_what_the_server_offers_next_goes_to_nobody_else(world: World) -> None:
    host = world.host
    for number, address in enumerate((SECOND, THIRD)):
        world.reserve(SUBNET, address, **{"for": f"web{number}"})
    assert {host.run(world.pool, "a"), host.run(world.pool, "b")} == {FIRST, FOURTH}
    assert host.run(world.pool, "web0") == SECOND
    assert host.run(world.pool, "web1") == THIRD
    assert set(world.leased()) == set(SERVED)


def test_a_reservation_comes_before_the_last_address(world: World) -> None:
    host, mac = world.host, next_mac()
    last = host.run(world.pool, "moving", mac)
    wanted = SECOND if last != SECOND else THIRD
    world.reserve(SUBNET, wanted, **{"for": mac})
    assert world.leased() == {last: mac}, "it runs"
    host.remove(world.pool, last)
    eventually(lambda: last not in world.leased(), what="not released")
    assert host.run(world.pool, "moving", mac) == wanted, "though the server remembers another"
    assert world.leased() == {wanted: mac}


def test_an_address_that_is_leased_is_reserved_from_its_end(world: World) -> None:
    host = world.host
    address = host.run(world.pool, "before", mac := next_mac())
    warnings = world.reserve(SUBNET, address, **{"for": "after"})["warnings"]
    assert f"{address} is leased to before" in warnings[0]
    assert world.leased() == {address: mac}
    host.remove(world.pool, address)
    eventually(lambda: not world.leased(), what="not released")
    assert host.run(world.pool, "before", mac) != address, "though the server remembers it"
    assert host.run(world.pool, "after") == address


@no_other_server
def test_a_range_keeps_what_is_reserved(world: World) -> None:
    host = world.host
    kept, nobodys = "10.79.0.2", "10.79.0.3"
    world.reserve(SMALL, kept, **{"for": (mac := next_mac())})
    world.reserve(SMALL, nobodys, note="the printer's")
    refused = host.ask(world.range, "other", address=nobodys)
    assert refused.status == 409
    text = f"{nobodys} is reserved by an operator for nobody (the printer's)"
    assert text in refused.content["Err"]
    others = {host.run(world.range, f"n{number}") for number in range(3)}
    assert others == {f"10.79.0.{number}" for number in (4, 5, 6)}
    full = host.ask(world.range, "n3")
    assert full.status == 503
    assert "3 are leased, 3 reserved" in full.content["Err"]
    assert host.run(world.range, "web", mac) == kept
    world.admin.delete(f"/api/reservations/{nobodys}", {"pool": SMALL})
    assert host.run(world.range, "n3") == nobodys


def test_what_is_for_nobody_is_got_by_nobody_and_not_declined(world: World) -> None:
    host, mac = world.host, next_mac()
    address = host.run(world.pool, "x", mac)
    host.remove(world.pool, address)
    eventually(lambda: not world.leased(), what="not released")
    world.reserve(SUBNET, address, note="the printer's")
    got = {host.run(world.pool, "x", mac)} | {host.run(world.pool, name) for name in ("y", "z")}
    assert got == set(SERVED) - {address}
    assert set(world.leased()) == got
    history = world.admin.get("/api/history", {"what": address})["events"]
    assert "declined" not in [each["kind"] for each in history]
    refused = host.ask(world.pool, "w", address=address)
    assert refused.status == 409
    assert "reserved by an operator for nobody (the printer's)" in refused.content["Err"]
