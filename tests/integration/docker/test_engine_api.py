"""The Docker adapter against a real engine, whose networks take their addresses from D4D."""

import asyncio
import json
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from datetime import timedelta
from ipaddress import IPv4Address, IPv4Network

import pytest

from d4d.adapters.docker.engine import DockerEngineClient
from d4d.domain.addressing import MacAddress
from d4d.domain.errors import DockerUnavailable
from d4d.domain.ports.docker import Attachment, Change, ContainerEvent, NetworkSubnet
from lab.d4d_driver import NAME
from lab.dhcp_servers import Dhcpd, Site
from lab.docker_engine import FOR_EVER, IMAGE, Engine
from lab.lab import Host, Lab
from lab.processes import LabError, eventually

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root")

BOTH_LOOPS = True
SITE = Site(lease_time=timedelta(seconds=120))
CREATE = ("-d", "macvlan", f"--ipam-driver={NAME}", f"--subnet={SITE.subnet}", "-o", "parent=eth0")
RANGE = IPv4Network("10.77.16.0/20")
OPTIONS = (
    *("--ipam-opt", "server=10.77.0.1", f"--ip-range={RANGE}"),
    *(f"--gateway={SITE.router}", "--aux-address", "host=10.77.0.2"),
)
SHORT = 10.0  # seconds; nothing here takes one


@pytest.fixture(scope="module")
def server_and_host() -> Iterator[tuple[Dhcpd, Host]]:
    with Lab() as lab:
        switch = lab.switch()
        server = lab.server(Dhcpd, lab.machine("server", switch, "10.77.0.1/16"), SITE)
        host = lab.host("host1", switch, "10.77.0.2/16", settings={"D4D_DHCP_DEADLINE": "2s"})
        server.start()
        host.start()
        yield server, host


@pytest.fixture
def server(server_and_host: tuple[Dhcpd, Host]) -> Dhcpd:
    return server_and_host[0]


@pytest.fixture
def engine(server_and_host: tuple[Dhcpd, Host]) -> Iterator[Engine]:
    """The engine, with one network of ours."""
    engine = server_and_host[1].engine
    engine.network_create("lan", *CREATE, *OPTIONS)
    yield engine
    for paused in engine.docker("ps", "--quiet", "--filter", "status=paused").split():
        engine.docker("unpause", paused)  # what is frozen can't be killed
    if containers := engine.docker("ps", "--all", "--quiet").split():
        engine.rm(*containers)
    engine.network_rm("lan")


@pytest.fixture
async def docker(engine: Engine) -> AsyncIterator[DockerEngineClient]:
    docker = DockerEngineClient(engine.socket, driver=NAME)
    yield docker
    await docker.aclose()


async def end_of(docker: DockerEngineClient, name: str) -> Attachment:
    (found,) = [each for each in await docker.attachments() if each.name == name]
    return found


def container_id(engine: Engine, name: str) -> str:
    return engine.docker("inspect", "--format", "{{.Id}}", name).strip()


def names(engine: Engine) -> set[str]:
    return set(engine.docker("ps", "--all", "--format", "{{.Names}}").split())


def settings(engine: Engine, name: str) -> dict[str, object]:
    text = engine.docker("inspect", "--format", "{{json .NetworkSettings.Networks.lan}}", name)
    found: dict[str, object] = json.loads(text)
    return found


async def test_networks_are_those_of_our_driver(engine: Engine, docker: DockerEngineClient) -> None:
    (network,) = await docker.networks()  # and not Docker's own: host and none
    assert network.id == engine.docker("network", "inspect", "-f", "{{.Id}}", "lan").strip()
    assert (network.name, network.driver, network.parent) == ("lan", "macvlan", "eth0")
    assert network.options == {"server": "10.77.0.1"}
    config = NetworkSubnet(
        subnet=SITE.subnet,
        range=RANGE,
        gateway=SITE.router,
        auxiliary=(IPv4Address("10.77.0.2"),),
    )
    assert network.subnets == (config,)
    assert not docker.gives_names  # 20.10 is what the lab has


async def test_attachments_are_what_docker_inspect_says(
    engine: Engine, docker: DockerEngineClient
) -> None:
    assert await docker.attachments() == ()
    running, paused = engine.run("web"), engine.run("db")
    engine.run("gone")
    engine.docker("run", "--detach", "--name", "alone", "--network", "none", IMAGE, *FOR_EVER)
    engine.docker("pause", "db")
    engine.stop_container("gone")
    (network,) = await docker.networks()
    expected = {
        Attachment(
            network_id=network.id,
            container_id=container_id(engine, name),
            name=name,
            mac=MacAddress.parse(end.mac),
            address=end.address,
            subnet=SITE.subnet,
        )
        for name, end in (("web", running), ("db", paused))
    }
    found = await docker.attachments()
    assert set(found) == expected
    assert len(found) == len(expected)


async def test_docker_answers_while_it_waits_for_an_address_of_ours(
    engine: Engine, docker: DockerEngineClient, server: Dhcpd
) -> None:
    engine.run("before")
    server.stop()
    try:
        start = asyncio.create_task(asyncio.to_thread(engine.run, "late"))
        await asyncio.to_thread(
            eventually, lambda: names(engine) == {"before", "late"}, what="nothing was created"
        )
        assert [each.name for each in await docker.attachments()] == ["before"]
        assert not start.done()
        with pytest.raises(LabError, match="no DHCP server answered"):
            await start
        assert [each.name for each in await docker.attachments()] == ["before"]
    finally:
        server.start()


