"""The Docker adapter before an engine that answers from a script, over a real unix socket."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import timedelta
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from d4d.adapters.docker.engine import DockerEngineClient
from d4d.domain.addressing import MacAddress
from d4d.domain.errors import DockerUnavailable
from d4d.domain.ports.docker import (
    Attachment,
    Change,
    ContainerEvent,
    DockerEngine,
    DockerNetwork,
    NetworkSubnet,
)

BOTH_LOOPS = True

LAN = "4517de4f028479155b1529aa1eae82770f820d041cee929527fb01b12c0083b0"
WEB = "c61a82662b6ecb116dbdfafdadefd32290230965a0999deba4391182aa649d48"

# Captured from 20.10.24.
VERSION_20 = {"Version": "20.10.24+dfsg1", "ApiVersion": "1.41", "MinAPIVersion": "1.12"}
NONE_20: dict[str, Any] = {
    "Name": "none", "Id": "8733b820", "Created": "2026-11-24T21:19:23.23015663Z",
    "Scope": "local", "Driver": "null", "EnableIPv6": False,
    "IPAM": {"Driver": "default", "Options": None, "Config": []},
    "Internal": False, "Attachable": False, "Ingress": False, "ConfigFrom": {"Network": ""},
    "ConfigOnly": False, "Containers": {}, "Options": {}, "Labels": {},
}  # fmt: skip
LAN_20: dict[str, Any] = {
    "Name": "lan", "Id": LAN, "Created": "2026-11-24T21:19:23.418803685Z",
    "Scope": "local", "Driver": "macvlan", "EnableIPv6": False,
    "IPAM": {
        "Driver": "talkingdata", "Options": {"server": "10.77.0.1"},
        "Config": [
            {
                "Subnet": "10.77.0.0/16", "Gateway": "10.77.0.254",
                "AuxiliaryAddresses": {"x": "10.77.0.2"},
            }
        ],
    },
    "Internal": False, "Attachable": False, "Ingress": False, "ConfigFrom": {"Network": ""},
    "ConfigOnly": False, "Containers": {}, "Options": {"parent": "eth0"}, "Labels": {},
}  # fmt: skip
ENDS_20: dict[str, Any] = {
    WEB: {
        "Name": "web2",
        "EndpointID": "abd4b2f7c5bb9bce0782bb18d1dbcb3c8c8c4079d61af273d3bbd6011541724a",
        "MacAddress": "02:42:09:2a:80:7d", "IPv4Address": "10.77.16.2/16", "IPv6Address": "",
    }
}  # fmt: skip
CONTAINER_20: dict[str, Any] = {
    "Id": WEB, "Name": "/web2",
    "NetworkSettings": {
        "Bridge": "", "IPAddress": "",
        "Networks": {
            "lan": {
                "IPAMConfig": {"IPv4Address": "10.77.16.2"}, "Links": None,
                "Aliases": ["www", "c61a82662b6e"], "NetworkID": LAN,
                "EndpointID": "abd4b2f7c5bb9bce0782bb18d1dbcb3c8c8c4079d61af273d3bbd6011541724a",
                "Gateway": "10.77.0.254", "IPAddress": "10.77.16.2", "IPPrefixLen": 16,
                "IPv6Gateway": "", "GlobalIPv6Address": "", "GlobalIPv6PrefixLen": 0,
                "MacAddress": "02:42:09:2a:80:7d", "DriverOpts": None,
            }
        },
    },
}  # fmt: skip
LISTED_20: dict[str, Any] = {
    "Id": WEB, "Names": ["/db/web", "/web2"], "Image": "lab:busybox", "State": "running",
    "HostConfig": {"NetworkMode": "lan"},
    "NetworkSettings": CONTAINER_20["NetworkSettings"], "Mounts": [],
}  # fmt: skip
SW = "7r7f6o6b43sy0nqzy0fkr5sj1"
SW_LISTED_20: dict[str, Any] = {
    "Name": "sw", "Id": SW, "Created": "2026-11-28T09:03:53.518444116Z",
    "Scope": "swarm", "Driver": "macvlan", "EnableIPv6": False,
    "IPAM": {"Driver": "", "Options": None, "Config": []},
    "Internal": False, "Attachable": True, "Ingress": False, "ConfigFrom": {"Network": "cfg"},
    "ConfigOnly": False, "Containers": None, "Options": None, "Labels": None,
}  # fmt: skip
"""On a swarm's manager."""
SW_20: dict[str, Any] = {
    **SW_LISTED_20,
    "IPAM": {
        "Driver": "talkingdata", "Options": None,
        "Config": [{"Subnet": "10.77.0.0/16", "Gateway": "10.77.0.254"}],
    },
    "Containers": {
        "820b": {
            "Name": "svc.2.9sg8mvygeq4cza6yo7x6mdcyk", "EndpointID": "0f9a25f1889f",
            "MacAddress": "02:42:01:c4:1f:c8", "IPv4Address": "10.77.16.2/16", "IPv6Address": "",
        }
    },
    "Options": {"parent": "eth0"}, "Labels": {}, "Peers": [{"Name": "754a", "IP": "10.77.0.2"}],
}  # fmt: skip
CONNECTED_20 = (
    b'{"Type":"network","Action":"connect","Actor":{"ID":"' + LAN.encode() + b'","Attributes":'
    b'{"container":"' + WEB.encode() + b'","name":"lan","type":"macvlan"}},"scope":"local",'
    b'"time":1795555163,"timeNano":1795555163494452374}\n'
)
STARTED_20 = (
    b'{"status":"start","id":"' + WEB.encode() + b'","from":"lab:busybox","Type":"container",'
    b'"Action":"start","Actor":{"ID":"' + WEB.encode() + b'","Attributes":{"image":"lab:busybox",'
    b'"name":"web"}},"scope":"local","time":1795555163,"timeNano":1795555163772599017}\n'
)
RENAMED_20 = (
    b'{"status":"rename","id":"' + WEB.encode() + b'","from":"lab:busybox","Type":"container",'
    b'"Action":"rename","Actor":{"ID":"' + WEB.encode() + b'","Attributes":{"image":"lab:busybox",'
    b'"name":"web2","oldName":"/web"}},"scope":"local","time":1795555164,"timeNano":1}\n'
)
CONNECTED = ContainerEvent(change=Change.CONNECTED, container_id=WEB, network_id=LAN)
STARTED = ContainerEvent(change=Change.STARTED, container_id=WEB, name="web")
RENAMED = ContainerEvent(change=Change.RENAMED, container_id=WEB, name="web2")
MISSED = ContainerEvent(change=Change.MISSED)

