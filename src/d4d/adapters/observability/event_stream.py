"""Events as they happen, for whoever follows them now."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import contextmanager

from d4d.domain.errors import D4DError
from d4d.domain.events import LeaseEvent

MOST_FOLLOWERS = 20
_MOST_WAITING = 1000  # events for one who does not read them; then it is let go
_LARGEST_BATCH = 64  # events


class TooManyFollowers(D4DError):
    """No more followers are allowed."""


class SharedEvent:
    """An event that followers share: what one of them makes of it, all have."""

    __slots__ = ("_text", "event")

    def __init__(self, event: LeaseEvent) -> None:
        self.event = event
        self._text: str | None = None

    def text(self, render: Callable[[LeaseEvent], str]) -> str:
        """The event as text, made once; ``render`` is the same for all."""
        if self._text is None:
            self._text = render(self.event)
        return self._text


class Follower:
    """One who follows, until it is too slow, or the stream is closed."""

    def __init__(self) -> None:
        self._waiting: deque[SharedEvent] = deque()
        self._news = asyncio.Event()
        self._is_over = False

    def notify(self, event: SharedEvent) -> bool:
        """Pass ``event`` on to it; False says that it is let go, as it does not read."""
        if len(self._waiting) >= _MOST_WAITING:
            self.let_go()
            return False
        self._waiting.append(event)
        self._news.set()
        return True

    def let_go(self) -> None:
        """No more comes: it ends once it has what there is."""
        self._is_over = True
        self._news.set()

    async def events(self, pause: float) -> AsyncGenerator[list[SharedEvent], None]:
        """What happens, in batches; an empty one after each ``pause`` seconds without events."""
        while self._waiting or not self._is_over:
            try:
                async with asyncio.timeout(pause):
                    await self._news.wait()
            except TimeoutError:
                yield []
                continue
            batch = min(len(self._waiting), _LARGEST_BATCH)
            if batch:
                yield [self._waiting.popleft() for _ in range(batch)]
            if not self._waiting and not self._is_over:
                self._news.clear()


class EventStream:
    """A listener to events that passes them on to its followers."""

    def __init__(self) -> None:
        self._followers: set[Follower] = set()

    def record(self, event: LeaseEvent) -> None:
        """Pass ``event`` on (ports.EventSink). A follower that is too slow gets no more."""
        if not self._followers:
            return
        shared = SharedEvent(event)
        for follower in tuple(self._followers):
            if not follower.notify(shared):
                self._followers.discard(follower)

    def close(self) -> None:
        """Let those who follow go once they have what there is: they don't by themselves."""
        for follower in self._followers:
            follower.let_go()
        self._followers.clear()

    @contextmanager
    def following(self) -> Iterator[Follower]:
        """One more follower, who hears of events from now on. Raises TooManyFollowers."""
        if len(self._followers) >= MOST_FOLLOWERS:
            raise TooManyFollowers(
                f"{MOST_FOLLOWERS} follow the events already, and no more can: end one of them, or "
                f"ask for /api/history now and then"
            )
        follower = Follower()
        self._followers.add(follower)
        try:
            yield follower
        finally:
            self._followers.discard(follower)
