"""What most parts measure on: a DHCP server and a driver on one switch, without an engine."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from http import HTTPStatus

import httpx

from benchmarks.plugin_load import Plugin
from lab.d4d_driver import Driver
from lab.dhcp_servers import Server, Site
from lab.lab import Lab
from lab.network import Namespace, Switch

SITE = Site(lease_time=timedelta(seconds=3600))
SUBNET = str(SITE.subnet)
NO_PROBE = {"D4D_CONFLICT_PROBE": "0"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Rig:
    """Server and driver, both serving; ``pool`` is a pool of the server's subnet."""

    lab: Lab
    switch: Switch
    server: Server
    host: Namespace
    driver: Driver
    plugin: Plugin
    pool: str

    def seconds_of(self, leases: int, *, at_once: int) -> float:
        """How long so many take, so many at once. Raises LabError where one is refused."""
        began = time.perf_counter()
        answers = self.plugin.addresses([self.pool] * leases, at_once=at_once)
        seconds = time.perf_counter() - began
        assert len({answer.address for answer in answers}) == leases
        return seconds


@contextmanager
def rig(
    kind: type[Server], settings: Mapping[str, str] = NO_PROBE, *, site: Site = SITE
) -> Iterator[Rig]:
    """A rig while the block runs; nothing is left of it."""
    with Lab() as lab:
        switch = lab.switch()
        server = lab.server(kind, lab.machine("server", switch, f"{SITE.subnet[1]}/16"), site)
        server.start()
        host = lab.machine("host", switch, f"{SITE.subnet[2]}/16")
        driver = driver_on(host, settings)
        plugin = Plugin(driver.socket)
        try:
            driver.start()
            _serves_operators(host)
            yield Rig(
                lab=lab,
                switch=switch,
                server=server,
                host=host,
                driver=driver,
                plugin=plugin,
                pool=plugin.pool(SUBNET),
            )
        finally:
            plugin.close()
            driver.kill()


def _serves_operators(host: Namespace) -> None:
    """Wait until it does: then a start's work is all done."""
    transport = httpx.HTTPTransport(uds=str(host.directory / "admin.sock"))
    with httpx.Client(transport=transport, base_url="http://d4d") as client:
        assert client.get("/healthz").status_code == HTTPStatus.OK


def driver_on(host: Namespace, settings: Mapping[str, str]) -> Driver:
    """A driver on a machine without an engine, not started."""
    home = host.directory
    return Driver(
        host,
        socket=home / "plugins" / "talkingdata.sock",
        docker_socket=home / "no-docker.sock",
        settings=settings,
    )
