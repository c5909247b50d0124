"""What tests of a module share, for a quick run: a lab that each leaves as it was, and Redis."""

from collections.abc import Iterator

import pytest

from tests.lab.lab import Lab
from tests.lab.lan import Lan, await_no_lease
from tests.lab.redis_servers import PROGRAMS, RedisServer
from tests.lab.servers import Dhcpd, Dnsmasq, Kea, Server

DEADLINE = "5s"


@pytest.fixture(scope="module", params=(Dhcpd, Kea, Dnsmasq), ids=lambda kind: kind.name)
def shared_lan(request: pytest.FixtureRequest) -> Iterator[Lan]:
    kind: type[Server] = request.param
    with Lab() as lab:
        lan = Lan(lab, kind, settings={"D4D_DHCP_DEADLINE": DEADLINE})
        lan.start()
        yield lan


@pytest.fixture
def lan(shared_lan: Lan) -> Iterator[Lan]:
    """The shared lab, without containers, networks and leases before and after the test."""
    yield shared_lan
    shared_lan.engine.tidy()
    await_no_lease(shared_lan.server)
    assert shared_lan.driver.daemon.running
    assert shared_lan.driver.exceptions() == []


@pytest.fixture(scope="module", params=PROGRAMS)
def redis_server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RedisServer]:
    """Redis, and Valkey where there is one; what is in it, tests leave."""
    running = RedisServer(tmp_path_factory.mktemp("redis"), program=request.param).start()
    yield running
    running.stop()
