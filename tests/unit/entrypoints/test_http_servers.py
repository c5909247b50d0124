"""What speaks HTTP: one contract for both servers, at a real socket."""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from d4d.domain.errors import StoreTooNew
from d4d.entrypoints import http
from d4d.entrypoints.http import fast, plain

SERVERS = [pytest.param(plain.serve, id="hypercorn"), pytest.param(fast.serve, id="uvicorn")]
pytestmark = pytest.mark.parametrize("serve", SERVERS)


class Served:
    """An app at a socket, and what a client says to it."""

    def __init__(self, directory: Path, serve: http.Serve, grace: float = 5) -> None:
        self.path = directory / "http.sock"
        self.stop = asyncio.Event()
        self.asked = asyncio.Event()
        self.go_on = asyncio.Event()
        self.troubles: list[str] = []
        listening = socket.socket(socket.AF_UNIX)
        listening.bind(str(self.path))
        listening.listen()
        routes = [Route("/slow", self._slow, methods=["POST"]), Route("/", self._quick)]
        app = Starlette(routes=routes, lifespan=self._lifespan)
        self.serving = asyncio.create_task(
            serve(app, listening.detach(), stop=self.stop, grace=lambda: grace)
        )

    async def ask(self, method: str, path: str, body: bytes = b"") -> str:
        async with httpx.AsyncClient(
            transport=httpx.AsyncHTTPTransport(uds=str(self.path)), base_url="http://d4d"
        ) as client:
            answer = await client.request(method, path, content=body)
            assert answer.status_code == 200
            return answer.text

    @asynccontextmanager
    async def _lifespan(self, _: Starlette) -> AsyncIterator[None]:
        if self.troubles:
            raise StoreTooNew(self.troubles[0])
        yield
        self.troubles.append("closed")

    async def _quick(self, _: Request) -> PlainTextResponse:
        return PlainTextResponse("quick")

    async def _slow(self, request: Request) -> PlainTextResponse:
        body = await request.body()
        self.asked.set()
        await self.go_on.wait()
        return PlainTextResponse(body.decode())


@pytest.fixture
def directory() -> Iterator[Path]:
    with TemporaryDirectory() as name:  # pytest's are too long for a socket's name
        yield Path(name)


async def test_it_answers_until_it_is_stopped(serve: http.Serve, directory: Path) -> None:
    served = Served(directory, serve)
    assert await served.ask("GET", "/") == "quick"
    assert served.troubles == []
    served.stop.set()
    async with asyncio.timeout(5):
        await served.serving
    assert served.troubles == ["closed"]
    with pytest.raises(httpx.ConnectError):
        await served.ask("GET", "/")


async def test_a_request_in_flight_is_answered_at_the_end(
    serve: http.Serve, directory: Path
) -> None:
    served = Served(directory, serve)
    asking = asyncio.create_task(served.ask("POST", "/slow", b"a body"))
    await served.asked.wait()
    served.stop.set()
    await asyncio.sleep(0.3)
    assert not served.serving.done()
    served.go_on.set()
    assert await asking == "a body"
    async with asyncio.timeout(5):
        await served.serving


async def test_a_request_that_takes_longer_than_the_grace_is_cut_short(
    serve: http.Serve, directory: Path
) -> None:
    served = Served(directory, serve, grace=0.1)
    asking = asyncio.create_task(served.ask("POST", "/slow", b"a body"))
    await served.asked.wait()
    served.stop.set()
    async with asyncio.timeout(5):
        await served.serving
    with pytest.raises((httpx.HTTPError, AssertionError)):
        await asking


async def test_an_app_that_can_not_start_is_told_of(serve: http.Serve, directory: Path) -> None:
    served = Served(directory, serve)
    served.troubles.append("it is of a later version")
    with pytest.raises(http.CannotStart):
        await served.serving
