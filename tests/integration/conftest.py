"""A lab that the tests of a module share, for a quick run: each test leaves it as it found it."""

from collections.abc import Iterator

import pytest

from tests.lab.lab import Lab
from tests.lab.lan import Lan
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
    """The shared lab, without containers and networks before and after the test."""
    yield shared_lan
    shared_lan.engine.tidy()
    assert shared_lan.driver.daemon.running
    assert shared_lan.driver.exceptions() == []
