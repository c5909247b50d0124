from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from ipaddress import ip_address, ip_network

import pytest

from d4d.domain.addressing import MacAddress
from d4d.domain.errors import DockerUnavailable
from d4d.domain.events import EventKind
from d4d.domain.leases import LeaseState
from d4d.domain.policies import LossAction
from d4d.domain.ports.docker import Attachment, ContainerEvent, DockerNetwork, NetworkSubnet
from d4d.service_layer.lost_leases import LostLeaseHandler
from d4d.service_layer.reconciler import Reconciler, ReconcileResult
from tests.support.driver_harness import NET, A, B, C, Driver
from tests.support.virtual_time import settle

VIRTUAL_TIME = True

LAN = DockerNetwork(
    id="lan",
    name="lan",
    driver="macvlan",
    subnets=(NetworkSubnet(subnet=ip_network(NET), gateway=ip_address("192.168.59.254")),),
)


class FakeContainers:
    """Docker's API, as far as it goes: what runs, and what was done to it."""

    gives_names = False

    def __init__(self) -> None:
        self.networks_now: tuple[DockerNetwork, ...] = (LAN,)
        self.running: list[Attachment] = []
        self.is_away = False
        self.fails = 0
        self.done: list[str] = []

    def runs(self, mac: str, address: str, name: str = "web", *, on: str = "lan") -> None:
        self.running.append(
            Attachment(
                network_id=on,
                container_id=f"id of {name}",
                name=name,
                mac=MacAddress.parse(mac),
                address=ip_address(address.partition("/")[0]),
                subnet=ip_network(NET),
            )
        )

    async def networks(self) -> tuple[DockerNetwork, ...]:
        self._answer()
        return tuple(
            replace(
                network,
                ends=(
                    *network.ends,
                    *(each for each in self.running if each.network_id == network.id),
                ),
            )
            for network in self.networks_now
        )

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