# After engine 29's API description.
VERSION_29 = {"Version": "29.1.0", "ApiVersion": "1.52", "MinAPIVersion": "1.44"}
LAN_29: dict[str, Any] = {
    **LAN_20,
    "EnableIPv4": True, "EnableIPv6": True,
    "IPAM": {
        "Driver": "talkingdata", "Options": {},
        "Config": [
            {"Subnet": "10.77.0.0/16", "IPRange": "10.77.16.0/20"},
            {"Subnet": "fd00:77::/64", "Gateway": "fd00:77::1"},
        ],
    },
    "Status": {"IPAM": {"Subnets": {}}},
}  # fmt: skip
ENDS_29: dict[str, Any] = {
    WEB: {
        "Name": "web2", "EndpointID": "abd4", "MacAddress": "0e:a2:bc:e5:f4:cd",
        "IPv4Address": "10.77.16.2/16", "IPv6Address": "fd00:77::2/64",
    }
}  # fmt: skip

Answer = tuple[int, Any]


@dataclass(slots=True, kw_only=True)
class FakeEngine:
    """Answers what ``answers`` has for ``GET /networks`` and the like; bytes are streamed."""

    socket: Path
    answers: dict[str, Answer | list[Answer]]
    asked: list[str] = field(default_factory=list)
    """Method and path, without version."""
    versions: set[str] = field(default_factory=set)
    bodies: list[Any] = field(default_factory=list)
    queries: list[dict[str, list[str]]] = field(default_factory=list)
    silent: bool = False
    _server: asyncio.Server | None = None

    async def start(self) -> None:
        self._server = await asyncio.start_unix_server(self._serve, self.socket)

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        self.socket.unlink(missing_ok=True)  # Python 3.13 takes it away by itself

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            method, target, _ = head.split(" ", 2)
            length = next(
                (int(line[15:]) for line in head.lower().splitlines() if "content-length" in line),
                0,
            )
            if length:
                self.bodies.append(json.loads(await reader.readexactly(length)))
            if self.silent:
                await reader.read()  # until the client gives up
                return
            writer.write(self._answer(method, target))
            await writer.drain()
        except asyncio.IncompleteReadError as error:
            assert error.partial == b""  # it was looked whether somebody listens
        finally:
            writer.close()

    def _answer(self, method: str, target: str) -> bytes:
        url = urlsplit(target)
        path = url.path
        if path.startswith("/v1."):
            _, version, path = path.split("/", 2)
            self.versions.add(version)
            path = f"/{path}"
        asked = f"{method} {path}"
        self.asked.append(asked)
        if url.query:
            self.queries.append(parse_qs(url.query))
        answer = self.answers.get(asked, (404, {"message": f"no {path}"}))
        if isinstance(answer, list):
            answer = answer.pop(0) if len(answer) > 1 else answer[0]
        status, body = answer
        if isinstance(body, bytes):  # as /events: it ends when the connection does
            return f"HTTP/1.1 {status} x\r\nTransfer-Encoding: chunked\r\n\r\n".encode() + b"".join(
                b"%x\r\n%b\r\n" % (len(part), part) for part in _split(body)
            )
        text = body if isinstance(body, str) else json.dumps(body)
        content = b"" if body is None else text.encode()
        return f"HTTP/1.1 {status} x\r\nContent-Length: {len(content)}\r\n\r\n".encode() + content


