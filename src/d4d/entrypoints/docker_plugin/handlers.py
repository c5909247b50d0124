"""The driver that answers Docker's calls, also by ``hypercorn d4d.entrypoints.ipam:app``."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta

import structlog
from starlette.applications import Starlette

from d4d.adapters.observability.log_setup import configure_logs, log_failures
from d4d.bootstrap import DriverParts, compose
from d4d.domain import errors
from d4d.entrypoints.docker_plugin import messages
from d4d.entrypoints.docker_plugin.app import Answer, create_calls_app, expect, refusal
from d4d.operations.view import OperatorView
from d4d.service_layer.background_tasks import BackgroundTasks
from d4d.service_layer.ipam_service import IpamService
from d4d.service_layer.pool_monitor import PoolMonitor
from d4d.settings.loading import load_settings
from d4d.settings.model import BEYOND, Settings

_STATUS: dict[type, int] = {
    errors.BadRequest: 400,
    errors.UnknownPool: 404,
    errors.PoolOverlap: 409,
    errors.AddressInUse: 409,
    errors.NoAddress: 503,
    errors.LinkDown: 503,
    errors.StoreUnavailable: 503,
    errors.TookTooLong: 503,
}

Handler = Callable[[IpamService, bytes], Awaitable[Answer]]

log = structlog.get_logger()


async def request_pool(ipam: IpamService, body: bytes) -> Answer:
    """IpamDriver.RequestPool."""
    pool = await ipam.request_pool(messages.read(messages.RequestPool, body).request())
    return messages.pool_answer(pool)


async def release_pool(ipam: IpamService, body: bytes) -> Answer:
    """IpamDriver.ReleasePool."""
    await ipam.release_pool(messages.read(messages.ReleasePool, body).pool_id)
    return {}


async def request_address(ipam: IpamService, body: bytes) -> Answer:
    """IpamDriver.RequestAddress, of a gateway, a container or an auxiliary address."""
    asked = messages.read(messages.RequestAddress, body)
    address, endpoint = asked.address(), asked.endpoint()
    if asked.is_gateway:
        cidr = await ipam.request_gateway(asked.pool_id, address)
    elif endpoint is not None:
        cidr = await ipam.request_address(asked.pool_id, endpoint, address)
    elif address is not None:
        cidr = await ipam.request_auxiliary(asked.pool_id, address)
    else:
        raise errors.BadRequest(
            "Docker sent neither MAC address nor address: it runs with another driver's "
            "capabilities. Restart dockerd"
        )
    return {"Address": cidr, "Data": {}}


async def release_address(ipam: IpamService, body: bytes) -> Answer:
    """IpamDriver.ReleaseAddress."""
    asked = messages.read(messages.ReleaseAddress, body)
    await ipam.release_address(asked.pool_id, asked.address())
    return {}


_CALLS: dict[str, Handler] = {
    "/IpamDriver.RequestPool": request_pool,
    "/IpamDriver.ReleasePool": release_pool,
    "/IpamDriver.RequestAddress": request_address,
    "/IpamDriver.ReleaseAddress": release_address,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Driver:
    """What serves, while it does."""

    ipam: IpamService
    background: BackgroundTasks
    operations: OperatorView
    deadline: timedelta
    """For a whole call: dockerd waits without end, and holds the container's lock meanwhile."""

    def activated(self) -> None:
        """See ``Serving``."""
        self.background.docker_restarted()

    async def answer(self, call: str, body: bytes) -> tuple[Answer, int]:
        """See ``Serving``; ``call`` is the path."""
        try:
            with self.operations.traces.span(call.removeprefix("/")):
                return await self._within_deadline(call, body), 200
        except errors.D4DError as error:
            log.warning("refused", call=call, error=str(error))
            return refusal(str(error), errors.by_class(_STATUS, error, 500))
        except Exception as error:
            log.exception("failed", call=call)
            return refusal(f"D4D failed, see its log: {error!r}", 500)

    async def _within_deadline(self, call: str, body: bytes) -> Answer:
        """What the call is answered. Raises TookTooLong, saying what was waited for last."""
        seconds = self.deadline.total_seconds()
        try:
            async with asyncio.timeout(seconds) as limit:
                return await _CALLS[call](self.ipam, body)
        except TimeoutError as error:
            if not limit.expired():
                raise
            notes = getattr(error.__context__, "__notes__", [])  # of the cancellation
            waited = f", waiting for {notes[0]}" if notes else ""
            raise errors.TookTooLong(
                f"{call.removeprefix('/IpamDriver.')} was given up after {seconds:g} s"
                f"{waited}. Nothing is leased by it: try again (D4D_DHCP_DEADLINE sets how long a "
                f"call may take)"
            ) from error


@asynccontextmanager
async def driver(container: DriverParts) -> AsyncIterator[Driver]:
    """A driver that serves from the state directory, which is its alone until it ends."""
    async with AsyncExitStack() as stack:
        state_dir = container.state_dir()
        state_dir.lock()
        stack.callback(state_dir.close)
        stack.push_async_callback(container.traces().aclose)
        stack.push_async_callback(container.store().aclose)
        for allocator in container.allocators().values():
            stack.push_async_callback(allocator.aclose)
        stack.push_async_callback(container.containers().aclose)
        operations = OperatorView.of(container)
        for listener in (operations.metrics, operations.stream):
            container.events().add(listener)
        for teller in (operations.history, operations.webhook):
            if teller is not None:
                container.events().add(teller)
                teller.start()
                stack.push_async_callback(teller.aclose)
        stack.push_async_callback(asyncio.sleep, 0)  # the last events are told
        ipam, on_lost = container.ipam(), container.on_lost()
        container.events().add(on_lost)
        stack.push_async_callback(on_lost.aclose)
        stack.push_async_callback(ipam.aclose)
        await ipam.open()
        background = BackgroundTasks(
            reconciliation=container.reconciliation(),
            containers=container.instrumented_engine(),
            interval=container.settings().reconcile,
            ipam=ipam,
            reclaim=container.settings().reclaim,
        )
        stack.push_async_callback(background.aclose)
        background.start()
        pool_watch = PoolMonitor(
            operations.fills,
            percent=container.settings().pool_nearly_full,
            tell=operations.webhook.nearly_full if operations.webhook else None,
        )
        container.events().add(pool_watch)
        pool_watch.start()
        stack.push_async_callback(pool_watch.aclose)
        yield Driver(
            ipam=ipam,
            background=background,
            operations=operations,
            deadline=container.settings().dhcp_deadline + BEYOND,
        )


def create_app(
    settings: Callable[[], Settings] = load_settings,
    composed: Callable[[Settings], DriverParts] = compose,
) -> Starlette:
    """The app. Settings are read, and anything is opened, when a server starts it.

    ``composed`` makes what the driver is made of: tests put their own parts in.
    """

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        try:
            chosen = settings()
            configure_logs(debug=chosen.debug)
            log_failures(asyncio.get_running_loop())
            async with driver(composed(chosen)) as opened:
                expect(app).set_result(opened)
                try:
                    yield
                finally:
                    app.state.driver = None
        except errors.D4DError as error:
            log.error("can't serve", error=str(error))
            raise

    return create_calls_app(lifespan)