def reconciliation(driver: Driver, docker: FakeContainers) -> Reconciler:
    return Reconciler(
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
    driver.clock.jump(timedelta(minutes=1))
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
    driver.clock.jump(timedelta(minutes=1))
    docker.runs(A, address)
    await comparing.run()
    driver.clock.jump(timedelta(minutes=1))
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
    found = lease.confirmed()
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


def _on_lost(driver: Driver, docker: FakeContainers, action: LossAction) -> LostLeaseHandler:
    return LostLeaseHandler(
        action=action,
        grace=timedelta(seconds=10),
        leasing=driver.ipam.leasing,
        containers=docker,
    )


def _lose(driver: Driver, on_lost: LostLeaseHandler) -> None:
    (lease,) = driver.ipam.leasing.leases
    driver.ipam.leasing.changed(lease.denied(), EventKind.LOST, "a NAK")
    on_lost.record(driver.events.all[-1])


# Absence needs the network to have been seen

ELSEWHERE = replace(LAN, id="elsewhere", name="elsewhere", subnets=(), is_ours=False)
OTHER_WIRE = replace(LAN, id="eth1", name="eth1", options={"parent": "eth1"}, parent="eth1")
EMPTY_DRIVER = replace(LAN, is_ours=False)
"""Its driver is one of our socket's other names, which D4D does not know of."""


async def look_often(
    driver: Driver, comparing: Reconciler, times: int = 4
) -> list[ReconcileResult]:
    """Reconcile, with D4D_RECONCILE between."""
    found = []
    for _ in range(times):
        driver.clock.jump(timedelta(minutes=1))
        found.append(await comparing.run())
        await settle()
    return found


@pytest.mark.parametrize(
    "networks",
    [
        (),
        (ELSEWHERE,),
        (OTHER_WIRE,),
        (replace(LAN, subnets=(NetworkSubnet(subnet=ip_network("192.168.59.0/25")),)),),
        (
            replace(
                LAN,
                subnets=(
                    NetworkSubnet(subnet=ip_network(NET), range=ip_network("192.168.59.64/26")),
                ),
            ),
        ),
        (replace(LAN, options={"server": "192.168.59.2"}),),
        (replace(LAN, options={"another": "driver's"}),),
    ],
)
async def test_a_lease_whose_network_is_not_seen_is_kept_and_that_is_told_once(
    driver: Driver, docker: FakeContainers, networks: tuple[DockerNetwork, ...]
) -> None:
    await driver.run(await driver.pool(parent="eth0"), A)
    docker.networks_now = networks
    comparing = reconciliation(driver, docker)
    found = await look_often(driver, comparing)
    assert driver.freed == []
    (unseen,) = [text for findings in found for text in findings.unseen]
    assert "192.168.59.0/24?parent=eth0" in unseen
    assert "192.168.59.1" in unseen
    assert "d4d release" in unseen
    assert all(findings.missing == findings.gone == [] for findings in found)

    docker.networks_now = (LAN,)
    await look_often(driver, comparing)
    assert driver.freed == ["192.168.59.1"]

    await driver.run(await driver.pool(parent="eth0"), A)
    docker.networks_now = networks
    found = await look_often(driver, comparing)
    assert len([text for findings in found for text in findings.unseen]) == 1  # it was seen between


@pytest.mark.parametrize("network", [LAN, EMPTY_DRIVER, replace(LAN, driver="bridge")])
async def test_a_network_was_seen_whatever_its_driver_is_called(
    driver: Driver, docker: FakeContainers, network: DockerNetwork
) -> None:
    pool = await driver.pool(parent="eth0")
    await driver.run(pool, A)
    address = await driver.run(pool, B)
    docker.networks_now = (replace(network, parent="eth0"),)
    docker.runs(B, address)
    await look_often(driver, reconciliation(driver, docker))
    assert driver.freed == ["192.168.59.1"]
    assert driver.kept == ["192.168.59.2"]


async def test_a_network_counts_as_seen_only_between_looks_that_saw_it(
    driver: Driver, docker: FakeContainers
) -> None:
    await driver.run(await driver.pool(), A)
    comparing = reconciliation(driver, docker)
    for networks in [(LAN,), (), (LAN,), ()]:
        docker.networks_now = networks
        await look_often(driver, comparing, 1)
    assert driver.freed == []


async def test_a_pool_that_docker_released_needs_no_network(
    driver: Driver, docker: FakeContainers
) -> None:
    pool = await driver.pool()
    await driver.run(pool, A)
    await driver.run(pool, B)
    await driver.ipam.release_pool(pool)
    docker.networks_now = ()
    docker.runs(B, "192.168.59.2", on="any")
    found = await look_often(driver, reconciliation(driver, docker))
    assert driver.freed == ["192.168.59.1"]
    assert [findings.unseen for findings in found] == [[]] * 4


@pytest.mark.parametrize(
    ("mac", "address"), [(A, "172.17.0.2"), (C, "192.168.59.1"), (A, "192.168.59.1")]
)
@pytest.mark.parametrize("on", ["lan", "elsewhere", "of no network that is listed"])
async def test_a_container_of_the_mac_or_the_address_on_any_network_is_presence(
    driver: Driver, docker: FakeContainers, mac: str, address: str, on: str
) -> None:
    await driver.run(await driver.pool(), A)
    docker.runs(mac, address, on=on)
    await look_often(driver, reconciliation(driver, docker))
    assert driver.freed == []


async def test_an_end_that_only_the_network_knows_is_presence(
    driver: Driver, docker: FakeContainers
) -> None:
    """A container that is not running yet, or a stale endpoint: Docker will release that."""
    await driver.run(await driver.pool(), A)
    docker.runs(A, "192.168.59.1")
    (end,) = docker.running
    docker.running.clear()
    docker.networks_now = (replace(LAN, ends=(replace(end, container_id="ep-1"),)),)
    assert await docker.attachments() == ()
    await look_often(driver, reconciliation(driver, docker))
    assert driver.freed == []


async def test_a_burst_of_looks_counts_as_one(driver: Driver, docker: FakeContainers) -> None:
    await driver.run(await driver.pool(), A)
    driver.clock.jump(timedelta(minutes=2))
    comparing = reconciliation(driver, docker)
    for _ in range(10):
        findings = await comparing.run()
        assert findings.gone == []
        driver.clock.jump(timedelta(seconds=2))
    await settle()
    assert driver.freed == []
    driver.clock.jump(timedelta(seconds=12))
    assert len((await comparing.run()).gone) == 1


async def test_a_lease_that_its_container_asked_for_again_is_young_again(
    driver: Driver, docker: FakeContainers
) -> None:
    """It restarts, and is on its way to the network just when Docker is asked."""
    async with Driver(hold=timedelta(minutes=30)) as holding:
        pool = await holding.pool()
        address = await holding.run(pool, A)
        holding.clock.jump(timedelta(minutes=5))
        await holding.release(pool, address)
        assert await holding.run(pool, A) == address
        comparing = reconciliation(holding, docker)
        for _ in range(2):
            assert (await comparing.run()).missing == []
            holding.clock.jump(timedelta(seconds=31))
        assert (await comparing.run()).missing != []


# Two networks with one subnet


@pytest.mark.parametrize("seen", ["eth0", "eth1"])
async def test_of_two_wires_with_one_subnet_only_the_one_that_was_seen_is_judged(
    driver: Driver, docker: FakeContainers, seen: str
) -> None:
    """On each wire the server gives other addresses."""
    one, two = await driver.pool(parent="eth0"), await driver.pool(parent="eth1")
    assert await driver.run(one, A) == "192.168.59.1/24"
    assert await driver.run(two, B) == "192.168.59.2/24"
    docker.networks_now = (replace(LAN, parent=seen, options={"parent": seen}),)
    await look_often(driver, reconciliation(driver, docker))
    assert driver.freed == ["192.168.59.1" if seen == "eth0" else "192.168.59.2"]


async def test_a_network_that_may_have_either_pool_proves_nothing_of_any(
    driver: Driver, docker: FakeContainers
) -> None:
    """Its user named no parent for D4D, and it stands on another than D4D found by the routes."""
    await driver.run(await driver.pool(parent="shim0"), A)
    await driver.run(await driver.pool(parent="eth1"), B)
    docker.networks_now = (replace(LAN, parent="eth0"),)
    comparing = reconciliation(driver, docker)
    await look_often(driver, comparing)
    assert driver.freed == []
    docker.networks_now = (replace(LAN, parent="eth0"), OTHER_WIRE)  # so the first is shim0's
    docker.runs(B, "192.168.59.2", on="eth1")
    await look_often(driver, comparing)
    assert driver.freed == ["192.168.59.1"]


# What was answered more than once


async def test_what_was_given_back_as_often_as_it_was_answered_is_released_at_a_look(
    driver: Driver, docker: FakeContainers
) -> None:
    pool = await driver.pool()
    address = await driver.run(pool, A)
    docker.runs(A, address)
    await driver.run(pool, A)
    await driver.stop(pool, address)
    await driver.stop(pool, address)
    comparing = reconciliation(driver, docker)
    await comparing.run()
    await settle()
    assert driver.freed == [], "a container has it"
    docker.running.clear()
    docker.networks_now = ()
    await comparing.run()
    await settle()
    assert driver.freed == [], "its network was not seen"
    docker.networks_now = (LAN,)
    (gone,) = (await comparing.run()).gone
    await settle()
    assert [str(gone.address)] == driver.freed == ["192.168.59.1"]
    assert driver.ipam.pools[0].reservations == ()


async def test_what_was_given_back_once_needs_two_looks(
    driver: Driver, docker: FakeContainers
) -> None:
    pool = await driver.pool()
    address = await driver.run(pool, A)
    await driver.run(pool, A)
    await driver.stop(pool, address)
    comparing = reconciliation(driver, docker)
    await look_often(driver, comparing, 1)
    assert driver.freed == []
    await look_often(driver, comparing, 1)
    assert driver.freed == ["192.168.59.1"]


async def test_a_doubt_about_an_address_that_nobody_has_ends_with_a_look(
    driver: Driver, docker: FakeContainers
) -> None:
    pool = await driver.pool()
    address = await driver.run(pool, A)
    (lease,) = driver.ipam.leasing.leases
    await driver.ipam.leasing.give_up(lease, "an operator said so")
    await look_often(driver, reconciliation(driver, docker), 1)
    assert await driver.run(pool, B) == address
    await driver.stop(pool, address)
    assert driver.freed == ["192.168.59.1"] * 2


# The store was lost


async def test_only_what_is_known_to_be_ours_is_adopted(
    driver: Driver, docker: FakeContainers
) -> None:
    docker.runs(A, "192.168.59.7")
    docker.networks_now = (replace(LAN, is_ours=False),)
    assert (await reconciliation(driver, docker).run()).adopted == []
    assert driver.ipam.pools == []


async def test_a_swarms_container_is_adopted_by_what_its_network_says(
    driver: Driver, docker: FakeContainers
) -> None:
    docker.runs(A, "192.168.59.7", "svc.1.n0h8lfymb46mgwwxi04uopfcb")
    findings = await reconciliation(driver, docker).run()
    assert findings.adopted == docker.running  # not twice, though it was seen twice
    assert driver.kept == ["192.168.59.7"]


class EndingContainers(FakeContainers):
    """Docker releases an address while, or just before, it tells of it."""

    def __init__(self) -> None:
        super().__init__()
        self.release: Callable[[], Awaitable[None]] | None = None

    async def attachments(self) -> tuple[Attachment, ...]:
        if self.release is not None:
            await self.release()
        return await super().attachments()


async def test_what_is_released_while_docker_is_asked_is_not_taken_up_again(
    driver: Driver,
) -> None:
    docker = EndingContainers()
    pool = await driver.pool()
    address = await driver.run(pool, A)
    docker.runs(A, address)
    docker.release = lambda: driver.stop(pool, address)
    assert (await reconciliation(driver, docker).learn()).adopted == []
    assert driver.freed == ["192.168.59.1"]
    assert driver.kept == []


async def test_a_container_that_is_listed_and_on_no_network_any_more_is_not_taken_up(
    driver: Driver, docker: FakeContainers
) -> None:
    """The list has it until it has ended, which is after its address was released."""
    pool = await driver.pool()
    address = await driver.run(pool, A)
    docker.runs(A, address, on="its network, whose end it was")
    await driver.stop(pool, address)
    driver.clock.jump(timedelta(seconds=1))
    assert (await reconciliation(driver, docker).learn()).adopted == []
    assert driver.kept == []
