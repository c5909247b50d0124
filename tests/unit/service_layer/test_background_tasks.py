"""What is done beside Docker's calls, and how often Docker is asked for it."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

from d4d.domain.policies import ReclaimPolicy
from d4d.domain.ports.docker import Attachment, Change, ContainerEvent
from d4d.service_layer.background_tasks import BackgroundTasks
from d4d.service_layer.reconciler import Reconciler
from tests.support.driver_harness import A, Driver
from tests.unit.service_layer.test_reconciler import FakeContainers


class BusyContainers(FakeContainers):
    """They start all at once, and how often it is asked which there are is counted."""

    def __init__(self, *, starting: int) -> None:
        super().__init__()
        self._starting = starting
        self.looks = 0

    async def attachments(self) -> tuple[Attachment, ...]:
        self.looks += 1
        return await super().attachments()

    async def started(self) -> AsyncIterator[ContainerEvent]:
        for _ in range(self._starting):
            yield ContainerEvent(change=Change.STARTED)
        await asyncio.Event().wait()


async def test_containers_that_start_together_are_looked_up_together() -> None:
    docker = BusyContainers(starting=64)
    async with Driver() as driver:
        address = await driver.run(await driver.pool(), A)
        docker.runs(A, address, name="web")
        background = BackgroundTasks(
            reconciler=Reconciler(
                ipam=driver.ipam, containers=docker, clock=driver.clock, grace=timedelta(minutes=1)
            ),
            containers=docker,
            interval=timedelta(minutes=5),
            ipam=driver.ipam,
            reclaim=ReclaimPolicy.MANUAL,
        )
        background.start()
        while docker.looks < 2:  # noqa: ASYNC110 - it looks when it likes, after an import in a thread
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.7)  # twice what it waits after an event
        await background.aclose()
        (lease,) = driver.ipam.leasing.leases
        assert lease.endpoint.name == "web"
    assert docker.looks == 2  # one at the start, and one for the 64
