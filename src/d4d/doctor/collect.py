"""Looks at the host, part by part: where a look fails, the others are judged all the same."""

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
from d4d.doctor.collectors.database import look_at_history, look_at_leases
from d4d.doctor.collectors.docker import look_at_docker
from d4d.doctor.collectors.links import HostLink, has_default_route, host_links
from d4d.doctor.collectors.plugin_socket import look_at_plugin_socket, specs_of_others
from d4d.doctor.collectors.processes import lock_holder, other_drivers, privileges, udp_owners
from d4d.doctor.collectors.stores import RedisLook, look_at_directory, look_at_redis
from d4d.doctor.facts import AdminLook, DriverLook, HostFacts, ProbedNetwork, RouterHere
from d4d.doctor.findings import Finding
from d4d.doctor.probe_plan import Servers
from d4d.domain.addressing import MacAddress
from d4d.domain.errors import D4DError
from d4d.settings.model import Settings

_DHCP_SERVERS_PORT = 67
_SPECS = (Path("/etc/docker/plugins"), Path("/usr/lib/docker/plugins"))

T = TypeVar("T")


class Looks:
    """Looks that may fail, and what went wrong with them."""

    def __init__(self) -> None:
        self.failures: list[Finding] = []

    async def at(self, what: str, look: Awaitable[T]) -> T | None:
        """What ``look`` sees; None where it fails."""
        try:
            return await look
        except Exception as error:  # whatever it is, it is told, and the other looks are of use
            self.failures.append(catalogue.CHECK_FAILED.found(f"can't look at {what}: {error!r}"))
            return None

    async def aside(self, what: str, look: Callable[[], T]) -> T | None:
        """The same, in a thread: for what waits."""
        return await self.at(what, asyncio.to_thread(look))


async def look(
    container: DriverParts, looks: Looks, *, patience: timedelta, sources: Sequence[str] = ()
) -> HostFacts:
    """All that there is to see, within a little more than ``patience``."""
    settings: Settings = container.settings()
    database, events = settings.state_dir / "leases.db", settings.state_dir / "history.db"
    is_sqlite, is_kept = settings.store == "sqlite", settings.history_days > 0
    links, routed, docker, driver, redis = await asyncio.gather(
        looks.aside("the interfaces", host_links),
        looks.aside("the routes", has_default_route),
        looks.at("Docker", look_at_docker(settings.docker_socket, settings.plugin_socket.stem)),
        looks.aside("the driver", lambda: _look_at_driver(settings)),
        looks.at("Redis", _look_at_redis(settings)),
    )
    directory, stored, history, clock = await asyncio.gather(
        looks.aside("the state directory", lambda: look_at_directory(settings.state_dir)),
        looks.aside("the store", lambda: look_at_leases(database) if is_sqlite else None),
        looks.aside("the history", lambda: look_at_history(events) if is_kept else None),
        looks.aside("the clock", is_synchronised),
    )
    runs = driver is not None and driver.process is not None
    networks = docker.networks if docker else ()
    servers = Servers(probe=container.probe(), routes=container.routes(), settings=settings)
    admin, probed = await asyncio.gather(
        looks.aside("the operator's socket", lambda: _look_at_admin(settings) if runs else None),
        looks.at("DHCP servers", servers.ask(links or (), networks, patience)),
    )
    here = _routers_here(links or (), probed or ())
    asked = [looks.aside("neighbours", partial(_other, each, links or ())) for each in here]
    others = await asyncio.gather(*asked)
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
        for router in offer.terms.routers
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


def _look_at_driver(settings: Settings) -> DriverLook:
    process = lock_holder(settings.state_dir)
    owners = udp_owners(_DHCP_SERVERS_PORT)
    return DriverLook(
        process=process,
        privileges=privileges(process.pid) if process else None,
        others=other_drivers(process),
        socket=look_at_plugin_socket(settings.plugin_socket, process),
        specs=specs_of_others(_SPECS, settings.plugin_socket),
        port_67=[owner for owner in owners if owner != process],
    )


def _look_at_admin(settings: Settings) -> AdminLook | None:
    """None where there is to be no such socket."""
    bind, token = settings.admin_bind, settings.admin_token
    if bind.path is None and bind.address is None:
        return None
    secret = token.get_secret_value() if token else None
    client = AdminClient(path=bind.path, url=f"http://{bind}", token=secret)
    try:
        alive, ready = client.health("/healthz"), client.health("/readyz")
    except D4DError as error:
        return AdminLook(error=str(error))
    finally:
        client.close()
    failing = [f"{each['name']}: {each['detail']}" for each in ready["checks"] if not each["ok"]]
    return AdminLook(version=alive["version"], failing=failing)


async def _look_at_redis(settings: Settings) -> RedisLook | None:
    if settings.store != "redis":
        return None
    return await look_at_redis(settings.redis_url, settings.redis_prefix)