def _split(body: bytes) -> list[bytes]:
    """Parts that end anywhere but at the ends of lines."""
    return [body[start : start + 100] for start in range(0, len(body), 100)]


@pytest.fixture
def socket(tmp_path: Path) -> Path:
    return tmp_path / "docker.sock"


@pytest.fixture
async def docker(socket: Path) -> AsyncIterator[DockerEngineClient]:
    docker = DockerEngineClient(socket, driver="talkingdata", patience=timedelta(seconds=5))
    yield docker
    await docker.aclose()


@pytest.fixture
async def engine(socket: Path) -> AsyncIterator[FakeEngine]:
    answers: dict[str, Answer | list[Answer]] = {
        "GET /version": (200, VERSION_20),
        "GET /networks": (200, [NONE_20, LAN_20]),
        f"GET /networks/{LAN}": (200, {**LAN_20, "Containers": ENDS_20}),
        "GET /containers/json": (200, [LISTED_20]),
        f"GET /containers/{WEB}/json": (200, CONTAINER_20),
        f"POST /networks/{LAN}/disconnect": (200, None),
        f"POST /networks/{LAN}/connect": (200, None),
    }
    engine = FakeEngine(socket=socket, answers=answers)
    await engine.start()
    yield engine
    await engine.stop()


def end(**changes: Any) -> Attachment:
    parts: dict[str, Any] = {
        "network_id": LAN,
        "container_id": WEB,
        "name": "web2",
        "mac": MacAddress.parse("02:42:09:2a:80:7d"),
        "address": IPv4Address("10.77.16.2"),
        "subnet": IPv4Network("10.77.0.0/16"),
    }
    return Attachment(**(parts | changes))


