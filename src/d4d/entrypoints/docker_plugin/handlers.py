"""The driver that answers Docker's calls, also by ``hypercorn d4d.entrypoints.ipam:app``."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from ipaddress import ip_interface

from starlette.applications import Starlette

from d4d.adapters.observability.log_setup import configure_logs, log_failures
from d4d.bootstrap import Driver, DriverParts, compose, open_driver
from d4d.domain import errors
from d4d.entrypoints.docker_plugin import messages
from d4d.entrypoints.docker_plugin.app import Answer, create_calls_app, expect, refusal
from d4d.service_layer import log_messages as log
from d4d.service_layer.ipam_service import IpamService
from d4d.settings.loading import load_settings
from d4d.settings.model import Settings

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
    request = messages.read(messages.RequestAddress, body)
    address, endpoint = request.address(), request.endpoint()
    if request.is_gateway:
        cidr = await ipam.request_gateway(request.pool_id, address)
    elif endpoint is not None:
        cidr = await ipam.request_address(request.pool_id, endpoint, address)
    elif address is not None:
        cidr = await ipam.request_auxiliary(request.pool_id, address)
    else:
        raise errors.BadRequest(
            "Docker sent neither MAC address nor address: it runs with another driver's "
            "capabilities. Restart dockerd"
        )
    return {"Address": cidr, "Data": {}}


async def release_address(ipam: IpamService, body: bytes) -> Answer:
    """IpamDriver.ReleaseAddress."""
    request = messages.read(messages.ReleaseAddress, body)
    await ipam.release_address(request.pool_id, request.address())
    return {}


_CALLS: dict[str, Handler] = {
    "/IpamDriver.RequestPool": request_pool,
    "/IpamDriver.ReleasePool": release_pool,
    "/IpamDriver.RequestAddress": request_address,
    "/IpamDriver.ReleaseAddress": release_address,
}


@dataclass(frozen=True, slots=True)
class PluginCalls:
    """Docker's calls, answered by a driver while it is open."""

    driver: Driver

    def activated(self) -> None:
        """See ``Serving``."""
        self.driver.disturbances.engine_restarted()

    async def answer(self, call: str, body: bytes) -> tuple[Answer, int]:
        """See ``Serving``; ``call`` is the path."""
        try:
            with self.driver.view.traces.span(call.removeprefix("/")):
                return await self._within_deadline(call, body), 200
        except errors.D4DError as error:
            log.call_refused(call=call, error=str(error))
            return refusal(str(error), errors.by_class(_STATUS, error, 500))
        except Exception as error:
            log.call_failed(call=call, exc_info=error)
            return refusal(f"D4D failed, see its log: {error!r}", 500)

    async def unheard(self, call: str, body: bytes, answer: Answer) -> None:
        """See ``Serving``. Docker, who heard nothing, will not release it."""
        log.answer_not_heard(call=call, answer=answer)
        if call == "/IpamDriver.RequestAddress":
            asked = messages.read(messages.RequestAddress, body)
            await self.driver.ipam.release_address(
                asked.pool_id, ip_interface(answer["Address"]).ip
            )
        elif call == "/IpamDriver.RequestPool":
            await self.driver.ipam.release_pool(answer["PoolID"])

    async def _within_deadline(self, call: str, body: bytes) -> Answer:
        """The answer to the call. Raises TookTooLong, saying what was waited for last."""
        seconds = self.driver.deadline.total_seconds()
        try:
            async with asyncio.timeout(seconds) as limit:
                return await _CALLS[call](self.driver.ipam, body)
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


def create_app(
    settings: Callable[[], Settings] = load_settings,
    composed: Callable[[Settings], DriverParts] = compose,
) -> Starlette:
    """The app. Settings are read, and anything is opened, when a server starts it.

    ``composed`` makes the driver's parts: tests replace some of them.
    """

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        try:
            chosen = settings()
            configure_logs(debug=chosen.debug)
            log_failures(asyncio.get_running_loop())
            async with open_driver(composed(chosen)) as opened:
                expect(app).set_result(PluginCalls(opened))
                try:
                    yield
                finally:
                    app.state.driver = None
        except errors.D4DError as error:
            log.start_failed(error=str(error))
            raise

    return create_calls_app(lifespan)
