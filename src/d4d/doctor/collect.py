"""Collects the facts of the host, part by part: where one part fails, the others are judged."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TypeVar

from d4d.adapters.admin_client import AdminClient
from d4d.bootstrap import DriverParts
from d4d.doctor import catalogue
from d4d.doctor.collectors.arp import other_with
from d4d.doctor.collectors.clock import is_synchronised
from d4d.doctor.collectors.database import inspect_history, inspect_leases
from d4d.doctor.collectors.docker import inspect_docker
from d4d.doctor.collectors.links import HostLink, has_default_route, host_links
from d4d.doctor.collectors.plugin_socket import inspect_plugin_socket, specs_of_others
from d4d.doctor.collectors.processes import lock_holder, other_drivers, privileges, udp_owners
from d4d.doctor.collectors.stores import RedisFacts, inspect_directory, inspect_redis
from d4d.doctor.facts import AdminFacts, DriverFacts, HostFacts, ProbedNetwork, RouterHere
from d4d.doctor.findings import Finding
from d4d.doctor.probe_plan import Servers
from d4d.domain.addressing import MacAddress
from d4d.domain.errors import D4DError
from d4d.settings.model import Settings

_DHCP_SERVERS_PORT = 67
_SPECS = (Path("/etc/docker/plugins"), Path("/usr/lib/docker/plugins"))

T = TypeVar("T")


class Collector:
    """Collects facts, each by itself: one that can't be had is a finding, and leaves the others."""

    def __init__(self) -> None:
        self.failures: list[Finding] = []

    async def collect(self, subject: str, facts: Awaitable[T]) -> T | None:
        """The ``facts`` of a subject; None where they can't be had."""
        try:
            return await facts
        except Exception as error:  # whatever it is, it is reported, and other facts are of use
            failure = catalogue.CHECK_FAILED.found(f"can't look at {subject}: {error!r}")
            self.failures.append(failure)
            return None

    async def in_thread(self, subject: str, collect: Callable[[], T]) -> T | None:
        """The same for what blocks."""
        return await self.collect(subject, asyncio.to_thread(collect))


async def collect_facts(
    parts: DriverParts, collector: Collector, *, wait: timedelta, sources: Sequence[str] = ()
) -> HostFacts:
    """All that there is to know, within a little more than ``wait``."""
    settings: Settings = parts.settings()
    database, events = settings.state_dir / "leases.db", settings.state_dir / "history.db"
    is_sqlite, is_kept = settings.store == "sqlite", settings.history_days > 0
    links, routed, docker, driver, redis = await asyncio.gather(
        collector.in_thread("the interfaces", host_links),
        collector.in_thread("the routes", has_default_route),
        collector.collect(
            "Docker", inspect_docker(settings.docker_socket, settings.plugin_socket.stem)
        ),
        collector.in_thread("the driver", lambda: _inspect_driver(settings)),
        collector.collect("Redis", _inspect_redis(settings)),
    )
    directory, stored, history, clock = await asyncio.gather(
        collector.in_thread("the state directory", lambda: inspect_directory(settings.state_dir)),
        collector.in_thread("the store", lambda: inspect_leases(database) if is_sqlite else None),
        collector.in_thread("the history", lambda: inspect_history(events) if is_kept else None),
        collector.in_thread("the clock", is_synchronised),
    )
    runs = driver is not None and driver.process is not None
    networks = docker.networks if docker else ()
    servers = Servers(probe=parts.probe(), routes=parts.routes(), settings=settings)
    admin, probed = await asyncio.gather(
        collector.in_thread(
            "the operator's socket", lambda: _inspect_admin(settings) if runs else None
        ),
        collector.collect("DHCP servers", servers.ask(links or (), networks, wait)),
    )
    here = _routers_here(links or (), probed or ())
    questions = [
        collector.in_thread("neighbours", partial(_other, each, links or ())) for each in here
    ]
    others = await asyncio.gather(*questions)
    return HostFacts(
        settings=settings,
        now=datetime.now(UTC),
        version=version("d4d"),
        links=links,
        driver=driver,
        admin=admin,
        docker=docker,
        directory=directory,
        database=stored,
        history=history,
        redis=redis,
        probed=probed,
        routers_here=[replace(e, other=o) for e, o in zip(here, others, strict=True)],
        has_default_route=routed,
        is_synchronised=clock,
        sources=sources,
    )


def _routers_here(links: Sequence[HostLink], probed: Sequence[ProbedNetwork]) -> list[RouterHere]:
    """Each bridge with an address that a server names as the router, once."""
    named = {
        router: offer.terms.server
        for way in probed
        for offer in way.probed.offers
        for router in offer.terms.default_routers
    }
    return [
        RouterHere(bridge=link.name, address=address, server=named[address.ip])
        for link in links
        if link.kind == "bridge"
        for address in link.addresses
        if address.ip in named
    ]


def _other(here: RouterHere, links: Sequence[HostLink]) -> MacAddress | None:
    own = [link.mac for link in links if link.mac is not None]
    return other_with(here.bridge, here.address.ip, own=own)


def _inspect_driver(settings: Settings) -> DriverFacts:
    process = lock_holder(settings.state_dir)
    owners = udp_owners(_DHCP_SERVERS_PORT)
    return DriverFacts(
        process=process,
        privileges=privileges(process.pid) if process else None,
        others=other_drivers(process),
        socket=inspect_plugin_socket(settings.plugin_socket, process),
        specs=specs_of_others(_SPECS, settings.plugin_socket),
        port_67=[owner for owner in owners if owner != process],
    )


def _inspect_admin(settings: Settings) -> AdminFacts | None:
    """None where there is to be no such socket."""
    bind, token = settings.admin_bind, settings.admin_token
    if bind.path is None and bind.address is None:
        return None
    secret = token.get_secret_value() if token else None
    client = AdminClient(path=bind.path, url=f"http://{bind}", token=secret)
    try:
        alive, ready = client.health("/healthz"), client.health("/readyz")
    except D4DError as error:
        return AdminFacts(error=str(error))
    finally:
        client.close()
    failing = [f"{each['name']}: {each['detail']}" for each in ready["checks"] if not each["ok"]]
    return AdminFacts(version=alive["version"], failing=failing)


async def _inspect_redis(settings: Settings) -> RedisFacts | None:
    if settings.store != "redis":
        return None
    return await inspect_redis(settings.redis_url, settings.redis_prefix)
