"""What goes on beside Docker's calls: Docker's API is asked what became of containers and their
names, and other hosts hear that this one is alive.

Nothing here runs inside a call of Docker's, where its API could wait for us while we wait for it.
"""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta

from d4d.domain.errors import D4DError, DockerUnavailable, StoreUnavailable
from d4d.domain.policies import ReclaimPolicy
from d4d.domain.ports.docker import DockerEngine
from d4d.lazy_import import import_lazy
from d4d.service_layer import log_messages as log
from d4d.service_layer.concurrency.supervised_task import answered, forever, report_failure, spawn
from d4d.service_layer.ipam_service import IpamService
from d4d.service_layer.reconciler import Reconciler, ReconcileResult

CALLS_FIRST = 0.1  # seconds for calls that waited for us: what else a start does delays them
_SOON = 5.0  # seconds until a Docker that does not answer yet is asked again, after its start
_AGAIN = 1.0  # seconds until a store that was away is tried again
_SETTLE = 0.3  # seconds after an event: containers that start together are looked up together


class BackgroundTasks:
    """The tasks that reconcile, that listen for containers that start, and that beat."""

    def __init__(
        self,
        *,
        reconciler: Reconciler,
        containers: DockerEngine,
        interval: timedelta,
        ipam: IpamService,
        reclaim: ReclaimPolicy,
    ) -> None:
        """Docker's API is asked every ``interval``, or never where that is 0."""
        self._heartbeat = ipam.heartbeat
        self._host_drain = ipam.host_drain
        self._reclaim = reclaim
        self._store_error = self._heartbeat.trouble
        self._reconciler = reconciler
        self._containers = containers
        self._interval = interval.total_seconds()
        self._restarted = asyncio.Event()
        self._container_started = asyncio.Event()
        self._docker_error = ""
        self._has_imported = False
        self._tasks: list[asyncio.Task[None]] = []
        self._has_looked = False
        self._drains: asyncio.Task[None] | None = None
        self._drain_after: dict[str, float] = {}
        """When a host that was not drained, or not wholly, is tried again."""
        self._told: dict[str, set[str]] = {}
        """What the log was told of each such host."""

    def start(self) -> None:
        """Begin."""
        if self._store_error:
            log.serving_without_store(error=self._store_error)
        interval = self._heartbeat.interval.total_seconds()
        self._tasks = [forever("heartbeat", self._beat, rests=interval)]
        if self._interval:
            self._tasks += [
                forever("reconciliation", self._reconcile),
                forever("Docker's events", self._listen),
                forever("containers' names", self._learn),
            ]

    def docker_restarted(self) -> None:
        """dockerd was started: it activated us anew. Its API will serve in a while."""
        self._restarted.set()

    async def aclose(self) -> None:
        """Stop."""
        tasks = [*self._tasks, *([self._drains] if self._drains is not None else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _beat(self) -> None:
        interval = self._heartbeat.interval.total_seconds()
        await asyncio.sleep(min(_AGAIN, interval) if self._store_error else interval)
        try:
            await self._heartbeat.beat()
            await self._watch_others()
        except Exception as error:
            self._host_drain.lost_sight()
            if not isinstance(error, D4DError):
                raise
            if str(error) != self._store_error:
                self._store_error = str(error)
                log.heartbeat_failed(error=str(error))
        else:
            if self._store_error:
                self._store_error = ""
                log.store_available_again()
                self._restarted.set()  # what Docker has was not looked at meanwhile

    async def _watch_others(self) -> None:
        """Look who is silent. What is taken back from them must not delay our own heartbeats."""
        if self._reclaim is not ReclaimPolicy.AUTO:
            self._has_looked = not self._has_looked  # each second time will do for an operator
            if self._has_looked:
                await self._host_drain.look()
            return
        now = asyncio.get_running_loop().time()
        silent = await self._host_drain.dead()
        for host in {*self._told, *self._drain_after} - {*silent}:  # it is back, or empty
            self._told.pop(host, None)
            self._drain_after.pop(host, None)
        dead = [host for host in silent if self._drain_after.get(host, now) <= now]
        if dead and (self._drains is None or self._drains.done()):
            self._drains = spawn(self._drain_dead(dead), "draining")

    async def _drain_dead(self, dead: list[str]) -> None:
        for host in dead:
            self._drain_later(host)  # should this fail
            if host not in self._told:
                log.automatic_host_drain_started(host=host)
            try:
                drained = await self._host_drain.drain(host)
            except Exception as error:  # it came back, another was faster, the store is away
                if not isinstance(error, D4DError):
                    report_failure(
                        error, f"draining {host}"
                    )  # a bug that one host meets is its own
                if self._is_new(host, str(error)):
                    log.host_drain_failed(host=host, error=str(error))
                continue
            if drained.freed or not drained.failed or host not in self._told:
                log.host_drained(host=host, freed=len(drained.freed), failed=len(drained.failed))
            for lease, reason in drained.failed:
                if self._is_new(host, f"{lease.address}: {reason}"):
                    log.address_not_reclaimed(address=str(lease.address), error=reason)

    def _drain_later(self, host: str) -> None:
        pause = self._host_drain.grace.total_seconds()
        self._drain_after[host] = asyncio.get_running_loop().time() + pause

    def _is_new(self, host: str, told: str) -> bool:
        """Whether this was not told of ``host`` yet: it is tried again and again."""
        known = self._told.setdefault(host, set())
        is_new = told not in known
        known.add(told)
        return is_new

    async def _reconcile(self) -> None:
        await self._import_first()
        self._restarted.clear()
        served = await self._attempt(self._reconciler.run)
        soon = min(_SOON, self._interval)
        try:
            # not wait_for: 3.11's can swallow a cancellation, and aclose would wait for ever
            async with asyncio.timeout(self._interval if served else soon):
                await self._restarted.wait()
        except TimeoutError:
            return
        await asyncio.sleep(min(_SETTLE, self._interval))  # it asks us before it serves

    async def _listen(self) -> None:
        await self._import_first()
        async for _ in self._containers.started():
            self._container_started.set()

    async def _learn(self) -> None:
        await self._container_started.wait()
        await asyncio.sleep(_SETTLE)
        with answered(self._container_started):
            await self._attempt(self._reconciler.learn)

    async def _attempt(self, reconcile: Callable[[], Awaitable[ReconcileResult]]) -> bool:
        """Reconcile, and log what came of it; False where Docker did not answer."""
        try:
            findings = await reconcile()
        except DockerUnavailable as error:
            if str(error) != self._docker_error:
                self._docker_error = str(error)
                log.docker_unavailable(error=str(error))
            return False
        except StoreUnavailable as error:
            log.reconciliation_interrupted(error=str(error))
            return True
        if self._docker_error:
            self._docker_error = ""
            log.docker_available_again()
        for lease in findings.missing:
            log.container_missing(address=str(lease.address), mac=str(lease.endpoint.mac))
        for pool in findings.unused:
            log.unused_pool_released(pool=pool)
        for unseen in findings.unseen:
            log.network_missing(error=unseen)
        for refused in findings.refused:
            log.adoption_failed(error=refused)
        return True

    async def _import_first(self) -> None:
        """What speaks with Docker is imported late; in a thread, so that calls are answered."""
        if not self._has_imported:
            await asyncio.sleep(CALLS_FIRST)
            await asyncio.to_thread(import_lazy)
            self._has_imported = True
