"""What goes on beside Docker's calls: its API is asked what became of containers and their names.

Nothing here runs inside a call of Docker's, where its API could wait for us while we wait for it.
"""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta

import structlog

from d4d.domain.containers import Containers
from d4d.domain.errors import DockerUnavailable, StoreUnavailable
from d4d.domain.reconciliation import Findings, Reconciliation

_SOON = 5.0  # seconds until a Docker that does not answer yet is asked again, after its start
_SETTLE = 0.3  # seconds after an event: containers that start together are looked up together

log = structlog.get_logger()


class Background:
    """The task that reconciles, and the one that listens for containers that start."""

    def __init__(
        self, *, reconciliation: Reconciliation, containers: Containers, interval: timedelta
    ) -> None:
        self._reconciliation = reconciliation
        self._containers = containers
        self._interval = interval.total_seconds()
        self._restarted = asyncio.Event()
        self._docker_error = ""
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin, unless the interval is 0."""
        if self._interval:
            loop = asyncio.get_running_loop()
            self._tasks = [loop.create_task(self._reconcile()), loop.create_task(self._listen())]

    def docker_restarted(self) -> None:
        """dockerd was started: it activated us anew. Its API will serve in a while."""
        self._restarted.set()

    async def aclose(self) -> None:
        """Stop."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _reconcile(self) -> None:
        while True:
            self._restarted.clear()
            served = await self._attempt(self._reconciliation.run)
            soon = min(_SOON, self._interval)
            try:
                # not wait_for: 3.11's can swallow a cancellation, and aclose would wait for ever
                async with asyncio.timeout(self._interval if served else soon):
                    await self._restarted.wait()
            except TimeoutError:
                continue
            await asyncio.sleep(min(_SETTLE, self._interval))  # it asks us before it serves

    async def _listen(self) -> None:
        async for _ in self._containers.started():
            await asyncio.sleep(_SETTLE)
            await self._attempt(self._reconciliation.learn)

    async def _attempt(self, reconcile: Callable[[], Awaitable[Findings]]) -> bool:
        """Reconcile, and log what came of it; False where Docker did not answer."""
        try:
            findings = await reconcile()
        except DockerUnavailable as error:
            if str(error) != self._docker_error:
                self._docker_error = str(error)
                log.warning("no reconciliation, nothing is freed", error=str(error))
            return False
        except StoreUnavailable as error:
            log.warning("reconciliation stopped", error=str(error))
            return True
        if self._docker_error:
            self._docker_error = ""
            log.info("Docker answers again")
        for lease in findings.missing:
            log.info("container missing", address=str(lease.address), mac=str(lease.endpoint.mac))
        for refused in findings.refused:
            log.warning("not adopted", error=refused)
        return True
