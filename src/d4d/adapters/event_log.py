"""What happened to leases, one log line for each event."""

import structlog

from d4d.domain.ports import Event, EventKind

_LEVELS = {
    EventKind.LOST: "error",
    EventKind.LATE: "warning",
    EventKind.CONFLICT: "warning",
    EventKind.DECLINED: "warning",
    EventKind.RENEWED: "debug",
}

_log = structlog.get_logger()


class EventLog:
    """Events, to the log."""

    def record(self, event: Event) -> None:
        """Log ``event`` with all that identifies its lease."""
        endpoint = event.endpoint
        fields = {
            "address": str(event.address),
            "pool": event.pool,
            "mac": str(endpoint.mac) if endpoint else None,
            "name": endpoint.name if endpoint else None,
            "detail": event.detail or None,
        }
        level = _LEVELS.get(event.kind, "info")
        getattr(_log, level)(
            event.kind.value, **{key: text for key, text in fields.items() if text}
        )