async def test_networks_are_ours_with_what_their_users_wrote(
    engine: FakeEngine, docker: DockerEngine
) -> None:
    (network,) = await docker.networks()
    assert network == DockerNetwork(
        id=LAN,
        name="lan",
        driver="macvlan",
        subnets=(
            NetworkSubnet(
                subnet=IPv4Network("10.77.0.0/16"),
                gateway=IPv4Address("10.77.0.254"),
                auxiliary=(IPv4Address("10.77.0.2"),),
            ),
        ),
        options={"server": "10.77.0.1"},
        parent="eth0",
        ends=(end(),),
    )


async def test_attachments_are_the_ends_of_running_containers(
    engine: FakeEngine, docker: DockerEngine
) -> None:
    assert await docker.attachments() == (end(),)


async def test_a_look_costs_a_request_for_each_network_of_ours_and_two(
    engine: FakeEngine, docker: DockerEngine
) -> None:
    others = [
        {**LAN_20, "Id": f"bridge{n}", "Driver": "bridge", "IPAM": {"Driver": "default"}}
        for n in range(300)
    ]
    engine.answers["GET /networks"] = (200, [NONE_20, *others, LAN_20])
    await docker.networks()
    await docker.attachments()
    expected = ["GET /version", "GET /networks", f"GET /networks/{LAN}", "GET /containers/json"]
    assert engine.asked == expected


async def test_a_swarms_manager_lists_no_driver_and_the_network_itself_does(
    engine: FakeEngine, docker: DockerEngine
) -> None:
    engine.answers["GET /networks"] = (200, [NONE_20, SW_LISTED_20])
    engine.answers[f"GET /networks/{SW}"] = (200, SW_20)
    (network,) = await docker.networks()
    assert (network.name, network.is_ours, network.parent) == ("sw", True, "eth0")
    assert [each.subnet for each in network.subnets] == [IPv4Network("10.77.0.0/16")]
    mac = MacAddress.parse("02:42:01:c4:1f:c8")
    name = "svc.2.9sg8mvygeq4cza6yo7x6mdcyk"
    assert network.ends == (end(network_id=SW, container_id="820b", name=name, mac=mac),)


@pytest.mark.parametrize("ipam", ["talkingdata", "default"])
async def test_a_network_made_from_a_configuration_is_asked_for_whatever_the_list_says(
    engine: FakeEngine, docker: DockerEngine, ipam: str
) -> None:
    engine.answers["GET /networks"] = (200, [{**SW_LISTED_20, "IPAM": {"Driver": "default"}}])
    itself = {**SW_20, "ConfigFrom": None, "IPAM": {**SW_20["IPAM"], "Driver": ipam}}
    engine.answers[f"GET /networks/{SW}"] = (200, itself)
    assert [each.name for each in await docker.networks()] == (["sw"] * (ipam == "talkingdata"))


async def test_a_driver_of_another_name_may_be_us(engine: FakeEngine, socket: Path) -> None:
    alias = {**LAN_20, "Id": "a", "IPAM": {**LAN_20["IPAM"], "Driver": "alias"}}
    other = {**LAN_20, "Id": "o", "IPAM": {**LAN_20["IPAM"], "Driver": "other"}}
    odd = {**LAN_20, "Id": "x", "IPAM": {"Driver": "odd", "Config": [{"Subnet": "no subnet"}]}}
    engine.answers["GET /networks"] = (200, [LAN_20, alias, other, odd])
    for each in (alias, other, odd):
        engine.answers[f"GET /networks/{each['Id']}"] = (200, {**each, "Containers": ENDS_20})
    docker = DockerEngineClient(socket, driver="talkingdata", is_ours="alias".__eq__)
    networks = await docker.networks()
    await docker.aclose()
    assert [(each.id, each.is_ours) for each in networks] == [
        (LAN, True),
        ("a", True),
        ("o", False),
    ]
    assert [len(each.ends) for each in networks] == [1, 1, 1]


