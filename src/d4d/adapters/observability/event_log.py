"""What happened to leases, in the log: one line for each event."""

import structlog

from d4d.domain.events import LeaseEvent
from d4d.service_layer.log_messages import EVENTS


class EventLog:
    """A listener to events that writes a line for each."""

    def __init__(self) -> None:
        self._log = structlog.get_logger().bind()  # not anew for each event

    def record(self, event: LeaseEvent) -> None:
        """Write a line with all that identifies the lease (ports.EventSink)."""
        endpoint = event.endpoint
        fields = {
            "address": str(event.address),
            "pool": event.pool,
            "mac": str(endpoint.mac) if endpoint else None,
            "name": endpoint.name if endpoint else None,
            "detail": event.detail or None,
        }
        known = {key: text for key, text in fields.items() if text}
        getattr(self._log, EVENTS[event.kind].level)(event.kind.value, **known)
