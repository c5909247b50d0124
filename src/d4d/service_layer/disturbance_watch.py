"""Who hears of disturbances, and that somebody watches for them as long as the driver is open."""

import asyncio
from collections.abc import Sequence
from functools import partial

from d4d.domain.ports.disturbances import (
    Disturbance,
    DisturbanceSource,
    EngineRestarted,
    Notify,
)
from d4d.service_layer.concurrency.supervised_task import forever, its_own


class DisturbanceWatch:
    """One supervised task for each source; all listeners hear of everything, in order."""

    def __init__(self, sources: Sequence[DisturbanceSource]) -> None:
        self._sources = sources
        self._listeners: list[Notify] = []
        self._tasks: list[asyncio.Task[None]] = []

    def add(self, listener: Notify) -> None:
        """Have ``listener`` hear of each from now on. What it raises is told, and its own."""
        self._listeners.append(listener)

    def start(self) -> None:
        """Begin to watch."""
        self._tasks = [
            forever(source.name, partial(source.watch, self.notify)) for source in self._sources
        ]

    def notify(self, disturbance: Disturbance) -> None:
        """Tell all listeners."""
        for listener in self._listeners:
            with its_own("a listener to disturbances"):
                listener(disturbance)

    def engine_restarted(self) -> None:
        """dockerd activated the plugin."""
        self.notify(EngineRestarted())

    async def aclose(self) -> None:
        """Stop."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