async def test_containers_of_all_networks_are_listed(
    engine: FakeEngine, docker: DockerEngine
) -> None:
    settings = CONTAINER_20["NetworkSettings"]["Networks"]["lan"]
    six = {**settings, "GlobalIPv6Address": "fd00:77::2", "GlobalIPv6PrefixLen": 64}
    layer3 = {**settings, "NetworkID": "ipvlan", "MacAddress": ""}
    stopped = {**settings, "IPAddress": "", "MacAddress": ""}
    networks = {"lan": settings, "br": {**six, "NetworkID": "br"}, "l3": layer3, "new": None}
    engine.answers["GET /containers/json"] = (200, [
        {**LISTED_20, "NetworkSettings": {"Networks": networks}},
        {"Id": "none", "Names": None, "NetworkSettings": None},
        {"Id": "waits", "Names": ["/w"], "NetworkSettings": {"Networks": {"lan": stopped}}},
    ])  # fmt: skip
    subnet = IPv6Network("fd00:77::/64")
    assert await docker.attachments() == (
        end(),
        end(network_id="br"),
        end(network_id="br", address=IPv6Address("fd00:77::2"), subnet=subnet),
    )


async def test_a_container_that_makes_no_sense_is_not_left_out(
    engine: FakeEngine, docker: DockerEngine
) -> None:
    ends = {"lan": {**CONTAINER_20["NetworkSettings"]["Networks"]["lan"], "IPPrefixLen": 99}}
    odd = {**LISTED_20, "NetworkSettings": {"Networks": ends}}
    engine.answers["GET /containers/json"] = (200, [odd])
    with pytest.raises(DockerUnavailable, match="web2"):
        await docker.attachments()


async def test_engine_29_is_read_too(engine: FakeEngine, docker: DockerEngine) -> None:
    engine.answers |= {
        "GET /version": (200, VERSION_29),
        "GET /networks": (200, [LAN_29]),
        f"GET /networks/{LAN}": (200, {**LAN_29, "Containers": ENDS_29}),
    }
    (network,) = await docker.networks()
    assert network.subnets == (
        NetworkSubnet(
            subnet=IPv4Network("10.77.0.0/16"),
            range=IPv4Network("10.77.16.0/20"),
        ),
        NetworkSubnet(subnet=IPv6Network("fd00:77::/64"), gateway=IPv6Address("fd00:77::1")),
    )
    mac = MacAddress.parse("0e:a2:bc:e5:f4:cd")
    six = end(mac=mac, address=IPv6Address("fd00:77::2"), subnet=IPv6Network("fd00:77::/64"))
    assert network.ends == (end(mac=mac), six)


@pytest.mark.parametrize(
    ("newest", "oldest", "spoken"),
    [
        ("1.41", "1.12", "v1.41"),
        ("1.52", "1.44", "v1.52"),
        ("1.99", "1.44", "v1.54"),
        ("1.99", "1.60", "v1.60"),
    ],
)
async def test_a_version_is_spoken_that_the_engine_knows(
    engine: FakeEngine, docker: DockerEngine, newest: str, oldest: str, spoken: str
) -> None:
    engine.answers["GET /version"] = (200, {"ApiVersion": newest, "MinAPIVersion": oldest})
    await docker.attachments()
    assert engine.versions == {spoken}
    assert engine.asked.count("GET /version") == 1


async def test_an_engine_that_was_replaced_is_asked_anew_for_its_version(
    engine: FakeEngine, docker: DockerEngine
) -> None:
    engine.answers["GET /version"] = [(200, VERSION_29), (200, VERSION_20)]
    await docker.networks()
    engine.answers["GET /networks"] = [
        (400, {"message": "client version 1.52 is too new"}),
        (200, []),
    ]
    with pytest.raises(DockerUnavailable, match=r"client version 1\.52 is too new"):
        await docker.networks()
    assert await docker.networks() == ()
    assert engine.versions == {"v1.52", "v1.41"}


