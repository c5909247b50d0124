"""Docker's plugin protocol over HTTP: three constants, and the calls that a driver answers.

The constants are answered at once; the other calls wait until a driver is open. So this module
imports nothing that only a driver needs.
"""

import asyncio
import json
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from d4d.adapters.docker.plugin_protocol import ACTIVATE, ADDRESS_SPACES, CAPABILITIES, MEDIA_TYPE
from d4d.domain.errors import D4DError

_PATHS = frozenset(
    f"/IpamDriver.{call}"
    for call in ("RequestAddress", "ReleaseAddress", "RequestPool", "ReleasePool")
)
_OK, _NOT_OPEN = 200, 503
_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))
_TYPE = (b"content-type", MEDIA_TYPE.encode())
_CLOSE = (b"connection", b"close")

Answer = dict[str, Any]


class Serving(Protocol):
    """A driver that is open."""

    def activated(self) -> None:
        """dockerd has started. It may have lost containers, or never sent us a release."""

    async def answer(self, call: str, body: bytes) -> tuple[Answer, int]:
        """What Docker's ``call`` is answered, and the status."""

    async def unheard(self, call: str, body: bytes, answer: Answer) -> None:
        """Who made ``call`` went away before it was answered: what was had for it is given back."""


Lifespan = Callable[[Starlette], AbstractAsyncContextManager[None]]


class IpamResponse(Response):
    """An answer to dockerd.

    It announces when the connection will close after it: dockerd repeats a call whose connection
    broke, but without its body.
    """

    def __init__(self, content: Answer, status_code: int = 200) -> None:
        super().__init__(content, status_code)

    def render(self, content: Answer) -> bytes:
        """The body."""
        return _ENCODER.encode(content).encode()

    def init_headers(self, headers: Mapping[str, str] | None = None) -> None:
        """The headers as they are sent: starlette's own way takes longer."""
        assert headers is None
        self.raw_headers = [_TYPE, (b"content-length", b"%d" % len(self.body))]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        if scope["app"].closes():
            self.raw_headers.append(_CLOSE)
        await super().__call__(scope, receive, send)


class _CallsApp(Starlette):
    """Answers the calls that containers wait for without starlette's layers, which take a while."""

    def __init__(self, *, closes: Callable[[], bool], **given: Any) -> None:
        super().__init__(**given)
        self.closes = closes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] == "POST" and scope["path"] in _PATHS:
            scope["app"] = self
            body = await _body(receive)
            if body is not None:
                answer, status = await self._answer(scope["path"], body)
                if status == _OK and await _is_gone(receive):
                    await driver_of(self).unheard(scope["path"], body, answer)
                await IpamResponse(answer, status)(scope, receive, send)
        else:
            await super().__call__(scope, receive, send)

    async def _answer(self, path: str, body: bytes) -> tuple[Answer, int]:
        expected: asyncio.Future[Serving] = self.state.driver
        try:
            driver = expected.result() if expected.done() else await asyncio.shield(expected)
        except D4DError as error:
            return refusal(str(error), _NOT_OPEN)
        return await driver.answer(path, body)


def _always() -> bool:
    return True


def create_calls_app(
    lifespan: Lifespan | None = None, *, closes: Callable[[], bool] = _always
) -> Starlette:
    """The app. Its server gives it a driver: see ``expect``.

    ``closes`` says whether the connection closes after an answer, or may close when dockerd does
    not expect it; that is so unless the server keeps connections open for as long as dockerd.
    """
    routes: dict[str, Any] = {
        # These three are constants: a failure here sticks in dockerd until it restarts.
        "/Plugin.Activate": _activate,
        "/IpamDriver.GetCapabilities": _constant(CAPABILITIES),
        "/IpamDriver.GetDefaultAddressSpaces": _constant(ADDRESS_SPACES),
    }
    return _CallsApp(
        routes=[Route(path, endpoint, methods=["POST"]) for path, endpoint in routes.items()],
        lifespan=lifespan,
        closes=closes,
        exception_handlers={HTTPException: _not_http},
    )


def expect(app: Starlette) -> "asyncio.Future[Serving]":
    """The future of the driver, or of why it can't be opened: calls wait for it."""
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
    """A driver that has just opened reconciles by itself."""
    driver: Serving | None = driver_of(request.app)
    if driver is not None:
        driver.activated()
    return IpamResponse(ACTIVATE)


def _constant(answer: Answer) -> Any:
    async def endpoint(_: Request) -> IpamResponse:
        return IpamResponse(answer)

    return endpoint


async def _is_gone(receive: Receive) -> bool:
    """Whether the caller has closed its connection by now: then it won't hear the answer."""
    news = asyncio.ensure_future(receive())
    await asyncio.sleep(0)
    if not news.done():
        news.cancel()
        return False
    return bool(news.result()["type"] == "http.disconnect")


async def _body(receive: Receive) -> bytes | None:
    """The request's whole body; None where dockerd went away while it sent it."""
    body, more = b"", True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        body += message.get("body", b"")
        more = message.get("more_body", False)
    return body


async def _not_http(_: Request, error: Exception) -> IpamResponse:
    assert isinstance(error, HTTPException)
    return IpamResponse(*refusal(f"no such call: {error.detail}", error.status_code))
