"""What happened to leases: one log line for each event, and whoever else wants to hear."""

import asyncio

import structlog

from d4d.domain.ports.allocator import Event, EventKind, Events
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
    """

    def __init__(self) -> None:
        self._log = structlog.get_logger().bind()  # not anew for each event
        self._listeners: list[Events] = []

    def add(self, listener: Events) -> None:
        """Let ``listener`` hear of every event from now on."""
        self._listeners.append(listener)

    def record(self, event: Event) -> None:
        """Have ``event`` told soon, after those before it."""
        asyncio.get_running_loop().call_soon(self._tell, event)

    def _tell(self, event: Event) -> None:
        self._write(event)
        for listener in self._listeners:
            with its_own(f"listener {listener!r}"):
                listener.record(event)

    def _write(self, event: Event) -> None:
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
