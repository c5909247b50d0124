"""Each command against a real driver, with leases of a real server."""

import os
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from d4d.entrypoints.admin_api import schemas
from lab.d4d_driver import Driver
from lab.dhcp_servers import Dhcpd
from lab.lab import Lab
from lab.plugin_calls import call
from lab.processes import Daemon, eventually
from lab.standard_site import SITE

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root")

POOL = {"AddressSpace": "d4d-local", "Pool": str(SITE.subnet), "SubPool": "", "Options": None}
MACS = [f"02:42:0a:4d:00:7{n}" for n in range(3)]


class Site:
    """A driver that serves, a server, and what Docker would ask."""

    def __init__(self, lab: Lab) -> None:
        switch = lab.switch()
        self.server = lab.server(Dhcpd, lab.machine("server", switch, "10.77.0.1/16"), SITE)
        self.server.start()
        host = lab.machine("host", switch, "10.77.0.2/16")
        self.driver = Driver(
            host,
            socket=host.directory / "talkingdata.sock",
            docker_socket=host.directory / "none.sock",
        )
        self.d4d, self.json = self.driver.d4d, self.driver.json
        self.driver.start()
        self.pool = str(call(self.driver.socket, "IpamDriver.RequestPool", POOL).content["PoolID"])

    def run(self, mac: str, name: str) -> str:
        options = {
            "com.docker.network.endpoint.macaddress": mac,
            "com.docker.network.endpoint.name": name,
        }
        asked = {"PoolID": self.pool, "Address": "", "Options": options}
        reply = call(self.driver.socket, "IpamDriver.RequestAddress", asked)
        assert reply.status == 200, reply
        return str(reply.content["Address"]).partition("/")[0]


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with Lab() as lab:
        site = Site(lab)
        yield site
        assert site.driver.stop() == 0
        assert site.driver.exceptions() == []


@pytest.fixture(scope="module")
def web(site: Site) -> str:
    """The address of a container."""
    return site.run(MACS[0], "web")


def test_pools_are_shown(site: Site, web: str) -> None:
    (pool,) = site.json(schemas.PoolsResponse, "pools").pools
    assert (pool.subnet, pool.networks, pool.size) == (str(SITE.subnet), 1, 65534)
    assert pool.used >= 1
    assert str(SITE.subnet) in site.d4d("pools")


def test_leases_are_shown_and_filtered(site: Site, web: str) -> None:
    (lease,) = site.json(schemas.LeasesResponse, "leases", "--name", "w*").leases
    assert (lease.address, lease.mac, lease.state) == (web, MACS[0], "bound")
    assert site.json(schemas.LeasesResponse, "leases", "--mac", MACS[2]).leases == []
    row = next(line for line in site.d4d("leases").splitlines() if line.startswith(web))
    assert row.split()[1:4] == ["bound", "web", MACS[0]]


def test_a_lease_is_shown_with_all_that_the_server_said(site: Site, web: str) -> None:
    answer = site.json(schemas.LeaseResponse, "lease", web)
    assert answer.lease.terms.server == "10.77.0.1"
    assert answer.lease.terms.lease_time == SITE.lease_time.total_seconds()
    assert answer.lease.terms.routers == [str(SITE.router)]
    assert [each.kind for each in answer.history][-1:] == ["acquired"]
    text = site.d4d("lease", web)
    assert "expires_at" in text and "in 1m" in text and "acquired" in text


def test_what_is_not_leased_is_not_found(site: Site) -> None:
    assert "no lease of 10.77.0.99" in site.d4d("lease", "10.77.0.99", code=4)
    assert "no lease of 10.77.0.99" in site.d4d("release", "10.77.0.99", "--yes", code=4)


def test_history_tells_who_had_an_address(site: Site, web: str) -> None:
    for what in (web, "web", MACS[0]):
        events = site.json(schemas.HistoryResponse, "history", what).events
        assert {each.address for each in events} == {web}
    now = datetime.now(UTC).isoformat()
    (holder,) = site.json(schemas.HistoryResponse, "history", web, "--at", now).events
    assert holder.name == "web"
    assert "nobody had" in site.d4d("history", web, "--at", "2020-01-01T00:00:00Z")


def test_a_release_asks_first_and_the_server_hears_of_it(site: Site) -> None:
    address = site.run(MACS[1], "gone")
    leased = {str(each) for each in site.server.leased()}
    assert address in leased
    site.d4d("release", address, typed="n\n", code=1)
    assert site.json(schemas.LeaseResponse, "lease", address).lease.state == "bound"
    assert site.json(schemas.LeaseSchema, "release", address, "--yes").state == "released"
    eventually(
        lambda: address not in {str(each) for each in site.server.leased()}, what="no release"
    )
    (event,) = (
        each
        for each in site.json(schemas.HistoryResponse, "history", address).events
        if each.kind == "released"
    )
    assert event.detail == "an operator said so"


def test_events_are_followed(site: Site) -> None:
    follower: Daemon = site.driver.namespace.daemon(
        "events",
        [site.driver.program, "events", "--follow", "--json"],
        env={**site.driver.environment, "PYTHONUNBUFFERED": "1"},
    )
    follower.start(ready=lambda _: True)
    count = 0

    def heard() -> bool:  # it may not follow yet when the first container starts
        nonlocal count
        count += 1
        site.run(f"02:42:0a:4d:01:{count:02x}", f"new-{count}")
        return "new-" in follower.logged()

    try:
        eventually(heard, what=follower.logged)
        event = schemas.EventSchema.model_validate_json(follower.logged().splitlines()[0])
        assert event.kind == "acquired"
    finally:
        follower.kill()


def test_the_last_events_are_shown(site: Site, web: str) -> None:
    events = site.json(schemas.HistoryResponse, "events", "--kind", "acquired").events
    assert web in {each.address for each in events}
    assert {each.kind for each in events} == {"acquired"}


def test_the_old_drivers_command_line_starts_the_driver(site: Site) -> None:
    text = site.d4d("--debug=true", "--dhcp-server=10.77.0.1", "server", code=1)
    assert "another process serves" in text


def test_settings_are_shown(site: Site) -> None:
    told = {each.name: each for each in site.json(schemas.ConfigResponse, "config").settings}
    assert told["D4D_STATE_DIR"].value == str(site.driver.state_dir)
    assert told["D4D_STATE_DIR"].source == "environment D4D_STATE_DIR"