@pytest.mark.parametrize(("version", "gives"), [(VERSION_20, False), (VERSION_29, True)])
async def test_names_come_from_engine_29_on(
    engine: FakeEngine, docker: DockerEngine, version: object, gives: bool
) -> None:
    engine.answers["GET /version"] = (200, version)
    assert not docker.gives_names
    await docker.networks()
    assert docker.gives_names is gives


async def test_networks_of_others_and_templates_of_networks_are_left_out(
    engine: FakeEngine, docker: DockerEngine
) -> None:
    engine.answers["GET /networks"] = (200, [NONE_20, {**LAN_20, "ConfigOnly": True}])
    assert await docker.networks() == ()


@pytest.mark.parametrize(
    ("driver", "options", "parent"),
    [
        ("bridge", {"com.docker.network.bridge.name": "br7"}, "br7"),
        ("bridge", None, "br-4517de4f0284"),
        ("macvlan", {}, None),
    ],
)
async def test_a_network_stands_on_its_parent_or_bridge(
    engine: FakeEngine,
    docker: DockerEngine,
    driver: str,
    options: dict[str, str] | None,
    parent: str | None,
) -> None:
    changed = {**LAN_20, "Driver": driver, "Options": options}
    engine.answers |= {"GET /networks": (200, [changed]), f"GET /networks/{LAN}": (200, changed)}
    (network,) = await docker.networks()
    assert network.parent == parent


async def test_null_is_empty_and_host_bits_are_taken_off(
    engine: FakeEngine, docker: DockerEngine
) -> None:
    ipam = {"Driver": "talkingdata", "Options": None, "Config": None}
    odd = {**ipam, "Config": [{"Subnet": "192.168.61.77/24"}]}
    engine.answers["GET /networks"] = (200, [LAN_20, {**LAN_20, "Id": "odd"}])
    engine.answers[f"GET /networks/{LAN}"] = (200, {**LAN_20, "IPAM": ipam, "Containers": None})
    engine.answers["GET /networks/odd"] = (200, {**LAN_20, "IPAM": odd})
    plain, with_host_bits = await docker.networks()
    assert (plain.subnets, plain.options) == ((), {})
    assert [each.subnet for each in with_host_bits.subnets] == [IPv4Network("192.168.61.0/24")]
    assert plain.ends == ()


async def test_an_end_counts_before_a_container_has_it(
    engine: FakeEngine, docker: DockerEngine
) -> None:
    ends = {"ep-abd4": ENDS_20[WEB], "ep-none": {**ENDS_20[WEB], "IPv4Address": ""}}
    engine.answers[f"GET /networks/{LAN}"] = (200, {**LAN_20, "Containers": ends})
    (network,) = await docker.networks()
    assert network.ends == (end(container_id="ep-abd4"),)


async def test_an_absent_socket_is_unavailable_and_said_so(
    docker: DockerEngine, socket: Path
) -> None:
    with pytest.raises(DockerUnavailable, match=rf"{socket} .* GET /networks.*No such file"):
        await docker.networks()


async def test_an_engine_that_comes_later_is_found(docker: DockerEngine, socket: Path) -> None:
    with pytest.raises(DockerUnavailable):
        await docker.networks()
    answers: dict[str, Answer | list[Answer]] = {
        "GET /version": (200, VERSION_20),
        "GET /networks": (200, []),
    }
    engine = FakeEngine(socket=socket, answers=answers)
    await engine.start()
    assert await docker.networks() == ()
    await engine.stop()


async def test_a_refusal_says_what_docker_said(engine: FakeEngine, docker: DockerEngine) -> None:
    engine.answers["GET /networks"] = (500, {"message": "bolt is broken"})
    with pytest.raises(DockerUnavailable, match="GET /networks: bolt is broken"):
        await docker.networks()


