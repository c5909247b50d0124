"""Docker's IPAM plugin protocol over HTTP: ``hypercorn d4d.entrypoints.ipam:app``."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import structlog
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from d4d.container import Container, compose
from d4d.domain import errors
from d4d.domain.ipam import Ipam
from d4d.entrypoints import wire
from d4d.entrypoints.background import Background
from d4d.entrypoints.logs import configure_logs, log_failures
from d4d.entrypoints.operations import Operations
from d4d.entrypoints.pool_watch import PoolWatch
from d4d.settings import Settings, load_settings

_STATUS: dict[type[errors.D4DError], int] = {
    errors.BadRequest: 400,
    errors.UnknownPool: 404,
    errors.PoolOverlap: 409,
    errors.AddressInUse: 409,
    errors.NoAddress: 503,
    errors.LinkDown: 503,
    errors.StoreUnavailable: 503,
    errors.StoreAway: 503,
}

Answer = dict[str, Any]
Handler = Callable[[Ipam, bytes], Awaitable[Answer]]

log = structlog.get_logger()


class IpamResponse(JSONResponse):
    """An answer to dockerd.

    It announces that the connection closes: dockerd repeats a call whose connection broke, and
    then without its body.
    """

    media_type = wire.MEDIA_TYPE

    def __init__(self, content: Answer, status_code: int = 200) -> None:
        super().__init__(content, status_code, headers={"Connection": "close"})


async def request_pool(ipam: Ipam, body: bytes) -> Answer:
    """IpamDriver.RequestPool."""
    pool = await ipam.request_pool(wire.read(wire.RequestPool, body).request())
    return wire.pool_answer(pool)


async def release_pool(ipam: Ipam, body: bytes) -> Answer:
    """IpamDriver.ReleasePool."""
    await ipam.release_pool(wire.read(wire.ReleasePool, body).pool_id)
    return {}


async def request_address(ipam: Ipam, body: bytes) -> Answer:
    """IpamDriver.RequestAddress, of a gateway, a container or an auxiliary address."""
    asked = wire.read(wire.RequestAddress, body)
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


async def release_address(ipam: Ipam, body: bytes) -> Answer:
    """IpamDriver.ReleaseAddress."""
    asked = wire.read(wire.ReleaseAddress, body)
    await ipam.release_address(asked.pool_id, asked.address())
    return {}


async def _activate(request: Request) -> IpamResponse:
    """Plugin.Activate: dockerd has started. It may have lost containers, or releases of ours."""
    request.app.state.driver.background.docker_restarted()
    return IpamResponse(wire.ACTIVATE)


def _constant(answer: Answer) -> Route | Any:
    async def endpoint(_: Request) -> IpamResponse:
        return IpamResponse(answer)

    return endpoint


class _Verb:
    """A call of Docker's, as an ASGI app: starlette's wrapping of functions takes a while."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        response = await self._answer(Request(scope, receive), scope["path"])
        await response(scope, receive, send)

    async def _answer(self, request: Request, path: str) -> IpamResponse:
        try:
            body, serving = await request.body(), request.app.state.driver
            with serving.operations.traces.span(path.removeprefix("/")):
                return IpamResponse(await self._handler(serving.ipam, body))
        except errors.D4DError as error:
            log.warning("refused", call=path, error=str(error))
            return _refusal(str(error), _STATUS.get(type(error), 500))
        except Exception as error:
            log.exception("failed", call=path)
            return _refusal(f"D4D failed, see its log: {error!r}", 500)


def _refusal(text: str, status: int) -> IpamResponse:
    """Old engines read ``Error``, newer ones ``Err``."""
    return IpamResponse({"Err": text, "Error": text}, status)


async def _not_http(_: Request, error: Exception) -> IpamResponse:
    assert isinstance(error, HTTPException)
    return _refusal(f"no such call: {error.detail}", error.status_code)


_ROUTES = {
    # They are looked through in this order: what each container waits for comes first.
    "/IpamDriver.RequestAddress": _Verb(request_address),
    "/IpamDriver.ReleaseAddress": _Verb(release_address),
    "/IpamDriver.RequestPool": _Verb(request_pool),
    "/IpamDriver.ReleasePool": _Verb(release_pool),
    # These three are constants: a failure here sticks in dockerd until it restarts.
    "/Plugin.Activate": _activate,
    "/IpamDriver.GetCapabilities": _constant(wire.CAPABILITIES),
    "/IpamDriver.GetDefaultAddressSpaces": _constant(wire.ADDRESS_SPACES),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Driver:
    """What serves, while it does."""

    ipam: Ipam
    background: Background
    operations: Operations


@asynccontextmanager
async def driver(container: Container) -> AsyncIterator[Driver]:
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
        operations = Operations.of(container)
        for listener in (operations.metrics, operations.stream):
            container.events().add(listener)
        for teller in (operations.history, operations.webhook):
            if teller is not None:
                container.events().add(teller)
                teller.start()
                stack.push_async_callback(teller.aclose)
        ipam, on_lost = container.ipam(), container.on_lost()
        container.events().add(on_lost)
        stack.push_async_callback(on_lost.aclose)
        stack.push_async_callback(ipam.aclose)
        await ipam.open()
        background = Background(
            reconciliation=container.reconciliation(),
            containers=container.measured_containers(),
            interval=container.settings().reconcile,
            ipam=ipam,
            reclaim=container.settings().reclaim,
        )
        stack.push_async_callback(background.aclose)
        background.start()
        operations.metrics.watch(operations.state)
        pool_watch = PoolWatch(
            operations.fills,
            percent=container.settings().pool_nearly_full,
            tell=operations.webhook.nearly_full if operations.webhook else None,
        )
        container.events().add(pool_watch)
        pool_watch.start()
        stack.push_async_callback(pool_watch.aclose)
        yield Driver(ipam=ipam, background=background, operations=operations)


def create_app(
    settings: Callable[[], Settings] = load_settings,
    on_ready: Callable[[], None] | None = None,
    composed: Callable[[Settings], Container] = compose,
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
                app.state.driver = opened
                if on_ready is not None:
                    on_ready()
                try:
                    yield
                finally:
                    app.state.driver = None
        except errors.D4DError as error:
            log.error("can't serve", error=str(error))
            raise

    routes = [Route(path, endpoint, methods=["POST"]) for path, endpoint in _ROUTES.items()]
    return Starlette(
        routes=routes, lifespan=lifespan, exception_handlers={HTTPException: _not_http}
    )


app = create_app()
