from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from ipaddress import ip_address, ip_network

import pytest

from d4d.domain.errors import DockerUnavailable
from d4d.domain.leases import Lease, LeaseState, MacAddress
from d4d.domain.ports.allocator import EventKind
from d4d.domain.ports.docker import Attachment, ContainerEvent, Network, NetworkSubnet
from d4d.service_layer.lost_leases import LossAction, OnLost
from d4d.service_layer.reconciler import Reconciliation
from tests.support.driver_harness import NET, A, B, Driver
from tests.support.virtual_time import settle

VIRTUAL_TIME = True

LAN = Network(
    id="lan",
    name="lan",
    driver="macvlan",
    subnets=(NetworkSubnet(subnet=ip_network(NET), gateway=ip_address("192.168.59.254")),),
)


class FakeContainers:
    """Docker's API, as far as it goes: what runs, and what was done to it."""

    gives_names = False

    def __init__(self) -> None:
        self.running: list[Attachment] = []
        self.is_away = False
        self.fails = 0
        self.done: list[str] = []

    def runs(self, mac: str, address: str, name: str = "web") -> None:
        self.running.append(
            Attachment(
                network_id=LAN.id,
                container_id=f"id of {name}",
                name=name,
                mac=MacAddress.parse(mac),
                address=ip_address(address.partition("/")[0]),
                subnet=ip_network(NET),
            )
        )

    async def networks(self) -> tuple[Network, ...]:
        self._answer()
        return (LAN,)

    async def attachments(self) -> tuple[Attachment, ...]:
        self._answer()
        return tuple(self.running)

    async def started(self) -> AsyncIterator[ContainerEvent]:
        return
        yield

    async def reconnect(self, attachment: Attachment) -> None:
        self._do(f"reconnect {attachment.name}")

    async def restart(self, container_id: str) -> None:
        self._do(f"restart {container_id}")

    async def stop(self, container_id: str) -> None:
        self._do(f"stop {container_id}")

    async def aclose(self) -> None:
        self.is_away = True

    def _answer(self) -> None:
        if self.is_away:
            raise DockerUnavailable("no answer")

    def _do(self, what: str) -> None:
        if self.fails:
            self.fails -= 1
            raise DockerUnavailable("refused")
        self.done.append(what)


@pytest.fixture
async def driver() -> AsyncIterator[Driver]:
    async with Driver() as opened:
        yield opened


@pytest.fixture
def docker() -> FakeContainers:
    return FakeContainers()


def reconciliation(driver: Driver, docker: FakeContainers) -> Reconciliation:
    return Reconciliation(
        ipam=driver.ipam, containers=docker, clock=driver.clock, grace=timedelta(minutes=1)
    )


async def test_a_lease_without_container_is_released_when_it_is_missing_twice(
    driver: Driver, docker: FakeContainers
) -> None:
    address = await driver.run(await driver.pool(), A)
    driver.clock.jump(timedelta(minutes=2))
    comparing = reconciliation(driver, docker)
    findings = await comparing.run()
    assert [str(lease.address) for lease in findings.missing] == ["192.168.59.1"]
    assert driver.freed == []
    findings = await comparing.run()
    await settle()
    assert [str(lease.address) for lease in findings.gone] == ["192.168.59.1"]
    assert [f"{each}/24" for each in driver.freed] == [address]


async def test_a_container_that_is_back_between_two_looks_is_not_gone(
    driver: Driver, docker: FakeContainers
) -> None:
    address = await driver.run(await driver.pool(), A)
    driver.clock.jump(timedelta(minutes=2))
    comparing = reconciliation(driver, docker)
    await comparing.run()
    docker.runs(A, address)
    await comparing.run()
    docker.running.clear()
    await comparing.run()
    await settle()
    assert driver.freed == []


async def test_a_young_lease_is_left_alone(driver: Driver, docker: FakeContainers) -> None:
    await driver.run(await driver.pool(), A)
    comparing = reconciliation(driver, docker)
    for _ in range(3):
        assert (await comparing.run()).missing == []
    await settle()
    assert driver.freed == []