@pytest.mark.parametrize(
    "body",
    ["no json", '{"an": "object"}', [{"Id": "x"}], [{**LAN_20, "IPAM": "x"}], '[{"Id": "cut'],
)
async def test_an_answer_in_another_form_is_no_answer(
    engine: FakeEngine, docker: DockerEngine, body: object
) -> None:
    engine.answers["GET /networks"] = (200, body)
    with pytest.raises(DockerUnavailable, match="GET /networks"):
        await docker.networks()


@pytest.mark.parametrize("change", [{"MacAddress": ""}, {"IPv4Address": "10.77.16.2/99"}])
async def test_an_end_that_makes_no_sense_is_not_left_out(
    engine: FakeEngine, docker: DockerEngine, change: dict[str, str]
) -> None:
    ends = {WEB: {**ENDS_20[WEB], **change}}
    engine.answers[f"GET /networks/{LAN}"] = (200, {**LAN_20, "Containers": ends})
    with pytest.raises(DockerUnavailable, match="web2"):
        await docker.networks()


async def test_no_part_of_the_networks_is_given(engine: FakeEngine, docker: DockerEngine) -> None:
    engine.answers["GET /networks"] = (200, [LAN_20, {**LAN_20, "Id": "second"}])
    engine.answers["GET /networks/second"] = (500, {"message": "no"})
    with pytest.raises(DockerUnavailable):
        await docker.networks()


async def test_a_network_that_is_removed_meanwhile_was_not_seen_and_the_others_were(
    engine: FakeEngine, docker: DockerEngine
) -> None:
    engine.answers["GET /networks"] = (200, [{**LAN_20, "Id": "removed"}, LAN_20])
    assert [each.id for each in await docker.networks()] == [LAN]


async def test_a_silent_engine_is_given_up(engine: FakeEngine, socket: Path) -> None:
    engine.silent = True
    docker = DockerEngineClient(socket, driver="talkingdata", patience=timedelta(milliseconds=50))
    with pytest.raises(DockerUnavailable, match="too long"):
        await docker.networks()
    await docker.aclose()


async def test_what_happens_is_told_in_order_after_the_marker(
    engine: FakeEngine, docker: DockerEngineClient
) -> None:
    other = b'{"Type":"container","Action":"die","Actor":{"ID":"x","Attributes":null}}\n'
    engine.answers["GET /events"] = (200, CONNECTED_20 + other + STARTED_20 + RENAMED_20)
    async with aclosing(docker.started()) as events:
        seen = [await anext(events) for _ in range(4)]
    assert seen == [MISSED, CONNECTED, STARTED, RENAMED]
    (query,) = engine.queries
    assert json.loads(query["filters"][0]) == {
        "type": ["container", "network"],
        "event": ["connect", "start", "rename"],
    }
    assert float(query["since"][0]) > 0


async def test_after_a_gap_the_marker_comes_again(
    engine: FakeEngine, docker: DockerEngineClient
) -> None:
    engine.answers["GET /events"] = [(200, STARTED_20), (503, "starting"), (200, RENAMED_20)]
    async with aclosing(docker.started()) as events:
        seen = [await anext(events) for _ in range(4)]
    assert seen == [MISSED, STARTED, MISSED, RENAMED]
    assert engine.asked.count("GET /events") == 3


async def test_an_engine_that_comes_while_it_is_listened_for_is_heard(
    engine: FakeEngine, docker: DockerEngineClient
) -> None:
    engine.answers["GET /events"] = (200, STARTED_20)
    await engine.stop()
    async with aclosing(docker.started()) as events, asyncio.timeout(5):
        first = asyncio.ensure_future(anext(events))
        await asyncio.sleep(0.1)
        assert not first.done()
        await engine.start()
        assert [await first, await anext(events)] == [MISSED, STARTED]


async def test_an_event_that_makes_no_sense_is_one_that_was_missed(
    engine: FakeEngine, docker: DockerEngineClient
) -> None:
    engine.answers["GET /events"] = (200, b'{"Type":\n' + STARTED_20)
    async with aclosing(docker.started()) as events:
        assert [await anext(events) for _ in range(3)] == [MISSED, MISSED, STARTED]


