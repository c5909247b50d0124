"""With IPAM_DEBUG each packet of a real exchange stands once in the log, as tcpdump saw it."""

import json
import os
import re
from typing import Any

import pytest

from lab.d4d_driver import Driver
from lab.dhcp_servers import Dnsmasq
from lab.lab import Lab
from lab.packet_capture import capture
from lab.plugin_calls import call
from lab.processes import eventually
from lab.standard_site import SITE

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root")

MAC = "02:42:0a:4d:00:91"
POOL = {"AddressSpace": "d4d-local", "Pool": str(SITE.subnet), "SubPool": "", "Options": None}
_PACKET = re.compile(r"xid (0x[0-9a-f]+).*?DHCP-Message \(53\), length 1: (\w+)", re.S)


def lines(driver: Driver) -> list[dict[str, Any]]:
    """The log; a line that is no JSON fails here."""
    return [json.loads(line) for line in driver.log().splitlines()]


def lease(driver: Driver) -> str:
    """Docker starts a container."""
    pool = call(driver.socket, "IpamDriver.RequestPool", POOL).content["PoolID"]
    options = {"com.docker.network.endpoint.macaddress": MAC}
    asked = {"PoolID": pool, "Address": "", "Options": options}
    reply = call(driver.socket, "IpamDriver.RequestAddress", asked)
    assert reply.status == 200, reply
    return str(reply.content["Address"]).partition("/")[0]


def test_each_packet_of_an_exchange_is_one_line_with_its_xid() -> None:
    with Lab() as lab:
        switch = lab.switch()
        server = lab.server(Dnsmasq, lab.machine("server", switch, "10.77.0.1/16"), SITE)
        server.start()
        host = lab.machine("host", switch, "10.77.0.2/16")
        driver = Driver(
            host,
            socket=host.directory / "talkingdata.sock",
            docker_socket=host.directory / "none.sock",
            settings={"IPAM_DEBUG": "true"},
        )
        driver.start()
        with capture(server.namespace, "ether broadcast and (udp port 67 or udp port 68)") as seen:
            address = lease(driver)
            eventually(lambda: seen.logged().count(": ACK") >= 1, what=seen.logged)
        captured = [(int(xid, 16), kind) for xid, kind in _PACKET.findall(seen.logged())]
        logged = [line for line in lines(driver) if line["event"].startswith("dhcp_message_")]
        ours = [line for line in logged if line["chaddr"] == MAC]

        assert [(line["event"], line["type"]) for line in ours] == [
            ("dhcp_message_sent", "DHCPDISCOVER"),
            ("dhcp_message_received", "DHCPOFFER"),
            ("dhcp_message_sent", "DHCPREQUEST"),
            ("dhcp_message_received", "DHCPACK"),
        ]
        by_xid = [(int(line["xid"], 16), line["type"][4:]) for line in logged]
        assert by_xid == [(xid, kind.upper()) for xid, kind in captured]
        discover, _, request, ack = ours
        assert (ack["yiaddr"], ack["link"], ack["server_id"]) == (address, "eth0", "10.77.0.1")
        assert ack["lease_time"] == SITE.lease_time.total_seconds()
        assert (request["requested"], discover["to"]) == (address, "255.255.255.255")
        assert all(line["length"] >= 300 for line in ours)

        assert driver.stop() == 0
        assert [line["event"] for line in lines(driver)][:1] == ["serving"]
        assert driver.exceptions() == []
