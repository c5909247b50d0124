"""What is done to a container whose address was lost, if the operator wants anything done."""

import asyncio
from datetime import timedelta

from d4d.domain.errors import D4DError
from d4d.domain.events import EventKind, LeaseEvent
from d4d.domain.leases import Lease, LeaseState
from d4d.domain.policies import LossAction
from d4d.domain.ports.docker import Attachment, DockerEngine
from d4d.service_layer.concurrency.supervised_task import report_failure, spawn
from d4d.service_layer.lease_service import LeaseService

_TRIES = 30
_SHORTEST_PAUSE = 1.0  # seconds between two tries


class LostLeaseHandler:
    """Acts on lost leases over Docker's API, behind every call of Docker's."""

    def __init__(
        self,
        *,
        action: LossAction,
        grace: timedelta,
        leasing: LeaseService,
        containers: DockerEngine,
    ) -> None:
        """``grace`` is how long the server has to give the address back first."""
        self._action = action
        self._grace = grace
        self._leasing = leasing
        self._containers = containers
        self._tasks: set[asyncio.Task[None]] = set()

    def record(self, event: LeaseEvent) -> None:
        """Act on a lease that was lost, if it still is when the grace is over (ports.Events)."""
        if event.kind is not EventKind.LOST or self._action is LossAction.KEEP:
            return
        for lease in self._leasing.leases:
            if (lease.pool, lease.address) == (event.pool, event.address):
                self._begin(lease)

    def _begin(self, lease: Lease) -> None:
        task = spawn(self._act_later(lease), "on lost")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def aclose(self) -> None:
        """Stop; what is still waiting is not done."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _act_later(self, lease: Lease) -> None:
        await asyncio.sleep(self._grace.total_seconds())
        current = self._leasing.current(lease)
        if current is None or current.state is not LeaseState.LOST:
            return
        self._leasing.ledger.note(
            EventKind.ACTED, current, f"D4D_ON_LOST: {await self._done(current)}"
        )

    async def _done(self, lease: Lease) -> str:
        """What was done. A reconnection that failed half-way leaves a container off the network."""
        failed = ""
        attachment: Attachment | None = None
        for _ in range(_TRIES):
            try:
                attachment = attachment or await self._attachment(lease)
                if attachment is None:
                    return "no container has it any more"
                await self._act(attachment)
            except Exception as error:
                if not isinstance(error, D4DError):
                    report_failure(error, f"on lost, {lease.address}")
                failed = str(error) or type(error).__name__
                await asyncio.sleep(max(self._grace.total_seconds(), _SHORTEST_PAUSE))
            else:
                return f"{self._action.value} done"
        return f"{self._action.value} failed: {failed}"

    async def _attachment(self, lease: Lease) -> Attachment | None:
        for each in await self._containers.attachments():
            if each.mac == lease.endpoint.mac and each.address == lease.address:
                return each
        return None

    async def _act(self, attachment: Attachment) -> None:
        if self._action is LossAction.RECONNECT:
            await self._containers.reconnect(attachment)
        elif self._action is LossAction.RESTART:
            await self._containers.restart(attachment.container_id)
        else:
            await self._containers.stop(attachment.container_id)
