"""Docker's API: which networks are ours, who is on them, and what an operator wants done to them.

Docker's answers are taken as a whole or not at all. An engine that does not run is a normal state:
the next call tries again, and nothing is logged here.
"""

import asyncio
import json
import time
from collections.abc import AsyncGenerator, Callable
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from d4d.adapters.docker.engine_http import ApiVersion, DockerApi, NotFound
from d4d.domain.errors import DockerUnavailable
from d4d.domain.ports.docker import Attachment, Change, ContainerEvent, DockerNetwork
from d4d.lazy_import import lazy

if TYPE_CHECKING:
    from d4d.adapters.docker import models
else:
    models = lazy("d4d.adapters.docker.models")

_FIRST_WITH_NAMES: ApiVersion = (1, 52)  # engine 29.0
_LISTEN_AGAIN = 0.5  # seconds until an engine that went away is tried again
_PATIENCE = timedelta(seconds=10)
_ACTION = timedelta(minutes=2)
"""How long Docker may take to do something: it may first wait for a process to end (10 s, unless
the container says otherwise), and then for an address from us (25 s, one container at a time)."""


class DockerEngineClient:
    """The networks and containers of the engine at a unix socket."""

    def __init__(
        self,
        socket: Path,
        *,
        driver: str,
        is_ours: Callable[[str], bool] = lambda _: False,
        patience: timedelta = _PATIENCE,
    ) -> None:
        """``driver`` is our name as Docker's users write it; ``is_ours`` knows the others.

        ``patience`` is for each answer.
        """
        self._api = DockerApi(socket, patience=patience)
        self._driver = driver
        self._is_ours = is_ours
        self._configurations: dict[tuple[str, str], dict[str, Any]] = {}
        """Of ends that we disconnected and have not connected again, by network and container."""

    @property
    def gives_names(self) -> bool:
        """See ``DockerEngine``."""
        return self._api.version is not None and self._api.version >= _FIRST_WITH_NAMES

    async def networks(self) -> tuple[DockerNetwork, ...]:
        """See ``DockerEngine``. One request for each of these, and one for all."""
        content = await self._api.request("GET", "/networks")
        listed = models.read(list[models.NetworkModel], content, request="GET /networks")
        found = []
        for each in listed:
            if not each.may_be_served_by(self._driver):
                continue
            try:
                network = self._read(await self._network(each.id))
            except NotFound:  # removed since it was listed: not seen
                continue
            if network is not None:
                found.append(network)
        return tuple(found)

    async def attachments(self) -> tuple[Attachment, ...]:
        """See ``DockerEngine``. One request, whatever the number of containers."""
        path = "/containers/json"
        content = await self._api.request("GET", path)
        containers = models.read(list[models.ListedContainer], content, request=f"GET {path}")
        return tuple(end for each in containers for end in each.attachments())

    async def started(self) -> AsyncGenerator[ContainerEvent, None]:
        """See ``DockerEngine``."""
        while True:
            if not self._api.listens:  # to ask it all the same takes milliseconds, twice a second
                await asyncio.sleep(_LISTEN_AGAIN)
                continue
            try:
                # Docker answers before it subscribes us: since closes the gap
                query = {"filters": json.dumps(models.EVENTS), "since": f"{time.time():.6f}"}
                async with self._api.lines("/events", query) as lines:
                    yield ContainerEvent(change=Change.MISSED)
                    async for line in lines:
                        event = models.read_event(line)
                        if event is not None:
                            yield event
            except DockerUnavailable:
                await asyncio.sleep(_LISTEN_AGAIN)

    async def reconnect(self, attachment: Attachment) -> None:
        """See ``DockerEngine``. An end that has another address by now is left alone."""
        container_id, network_id = attachment.container_id, attachment.network_id
        path = f"/containers/{quote(container_id, safe='')}/json"
        container = models.read(
            models.ContainerModel, await self._api.request("GET", path), request=f"GET {path}"
        )
        end = container.end_on(network_id)
        key = (network_id, container_id)
        if end is not None and str(attachment.address) in (end.ipv4, end.ipv6):
            # kept first: an answer that is lost leaves it disconnected all the same
            self._configurations[key] = end.configuration(container_id)
            await self._change(network_id, "disconnect", {"Container": container_id})
        elif end is not None:
            self._configurations.pop(key, None)
        if key in self._configurations:
            configuration = self._configurations[key]
            body = {"Container": container_id, "EndpointConfig": configuration}
            await self._change(network_id, "connect", body)
            del self._configurations[key]

    async def restart(self, container_id: str) -> None:
        """See ``DockerEngine``."""
        await self._do("restart", container_id)

    async def stop(self, container_id: str) -> None:
        """See ``DockerEngine``."""
        await self._do("stop", container_id)

    async def aclose(self) -> None:
        """See ``DockerEngine``."""
        await self._api.aclose()

    def _read(self, model: "models.NetworkModel") -> DockerNetwork | None:
        """The network with its ends; None if it can't be ours. Raises DockerUnavailable."""
        if model.is_served_by(self._driver) or self._is_ours(model.ipam.driver):
            return model.network(ends=tuple(model.attachments()))
        if not model.may_be_served_by(self._driver):
            return None
        try:
            return model.network(ends=tuple(model.attachments()), is_ours=False)
        except DockerUnavailable:  # others may have what we do not understand: not seen
            return None

    async def _network(self, network_id: str) -> "models.NetworkModel":
        path = f"/networks/{network_id}"
        return models.read(
            models.NetworkModel, await self._api.request("GET", path), request=f"GET {path}"
        )

    async def _change(self, network_id: str, verb: str, body: dict[str, Any]) -> None:
        path = f"/networks/{network_id}/{verb}"
        await self._api.request("POST", path, body=body, patience=_ACTION)

    async def _do(self, verb: str, container_id: str) -> None:
        path = f"/containers/{quote(container_id, safe='')}/{verb}"
        await self._api.request("POST", path, patience=_ACTION)