async def test_starts_connections_and_renames_are_told(
    engine: Engine, docker: DockerEngineClient
) -> None:
    async with aclosing(docker.started()) as events:
        assert (await anext(events)).change is Change.MISSED
        await asyncio.to_thread(engine.run, "web")
        await asyncio.to_thread(engine.docker, "rename", "web", "web2")
        async with asyncio.timeout(SHORT):
            seen = [await anext(events) for _ in range(3)]
    (network,) = await docker.networks()
    web = container_id(engine, "web2")
    assert seen == [
        ContainerEvent(change=Change.CONNECTED, container_id=web, network_id=network.id),
        ContainerEvent(change=Change.STARTED, container_id=web, name="web"),
        ContainerEvent(change=Change.RENAMED, container_id=web, name="web2"),
    ]


async def test_an_engine_that_stops_is_unknown_and_found_again(
    engine: Engine, docker: DockerEngineClient
) -> None:
    assert await docker.attachments() == ()
    async with aclosing(docker.started()) as events:
        await anext(events)
        next_event = asyncio.ensure_future(anext(events))
        await asyncio.to_thread(engine.stop)
        with pytest.raises(DockerUnavailable, match=str(engine.socket)):
            await docker.attachments()
        with pytest.raises(DockerUnavailable, match=str(engine.socket)):
            await docker.networks()
        assert not next_event.done()
        await asyncio.to_thread(engine.start)
        assert [each.name for each in await docker.networks()] == ["lan"]
        async with asyncio.timeout(SHORT):
            assert await next_event == ContainerEvent(change=Change.MISSED)
        await asyncio.to_thread(engine.run, "web")
        async with asyncio.timeout(SHORT):
            assert (await anext(events)).change is Change.CONNECTED
    assert [each.name for each in await docker.attachments()] == ["web"]


async def test_a_crash_of_the_engine_in_the_middle_of_events_is_a_gap(
    engine: Engine, docker: DockerEngineClient
) -> None:
    async with aclosing(docker.started()) as events:
        await anext(events)
        await asyncio.to_thread(engine.kill)
        await asyncio.to_thread(engine.start)
        async with asyncio.timeout(SHORT):
            assert (await anext(events)).change is Change.MISSED


async def test_reconnecting_gives_another_address_and_keeps_the_aliases(
    engine: Engine, docker: DockerEngineClient
) -> None:
    engine.run("web", "--network-alias", "www")
    aliases = settings(engine, "web")["Aliases"]
    before = await end_of(docker, "web")
    pid = engine.docker("inspect", "--format", "{{.State.Pid}}", "web")

    await docker.reconnect(before)

    after = await end_of(docker, "web")
    assert after.address != before.address
    assert engine.inspect("web").address == after.address
    assert settings(engine, "web")["Aliases"] == aliases
    assert engine.docker("inspect", "--format", "{{.State.Pid}}", "web") == pid
    engine.ping("web", IPv4Address("10.77.0.1"))

    await docker.reconnect(before)  # it was done already
    assert await end_of(docker, "web") == after


async def test_reconnecting_keeps_an_address_that_the_user_chose(
    engine: Engine, docker: DockerEngineClient
) -> None:
    engine.run("web", "--ip", "10.77.17.99")
    chosen = settings(engine, "web")["IPAMConfig"]
    before = await end_of(docker, "web")
    endpoint = settings(engine, "web")["EndpointID"]
    await docker.reconnect(before)
    assert (await end_of(docker, "web")).address == IPv4Address("10.77.17.99")
    assert settings(engine, "web")["IPAMConfig"] == chosen
    assert settings(engine, "web")["EndpointID"] != endpoint


async def test_reconnecting_is_finished_when_there_are_addresses_again(
    engine: Engine, docker: DockerEngineClient, server: Dhcpd
) -> None:
    engine.run("web", "--network-alias", "www")
    before = await end_of(docker, "web")
    server.stop()
    try:
        with pytest.raises(DockerUnavailable, match="no DHCP server answered"):
            await docker.reconnect(before)
        assert await docker.attachments() == ()
    finally:
        server.start()
    await docker.reconnect(before)
    assert engine.inspect("web").address == (await end_of(docker, "web")).address
    aliases = settings(engine, "web")["Aliases"]
    assert isinstance(aliases, list)
    assert "www" in aliases


async def test_restarting_and_stopping_do_so(engine: Engine, docker: DockerEngineClient) -> None:
    engine.run("web", "--restart", "always")
    web = container_id(engine, "web")
    pid = engine.docker("inspect", "--format", "{{.State.Pid}}", "web")

    await docker.restart(web)
    assert engine.docker("inspect", "--format", "{{.State.Pid}}", "web") != pid
    assert (await end_of(docker, "web")).container_id == web

    await docker.stop(web)
    assert engine.docker("inspect", "--format", "{{.State.Status}}", "web").strip() == "exited"
    assert await docker.attachments() == ()
    await docker.stop(web)  # it was done already


async def test_a_container_that_is_gone_is_an_error(
    engine: Engine, docker: DockerEngineClient
) -> None:
    engine.run("web")
    web = await end_of(docker, "web")
    engine.rm("web")
    for action in (docker.restart(web.container_id), docker.stop(web.container_id)):
        with pytest.raises(DockerUnavailable, match="No such container"):
            await action
    with pytest.raises(DockerUnavailable, match="No such container"):
        await docker.reconnect(web)
