"""Events as they happen, for whoever follows them now."""

import asyncio
from collections.abc import AsyncGenerator

from d4d.domain.ports import Event

_MOST_WAITING = 1000  # events for one who does not read them; then it is let go


class EventStream:
    """A listener to events that passes them on to its followers."""

    def __init__(self) -> None:
        self._followers: set[asyncio.Queue[Event]] = set()

    def record(self, event: Event) -> None:
        """Pass ``event`` on (ports.Events). A follower that is too slow gets no more."""
        for queue in tuple(self._followers):
            if queue.full():
                self._followers.discard(queue)
            else:
                queue.put_nowait(event)

    async def follow(self, pause: float) -> AsyncGenerator[Event | None, None]:
        """Events from now on; None after each ``pause`` seconds without one.

        It ends when its reader was too slow.
        """
        queue: asyncio.Queue[Event] = asyncio.Queue(_MOST_WAITING)
        self._followers.add(queue)
        try:
            while queue in self._followers or not queue.empty():
                try:
                    async with asyncio.timeout(pause):
                        event: Event | None = await queue.get()
                except TimeoutError:
                    event = None
                yield event
        finally:
            self._followers.discard(queue)
