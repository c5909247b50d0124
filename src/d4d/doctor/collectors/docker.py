"""Docker on this host: its version, and whose networks it has."""

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from pydantic import Field

from d4d.adapters.docker.engine_http import DockerApi
from d4d.adapters.docker.models import BUILTIN_IPAM_DRIVERS, NetworkModel, Version, read
from d4d.domain.errors import DockerUnavailable
from d4d.domain.ports.docker import DockerNetwork

_TIMEOUT = timedelta(seconds=5)


class _Engine(Version):
    engine: str = Field("unknown", alias="Version")


@dataclass(frozen=True, slots=True, kw_only=True)
class DockerFacts:
    """The engine, or why it can't be asked."""

    error: str | None = None
    engine: str = ""
    """As Docker's users know it: ``20.10.24``."""
    api: tuple[int, int] = (0, 0)
    """The newest version of the API that it speaks."""
    networks: tuple[DockerNetwork, ...] = ()
    """Ours."""
    others: tuple[tuple[str, str], ...] = ()
    """Networks of other IPAM plugins, each with its plugin's name."""


async def inspect_docker(socket: Path, driver: str) -> DockerFacts:
    """Ask the engine at ``socket``; ``driver`` is our name as its users write it."""
    api = DockerApi(socket, patience=_TIMEOUT)
    try:
        engine = read(_Engine, await api.request("GET", "/version"), request="GET /version")
        content = await api.request("GET", "/networks")
        networks = read(list[NetworkModel], content, request="GET /networks")
        ours = tuple(each.network() for each in networks if each.is_served_by(driver))
    except DockerUnavailable as error:
        return DockerFacts(error=str(error))
    finally:
        await api.aclose()
    major, minor = engine.newest.split(".")
    return DockerFacts(
        engine=engine.engine,
        api=(int(major), int(minor)),
        networks=ours,
        others=tuple(
            (each.name, each.ipam.driver)
            for each in networks
            if each.ipam.driver not in {*BUILTIN_IPAM_DRIVERS, "", driver}
        ),
    )
