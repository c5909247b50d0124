"""A packet is one line, in the words of RFC 2131 and 2132."""

from datetime import timedelta
from ipaddress import IPv4Address, IPv4Network

import structlog

from d4d.adapters.dhcp.wire.message_log import PacketLog
from d4d.domain.addressing import MacAddress
from d4d.domain.dhcp.messages import INFINITE, Message, MessageType

MAC = MacAddress.parse("02:42:c0:a8:3b:0a")
SERVER = IPv4Address("192.168.59.2")


def test_what_is_sent_is_told_with_its_options() -> None:
    message = Message(
        type=MessageType.REQUEST,
        xid=0xABC,
        chaddr=MAC,
        requested=IPv4Address("192.168.59.12"),
        client_id=b"\x01\x02\xff",
        hostname="web",
        parameters=(1, 121, 3),
    )
    with structlog.testing.capture_logs() as logged:
        PacketLog("eth0").sent(message, to=IPv4Address("255.255.255.255"), length=300)
    assert logged == [
        {
            "event": "dhcp_message_sent",
            "log_level": "debug",
            "type": "DHCPREQUEST",
            "xid": "00000abc",
            "chaddr": "02:42:c0:a8:3b:0a",
            "requested": "192.168.59.12",
            "client_id": "01:02:ff",
            "hostname": "web",
            "parameters": [1, 121, 3],
            "link": "eth0",
            "length": 300,
            "to": "255.255.255.255",
        }
    ]


def test_what_is_received_is_told_with_times_in_seconds() -> None:
    message = Message(
        type=MessageType.ACK,
        xid=1,
        chaddr=MAC,
        broadcast=False,
        yiaddr=IPv4Address("192.168.59.12"),
        server_id=SERVER,
        lease_time=INFINITE,
        renewal_time=timedelta(minutes=5),
        routers=(SERVER,),
        mtu=1500,
        static_routes=((IPv4Network("10.0.0.0/8"), SERVER),),
    )
    with structlog.testing.capture_logs() as logged:
        PacketLog("eth0").received(message, length=308)
    (line,) = logged
    assert (line["event"], line["type"], line["yiaddr"]) == (
        "dhcp_message_received",
        "DHCPACK",
        "192.168.59.12",
    )
    assert (line["lease_time"], line["renewal_time"], line["mtu"]) == ("infinite", 300, 1500)
    assert (line["routers"], line["broadcast"]) == (["192.168.59.2"], False)
    assert line["static_routes"] == [["10.0.0.0/8", "192.168.59.2"]]
