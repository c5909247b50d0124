"""What happened to leases: one log line for each event, and whoever else wants to hear."""

import asyncio

import structlog

from d4d.adapters.observability.seldom import SeldomEvents
from d4d.domain.events import EventKind, LeaseEvent
from d4d.domain.ports.events import EventSink
from d4d.service_layer.concurrency.supervised_task import its_own

_LEVELS = {
    EventKind.LOST: "error",
    EventKind.LATE: "warning",
    EventKind.CONFLICT: "warning",
    EventKind.DECLINED: "warning",
    EventKind.MISMATCH: "warning",
    EventKind.ACTED: "warning",
    EventKind.DRAINED: "warning",
    EventKind.RENEWED: "debug",
}


class EventLog:
    """Events, to the log, and then to its listeners.

    They are told in the event loop's next round: who waits for what happened is answered first.
    What strangers cause again and again is told once, and a minute later how often.
    """

    def __init__(self) -> None:
        self._log = structlog.get_logger().bind()  # not anew for each event
        self._listeners: list[EventSink] = []
        self._seldom = SeldomEvents()
        self._timer: asyncio.TimerHandle | None = None

    def add(self, listener: EventSink) -> None:
        """Let ``listener`` hear of every event from now on."""
        self._listeners.append(listener)

    def record(self, event: LeaseEvent) -> None:
        """Have ``event`` told soon, after those before it, if that was not told lately."""
        loop = asyncio.get_running_loop()
        if self._seldom.may_tell(event, loop.time()):
            loop.call_soon(self._tell, event)
        self._arm(loop)

    def _arm(self, loop: asyncio.AbstractEventLoop) -> None:
        """See that what is held back is told of when it is time."""
        if self._timer is None and (at := self._seldom.next_at) is not None:
            self._timer = loop.call_at(at, self._tell_held, loop)

    def _tell_held(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = None
        try:
            for event in self._seldom.due(loop.time()):
                self._tell(event)
        finally:
            self._arm(loop)

    def _tell(self, event: LeaseEvent) -> None:
        self._write(event)
        for listener in self._listeners:
            with its_own(f"listener {listener!r}"):
                listener.record(event)

    def _write(self, event: LeaseEvent) -> None:
        """A line with all that identifies the lease."""
        endpoint = event.endpoint
        fields = {
            "address": str(event.address),
            "pool": event.pool,
            "mac": str(endpoint.mac) if endpoint else None,
            "name": endpoint.name if endpoint else None,
            "detail": event.detail or None,
        }
        known = {key: text for key, text in fields.items() if text}
        getattr(self._log, _LEVELS.get(event.kind, "info"))(event.kind.value, **known)
