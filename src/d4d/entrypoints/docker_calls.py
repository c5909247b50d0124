"""Docker's plugin protocol over HTTP: three constants, and the calls that a driver answers.

The constants are answered from the first moment; the other calls wait until a driver is open. So
this imports nothing of a driver's.
"""

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from d4d.domain.errors import D4DError

MEDIA_TYPE = "application/vnd.docker.plugins.v1.1+json"

ACTIVATE = {"Implements": ["IpamDriver"]}
CAPABILITIES = {"RequiresMACAddress": True, "RequiresRequestReplay": False}
ADDRESS_SPACES = {
    "LocalDefaultAddressSpace": "d4d-local",
    "GlobalDefaultAddressSpace": "d4d-global",
}

_PATHS = frozenset(
    f"/IpamDriver.{call}"
    for call in ("RequestAddress", "ReleaseAddress", "RequestPool", "ReleasePool")
)
_NOT_OPEN = 503

Answer = dict[str, Any]


class Serving(Protocol):
    """A driver that is open."""

    def activated(self) -> None:
        """dockerd has started. It may have lost containers, or releases of ours."""

    async def answer(self, call: str, body: bytes) -> tuple[Answer, int]:
        """What Docker's ``call`` is answered, and the status."""


Lifespan = Callable[[Starlette], AbstractAsyncContextManager[None]]


class IpamResponse(JSONResponse):
    """An answer to dockerd.

    It announces that the connection closes: dockerd repeats a call whose connection broke, and
    then without its body.
    """

    media_type = MEDIA_TYPE

    def __init__(self, content: Answer, status_code: int = 200) -> None:
        super().__init__(content, status_code, headers={"Connection": "close"})


class _CallsApp(Starlette):
    """Takes the calls that containers wait for past starlette's layers, which take a while."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] == "POST" and scope["path"] in _PATHS:
            scope["app"] = self
            await _call(scope, receive, send)
        else:
            await super().__call__(scope, receive, send)


def create_calls_app(lifespan: Lifespan | None = None) -> Starlette:
    """The app. Who serves it gives it a driver: see ``expect``."""
    routes: dict[str, Any] = {
        # These three are constants: a failure here sticks in dockerd until it restarts.
        "/Plugin.Activate": _activate,
        "/IpamDriver.GetCapabilities": _constant(CAPABILITIES),
        "/IpamDriver.GetDefaultAddressSpaces": _constant(ADDRESS_SPACES),
    }
    return _CallsApp(
        routes=[Route(path, endpoint, methods=["POST"]) for path, endpoint in routes.items()],
        lifespan=lifespan,
        exception_handlers={HTTPException: _not_http},
    )


def expect(app: Starlette) -> "asyncio.Future[Serving]":
    """Where the driver is told, when it is open, or why it can't be: calls wait for that."""
    expected: asyncio.Future[Serving] = asyncio.get_running_loop().create_future()
    app.state.driver = expected
    return expected


def driver_of(app: Starlette) -> Any:
    """The driver, while one is open; else None."""
    expected: asyncio.Future[Serving] | None = getattr(app.state, "driver", None)
    is_open = expected is not None and expected.done() and expected.exception() is None
    return expected.result() if expected is not None and is_open else None


def refusal(text: str, status: int) -> tuple[Answer, int]:
    """Old engines read ``Error``, newer ones ``Err``."""
    return {"Err": text, "Error": text}, status


async def _activate(request: Request) -> IpamResponse:
    """A driver that opens looks at everything by itself."""
    driver: Serving | None = driver_of(request.app)
    if driver is not None:
        driver.activated()
    return IpamResponse(ACTIVATE)


def _constant(answer: Answer) -> Any:
    async def endpoint(_: Request) -> IpamResponse:
        return IpamResponse(answer)

    return endpoint


async def _call(scope: Scope, receive: Receive, send: Send) -> None:
    """A driver's call, as an ASGI app."""
    request = Request(scope, receive)
    response = IpamResponse(*await _answer(request, scope["path"]))
    await response(scope, receive, send)


async def _answer(request: Request, path: str) -> tuple[Answer, int]:
    body = await request.body()
    try:
        driver: Serving = await asyncio.shield(request.app.state.driver)
    except D4DError as error:
        return refusal(str(error), _NOT_OPEN)
    return await driver.answer(path, body)


async def _not_http(_: Request, error: Exception) -> IpamResponse:
    assert isinstance(error, HTTPException)
    return IpamResponse(*refusal(f"no such call: {error.detail}", error.status_code))
