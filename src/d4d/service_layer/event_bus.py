"""What happens to leases, passed on to all who listen: the log, metrics, history, the webhook."""

import asyncio

from d4d.domain.events import LeaseEvent
from d4d.domain.ports.events import EventSink
from d4d.service_layer.concurrency.supervised_task import its_own
from d4d.service_layer.event_throttle import EventThrottle


class EventBus:
    """Passes each event on to its listeners, in the order in which they were added.

    They hear of it in the event loop's next round, so that whoever waits for what happened is
    answered first. What strangers cause again and again is passed on once, and a minute later with
    its count.
    """

    def __init__(self) -> None:
        self._listeners: list[EventSink] = []
        self._throttle = EventThrottle()
        self._timer: asyncio.TimerHandle | None = None

    def add(self, listener: EventSink) -> None:
        """Let ``listener`` hear of every event from now on."""
        self._listeners.append(listener)

    def record(self, event: LeaseEvent) -> None:
        """Pass ``event`` on soon, after those before it, unless it only repeats them."""
        loop = asyncio.get_running_loop()
        if self._throttle.passes(event, loop.time()):
            loop.call_soon(self._notify, event)
        self._arm(loop)

    def _arm(self, loop: asyncio.AbstractEventLoop) -> None:
        """See that what is held back is passed on when it is time."""
        if self._timer is None and (at := self._throttle.next_at) is not None:
            self._timer = loop.call_at(at, self._notify_held, loop)

    def _notify_held(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = None
        try:
            for event in self._throttle.due(loop.time()):
                self._notify(event)
        finally:
            self._arm(loop)

    def _notify(self, event: LeaseEvent) -> None:
        for listener in self._listeners:
            with its_own(f"listener {listener!r}"):
                listener.record(event)
