"""HTTP to Docker's API over its unix socket, in a version that both sides speak."""

import asyncio
import json
import socket
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import aclosing, asynccontextmanager, contextmanager
from datetime import timedelta
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any

from d4d.domain.errors import DockerUnavailable
from d4d.lazy_import import lazy

if TYPE_CHECKING:
    import httpx

    from d4d.adapters.docker import models
else:
    httpx = lazy("httpx")
    models = lazy("d4d.adapters.docker.models")
    lazy("httpcore")  # httpx imports it at its first call

ApiVersion = tuple[int, int]

_NEWEST: ApiVersion = (1, 54)  # what the models were written for; engine 20.10 speaks 1.41 at most


class NotFound(DockerUnavailable):
    """Docker knows nothing of that id."""


class DockerApi:
    """One engine. It connects anew for each request, so that an engine may come and go."""

    def __init__(self, path: Path, *, patience: timedelta) -> None:
        """``patience`` is how long an answer may take, where a request does not say otherwise."""
        self._socket = path
        self._patience = patience.total_seconds()
        self._client: httpx.AsyncClient | None = None
        self._agreed = False
        self.version: ApiVersion | None = None
        """The version that was agreed upon last."""

    @property
    def listens(self) -> bool:
        """Whether somebody does, at its socket: a look that costs little."""
        with socket.socket(socket.AF_UNIX) as looking:
            looking.setblocking(False)
            try:
                looking.connect(str(self._socket))
            except BlockingIOError:  # so many wait already
                return True
            except OSError:
                return False
            return True

    async def request(
        self,
        method: str,
        path: str,
        *,
        body: Mapping[str, Any] | None = None,
        patience: timedelta | None = None,
    ) -> bytes:
        """The answer's body, which may take ``patience``. Raises DockerUnavailable, NotFound."""
        seconds = self._patience if patience is None else patience.total_seconds()
        with self._translated(f"{method} {path}"):
            async with asyncio.timeout(seconds):
                url = await self._url(path)
                response = await self._connected().request(method, url, json=body)
            self._check(response, f"{method} {path}")
            return response.content

    @asynccontextmanager
    async def lines(
        self, path: str, query: Mapping[str, str]
    ) -> AsyncGenerator[AsyncGenerator[bytes, None], None]:
        """The lines of an answer that has no end; entered when it has begun.

        Raises DockerUnavailable, also when it ends.
        """
        with self._translated(f"GET {path}"):
            client = self._connected()
            async with asyncio.timeout(self._patience):
                request = client.build_request("GET", await self._url(path), params=query)
                response = await client.send(request, stream=True)
            try:
                if response.is_error:
                    async with asyncio.timeout(self._patience):
                        await response.aread()
                self._check(response, f"GET {path}")
                async with aclosing(_lines(response)) as lines:
                    yield lines
            finally:
                await response.aclose()

    async def aclose(self) -> None:
        """Close what is open; the next request opens anew."""
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    def _connected(self) -> "httpx.AsyncClient":
        if self._client is None:
            transport = httpx.AsyncHTTPTransport(
                uds=str(self._socket),
                verify=False,  # there is no TLS here, and reading CA certificates takes 0.4 s
                # one kept across a restart of the engine would break the next request
                limits=httpx.Limits(max_keepalive_connections=0),
            )
            self._client = httpx.AsyncClient(
                transport=transport,
                base_url="http://docker",
                timeout=None,
                trust_env=False,  # a proxy for the world is none for this socket
                headers={"Accept": "application/json"},
            )
        return self._client

    async def _url(self, path: str) -> str:
        """The path under the agreed version; after any failure it is agreed anew."""
        if not self._agreed or self.version is None:
            response = await self._connected().get("/version")
            self._check(response, "GET /version")
            ranged = models.read(models.Version, response.content, request="GET /version")
            newest, oldest = _parsed(ranged.newest), _parsed(ranged.oldest)
            self.version = max(min(newest, _NEWEST), oldest)
            self._agreed = True
        major, minor = self.version
        return f"/v{major}.{minor}{path}"

    def _check(self, response: "httpx.Response", request: str) -> None:
        if not response.is_error:
            return
        text = f"Docker at {self._socket} refused {request}: {_reason(response)}"
        if response.status_code == HTTPStatus.NOT_FOUND:
            raise NotFound(text)
        raise DockerUnavailable(text)

    @contextmanager
    def _translated(self, request: str) -> Iterator[None]:
        """Turn what goes wrong into DockerUnavailable."""
        try:
            yield
        except TimeoutError as error:
            self._agreed = False
            raise DockerUnavailable(
                f"Docker at {self._socket} took too long to answer {request}"
            ) from error
        except (httpx.HTTPError, OSError, RuntimeError) as error:  # uvloop's of a closed transport
            self._agreed = False
            reason = str(error) or type(error).__name__
            raise DockerUnavailable(
                f"Docker at {self._socket} did not answer {request}: {reason}; does it run, and is "
                "D4D_DOCKER_SOCKET its socket?"
            ) from error
        except DockerUnavailable:
            self._agreed = False  # it may be another engine by now, which refuses our version
            raise


async def _lines(response: "httpx.Response") -> AsyncGenerator[bytes, None]:
    """Split at newlines only: what else ends a line for Python may stand in a container's label."""
    rest = b""
    async for chunk in response.aiter_bytes():
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            if line.strip():
                yield line
    raise httpx.RemoteProtocolError("the answer has ended")


def _parsed(version: str) -> ApiVersion:
    major, minor = version.split(".")
    return int(major), int(minor)


def _reason(response: "httpx.Response") -> str:
    """What Docker says went wrong: an object with a message, or old engines' plain text."""
    try:
        return str(json.loads(response.content)["message"])
    except (ValueError, KeyError, TypeError):
        text = response.text.strip()
        return text or f"{response.status_code} {response.reason_phrase}"
