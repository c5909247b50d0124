"""What a server costs that offers what others use, and a router that answers for all."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from ipaddress import IPv4Address

import pytest

from lab.dhcp_servers import Dhcpd, Dnsmasq, Kea, Server, Site
from lab.engineless_host import PluginHost, next_mac
from lab.lab import Lab
from lab.network import Namespace, Switch
from lab.processes import eventually
from tests.support.scenarios import LONG, Wire, events

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root")

SITE = Site(lease_time=LONG)
IN_USE = SITE.subnet[77]
MAC = "02:42:0a:4d:77:01"
ADDRESSES = 21
NEVER = "1h"
"""A deadline for which no call of a test waits."""


class World:
    """A server, a driver without an engine, and what passes the server's wire."""

    def __init__(self, lab: Lab, kind: type[Server], site: Site, **settings: str) -> None:
        self.lab, self.switch = lab, lab.switch()
        machine = lab.machine("server", self.switch, "10.77.0.1/16")
        self.server = lab.server(kind, machine, site)
        self.host = PluginHost(lab.machine("host", self.switch, "10.77.0.2/16"), settings)
        self.server.start()
        self.host.start()
        self.pool = self.host.create(str(site.subnet), parent="eth0")
        self.wire = Wire(machine)
        self._lines = len(self.log)

    @property
    def log(self) -> list[str]:
        return self.host.driver.log().splitlines()

    @property
    def lines(self) -> int:
        """That the driver logged since it was asked for the first address."""
        return len(self.log) - self._lines

    def heard(self, kind: str) -> int:
        """How many messages of a kind the server heard, when all is there."""
        time.sleep(0.2)  # tcpdump prints what passed
        return self.wire.messages().count(kind)

    def refusal(self, name: str, mac: str = "", *, address: str = "") -> str:
        reply = self.host.ask(self.pool, name, mac, address=address)
        assert reply.status != 200, reply
        return str(reply.content["Err"])


@contextmanager
def world(kind: type[Server], site: Site, **settings: str) -> Iterator[World]:
    with Lab() as lab:
        made = World(lab, kind, site, **settings)
        try:
            yield made
        finally:
            made.wire.close()
            made.host.driver.kill()


def answers_for(lab: Lab, switch: Switch, network: str) -> Namespace:
    """A router that answers every ARP question and probe for what lies in ``network``.

    Linux's own proxy_arp passes over probes; a route of type local is answered for in any case.
    """
    router = lab.machine("router", switch, f"{SITE.router}/{SITE.subnet.prefixlen}")
    router.ip("route", "add", "local", network, "dev", "lo")
    return router


def test_a_reservation_that_another_host_uses_is_declined_once_and_named() -> None:
    site = replace(SITE, fixed=((MAC, IN_USE),))
    with world(Dhcpd, site, D4D_DHCP_DEADLINE=NEVER) as it:
        squatter = it.lab.machine("squatter", it.switch, f"{IN_USE}/16")
        text = it.refusal("web", MAC)
        assert it.heard("Decline") == 1
        assert it.lines <= 5, it.log
        assert text.startswith(
            f"DHCP server 10.77.0.1 on eth0 offered {IN_USE} to {MAC} again after it was declined, "
            f"as one does that has it reserved for {MAC} or has no other left. But "
            f"{squatter.mac()} on eth0 answers ARP for {IN_USE}"
        ), text
        for _ in range(5):
            last = it.refusal("web", MAC)
        assert it.heard("Decline") == 2, "two for one MAC address in ten minutes"
        assert squatter.mac() in last
        assert "the reservation of" in last
        assert it.heard("Discover") < 60
        squatter.ip("addr", "flush", "dev", "eth0")
        assert it.host.run(it.pool, "web", MAC) == str(IN_USE)


def test_an_ip_that_another_host_uses_is_declined_once() -> None:
    with world(Dhcpd, SITE) as it:
        wanted = SITE.first + 40
        squatter = it.lab.machine("squatter", it.switch, f"{wanted}/16")
        text = it.refusal("web", address=str(wanted))
        assert f"is in use, and was declined: {wanted} ({squatter.mac()} answers ARP" in text
        assert it.heard("Decline") == 1


@pytest.mark.parametrize("kind", [Kea, Dnsmasq])
def test_a_server_with_one_address_for_everybody_hears_two_declines_at_most(
    kind: type[Server],
) -> None:
    """dhcpd keeps it for two minutes for who learnt the router from its offer."""
    only = replace(SITE, first=IN_USE, last=IN_USE)
    with world(kind, only, D4D_DHCP_DEADLINE="4s") as it:
        squatter = it.lab.machine("squatter", it.switch, f"{IN_USE}/16")
        assert squatter.mac() in it.refusal("first")
        assert it.heard("Decline") == 1
        assert it.lines <= 5, it.log
        for number in range(3):
            it.refusal(f"next-{number}")
        assert it.heard("Decline") <= 2


def test_a_router_with_proxy_arp_costs_the_site_no_address() -> None:
    site = replace(SITE, last=SITE.first + ADDRESSES - 1)
    with world(Dhcpd, site) as it:
        router = answers_for(it.lab, it.switch, "10.77.16.0/20")
        for number in range(4):
            text = it.refusal(f"web-{number}")
        assert "abandoned" not in it.server.leases.read_text()
        assert (it.heard("Decline"), it.heard("Release")) == (0, 4)
        assert f"{router.mac()} on eth0 answers ARP for it, and for 10.77." in text
        assert "turn proxy ARP off on that router" in text
        assert "D4D_CONFLICT_PROBE=0s" in text
        eventually(lambda: len(events(it.host.driver, "conflict")) == 4, what=it.host.driver.log)
        told = events(it.host.driver, "conflict")
        assert all("not declined" in each["detail"] for each in told)
        eventually(lambda: not it.server.leased(), what="not released")


@pytest.mark.parametrize("kind", [Dhcpd, Kea, Dnsmasq])
def test_a_host_with_several_addresses_is_gone_around(kind: type[Server]) -> None:
    """One MAC for two addresses: the server's free ones are had all the same, and none is lost."""
    site = replace(SITE, last=SITE.first + 7, insists=False)
    with world(kind, site) as it:
        taken = it.host.run(it.pool, "before", MAC)
        it.host.remove(it.pool, taken)
        eventually(lambda: IPv4Address(taken) not in it.server.leased(), what="not released")
        squatter = it.lab.machine("squatter", it.switch, f"{taken}/16")
        near = IPv4Address(int(IPv4Address(taken)) ^ 2)
        squatter.ip("addr", "add", f"{near}/16", "dev", "eth0")
        got = it.host.run(it.pool, "before", MAC)
        assert got not in (taken, str(near))
        assert it.heard("Decline") == 0


def test_without_the_probe_a_router_with_proxy_arp_is_no_hindrance() -> None:
    """What the error advises."""
    with world(Dhcpd, SITE, D4D_CONFLICT_PROBE="0s") as it:
        answers_for(it.lab, it.switch, "10.77.16.0/20")
        it.host.run(it.pool, "web", next_mac())
        assert it.heard("Decline") == 0
