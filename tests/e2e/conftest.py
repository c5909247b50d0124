"""What tests of a module share, for a quick run: a lab that each leaves as it was."""

from collections.abc import Iterator

import pytest

from lab.dhcp_servers import Dhcpd, Dnsmasq, Kea, Server
from lab.lab import Lab
from lab.standard_site import Lan, await_no_lease

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