async def test_a_label_may_hold_what_ends_a_line_elsewhere(
    engine: FakeEngine, docker: DockerEngineClient
) -> None:
    line = STARTED_20.replace(b'"image":"lab:busybox"', '"label":"a\x85b\u2028c"'.encode())
    engine.answers["GET /events"] = (200, line)
    async with aclosing(docker.started()) as events:
        assert [await anext(events) for _ in range(2)] == [MISSED, STARTED]


async def test_reconnecting_asks_for_what_the_end_was_made_with(
    engine: FakeEngine, docker: DockerEngine
) -> None:
    await docker.reconnect(end())
    assert engine.asked[-2:] == [
        f"POST /networks/{LAN}/disconnect",
        f"POST /networks/{LAN}/connect",
    ]
    assert engine.bodies == [
        {"Container": WEB},
        {
            "Container": WEB,
            "EndpointConfig": {
                "Aliases": ["www"],
                "IPAMConfig": {"IPv4Address": "10.77.16.2"},
                "MacAddress": "02:42:09:2a:80:7d",
            },
        },
    ]


async def test_an_end_with_another_address_is_not_reconnected(
    engine: FakeEngine, docker: DockerEngine
) -> None:
    await docker.reconnect(end(address=IPv4Address("10.77.16.3")))
    assert engine.bodies == []


async def test_an_end_that_is_gone_is_not_connected(
    engine: FakeEngine, docker: DockerEngine
) -> None:
    engine.answers[f"GET /containers/{WEB}/json"] = (200, {"NetworkSettings": {"Networks": {}}})
    await docker.reconnect(end())
    assert engine.bodies == []


async def test_a_second_attempt_connects_what_the_first_only_disconnected(
    engine: FakeEngine, docker: DockerEngine
) -> None:
    engine.answers[f"POST /networks/{LAN}/connect"] = [
        (500, {"message": "IpamDriver.RequestAddress: no DHCP server answered"}),
        (200, None),
    ]
    with pytest.raises(DockerUnavailable, match="no DHCP server answered"):
        await docker.reconnect(end())
    left = {"lan": {"Aliases": ["www"], "NetworkID": "", "IPAddress": ""}}  # as 20.10 leaves it
    engine.answers[f"GET /containers/{WEB}/json"] = (200, {"NetworkSettings": {"Networks": left}})
    await docker.reconnect(end())
    disconnected, refused, connected = engine.bodies
    assert disconnected == {"Container": WEB}
    assert connected == refused
    await docker.reconnect(end())  # and nothing is left to do
    assert len(engine.bodies) == 3


async def test_a_second_attempt_disconnects_where_the_first_could_not(
    engine: FakeEngine, docker: DockerEngine
) -> None:
    engine.answers[f"POST /networks/{LAN}/disconnect"] = [(500, {"message": "no"}), (200, None)]
    with pytest.raises(DockerUnavailable):
        await docker.reconnect(end())
    await docker.reconnect(end())
    assert [path for path in engine.asked if path.startswith("POST")] == [
        f"POST /networks/{LAN}/disconnect",
        f"POST /networks/{LAN}/disconnect",
        f"POST /networks/{LAN}/connect",
    ]


async def test_stopping_what_has_stopped_is_fine(engine: FakeEngine, docker: DockerEngine) -> None:
    engine.answers[f"POST /containers/{WEB}/stop"] = (304, None)
    engine.answers[f"POST /containers/{WEB}/restart"] = (204, None)
    await docker.stop(WEB)
    await docker.restart(WEB)
    assert engine.asked[-2:] == [f"POST /containers/{WEB}/stop", f"POST /containers/{WEB}/restart"]


async def test_a_container_that_is_gone_can_not_be_stopped(
    engine: FakeEngine, docker: DockerEngine
) -> None:
    with pytest.raises(DockerUnavailable, match="POST /containers/nope/stop"):
        await docker.stop("nope")
