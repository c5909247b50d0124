"""Events as they happen, for whoever follows them now."""

import asyncio
from collections.abc import AsyncGenerator

from d4d.domain.ports.allocator import Event

_MOST_WAITING = 1000  # events for one who does not read them; then it is let go


class EventStream:
    """A listener to events that passes them on to its followers."""

    def __init__(self) -> None:
        self._followers: set[asyncio.Queue[Event | None]] = set()

    def record(self, event: Event) -> None:
        """Pass ``event`` on (ports.Events). A follower that is too slow gets no more."""
        for queue in tuple(self._followers):
            if queue.full():
                self._followers.discard(queue)
            else:
                queue.put_nowait(event)

    def close(self) -> None:
        """Let those who follow go once they have what there is: they don't by themselves."""
        for queue in self._followers:
            if not queue.full():  # else it is not waited at
                queue.put_nowait(None)
        self._followers.clear()

    async def follow(self, pause: float) -> AsyncGenerator[Event | None, None]:
        """Events from now on; None after each ``pause`` seconds without one.

        It ends when its reader was too slow, or at ``close``.
        """
        queue: asyncio.Queue[Event | None] = asyncio.Queue(_MOST_WAITING)
        self._followers.add(queue)
        try:
            while queue in self._followers or not queue.empty():
                try:
                    async with asyncio.timeout(pause):
                        event = await queue.get()
                except TimeoutError:
                    yield None
                else:
                    if event is None:
                        return
                    yield event
        finally:
            self._followers.discard(queue)
