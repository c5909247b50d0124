"""dockerd, as far as its driver sees it: the bodies are those that Docker engines sent."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
from dependency_injector import providers

from d4d.bootstrap import DriverParts, compose
from d4d.entrypoints.docker_plugin.handlers import create_app
from d4d.settings.loading import load_settings
from d4d.settings.model import Settings
from tests.support.fake_ports import FailingStore, FakeAllocator
from tests.support.virtual_time import FakeClock

HEADERS = {
    "Host": "",  # engine 20.10's
    "User-Agent": "Go-http-client/1.1",
    "Accept": "application/vnd.docker.plugins.v1.2+json",
}


class Docker:
    """An engine, and behind the driver a server and a store to be good or bad."""

    def __init__(self, state_dir: Path) -> None:
        self._settings = load_settings(
            files=(),
            state_dir=state_dir,
            host="host-a",
            store="memory",
            reconcile="0s",  # there is no Docker to be asked
            history_days=0,  # its file is written in real time
        )
        self.clock = FakeClock()
        self.allocator = FakeAllocator(self.clock)
        self.store = FailingStore()
        self.app = create_app(lambda: self._settings, composed=self._composed)
        self._client = httpx.AsyncClient(
            transport=httpx.ASGITransport(self.app), base_url="http://plugin"
        )

    def _composed(self, settings: Settings) -> DriverParts:
        container = compose(settings)
        container.clock.override(providers.Object(self.clock))
        container.dhcp_allocator.override(providers.Object(self.allocator))
        container.store.override(providers.Object(self.store))
        return container

    async def post(self, call: str, body: str = "", **headers: str) -> httpx.Response:
        return await self._client.post(f"/{call}", content=body, headers=HEADERS | headers)

    async def get(self, call: str) -> httpx.Response:
        return await self._client.get(f"/{call}", headers=HEADERS)

    async def ask(self, call: str, body: str) -> dict[str, object]:
        """The answer's body. Fails where Docker would take it for an error."""
        response = await self.post(f"IpamDriver.{call}", body)
        assert response.status_code == 200, response.text
        answer: dict[str, object] = response.json()
        return answer

    async def fail(self, call: str, body: str, status: int) -> str:
        """The error's text, which must stand where old and new engines look for it."""
        response = await self.post(f"IpamDriver.{call}", body)
        assert response.status_code == status, response.text
        answer = response.json()
        assert answer == {"Err": answer["Err"], "Error": answer["Err"]}
        return str(answer["Err"])


@asynccontextmanager
async def started(docker: Docker) -> AsyncIterator[Docker]:
    async with docker.app.router.lifespan_context(docker.app):
        yield docker