async def test_an_error_of_dockers_is_no_absence(driver: Driver, docker: FakeContainers) -> None:
    await driver.run(await driver.pool(), A)
    driver.clock.jump(timedelta(minutes=2))
    docker.is_away = True
    comparing = reconciliation(driver, docker)
    for _ in range(3):
        with pytest.raises(DockerUnavailable):
            await comparing.run()
    docker.is_away = False
    assert (await comparing.run()).gone == []
    await settle()
    assert driver.freed == []


async def test_a_running_container_is_adopted_and_its_address_confirmed(
    driver: Driver, docker: FakeContainers
) -> None:
    docker.runs(A, "192.168.59.7")
    findings = await reconciliation(driver, docker).learn()
    assert [each.name for each in findings.adopted] == ["web"]
    assert [str(each) for each in driver.allocator.confirmed] == ["192.168.59.7"]
    assert await driver.stored() == {"192.168.59.7": LeaseState.BOUND}
    assert (await reconciliation(driver, docker).learn()).adopted == []


async def test_an_adopted_network_keeps_its_gateway_from_containers(
    driver: Driver, docker: FakeContainers
) -> None:
    docker.runs(A, "192.168.59.7")
    await reconciliation(driver, docker).learn()
    (record,) = driver.ipam.pools
    assert [str(each.address) for each in record.reservations] == ["192.168.59.254"]
    assert record.users == 1


async def test_the_name_that_an_engine_did_not_give_is_learnt_and_so_is_a_new_one(
    driver: Driver, docker: FakeContainers
) -> None:
    address = await driver.run(await driver.pool(), A)
    for name in ("web", "old"):
        docker.running.clear()
        docker.runs(A, address, name)
        findings = await reconciliation(driver, docker).learn()
        assert [each.name for each in findings.named] == [name]
        (lease,) = driver.ipam.leasing.leases
        assert lease.endpoint.name == name
    assert (await reconciliation(driver, docker).learn()).named == []


@pytest.mark.parametrize(
    ("action", "done"),
    [
        (LossAction.KEEP, []),
        (LossAction.RECONNECT, ["reconnect web"]),
        (LossAction.RESTART, ["restart id of web"]),
        (LossAction.STOP, ["stop id of web"]),
    ],
)
async def test_a_lost_lease_is_acted_on_when_the_grace_is_over(
    driver: Driver, docker: FakeContainers, action: LossAction, done: list[str]
) -> None:
    docker.runs(A, await driver.run(await driver.pool(), A))
    on_lost = _on_lost(driver, docker, action)
    _lose(driver, on_lost)
    await settle(5.0)
    assert docker.done == []
    await settle(10.0)
    assert docker.done == done
    await on_lost.aclose()


async def test_a_lease_that_was_found_again_in_time_is_not_acted_on(
    driver: Driver, docker: FakeContainers
) -> None:
    docker.runs(A, await driver.run(await driver.pool(), A))
    on_lost = _on_lost(driver, docker, LossAction.RESTART)
    _lose(driver, on_lost)
    (lease,) = driver.ipam.leasing.leases
    found = _with_state(driver, LeaseState.BOUND)
    driver.ipam.leasing.changed(found, EventKind.RECOVERED, "")
    assert lease.state is LeaseState.LOST
    await settle(30.0)
    assert docker.done == []
    await on_lost.aclose()


async def test_a_reconnection_that_failed_is_tried_again(
    driver: Driver, docker: FakeContainers
) -> None:
    docker.runs(A, await driver.run(await driver.pool(), A))
    docker.runs(B, "192.168.59.99", "other")
    docker.fails = 2
    on_lost = _on_lost(driver, docker, LossAction.RECONNECT)
    _lose(driver, on_lost)
    await settle(60.0)
    assert docker.done == ["reconnect web"]
    await on_lost.aclose()


def _on_lost(driver: Driver, docker: FakeContainers, action: LossAction) -> OnLost:
    return OnLost(
        action=action,
        grace=timedelta(seconds=10),
        leasing=driver.ipam.leasing,
        containers=docker,
    )


def _lose(driver: Driver, on_lost: OnLost) -> None:
    driver.ipam.leasing.changed(_with_state(driver, LeaseState.LOST), EventKind.LOST, "a NAK")
    on_lost.record(driver.events.all[-1])


def _with_state(driver: Driver, state: LeaseState) -> Lease:
    (lease,) = driver.ipam.leasing.leases
    return replace(lease, state=state)
