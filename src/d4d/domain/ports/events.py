"""Who hears of what happens to leases."""

from typing import Protocol

from d4d.domain.events import EventKind, LeaseEvent
from d4d.domain.leases import Lease


class EventSink(Protocol):
    """Who hears of what happened."""

    def record(self, event: LeaseEvent) -> None:
        """Take note of ``event``; never raises, never waits."""


class LeaseObserver(Protocol):
    """Who holds the leases that an allocator keeps alive: it hears of their changes."""

    def changed(self, lease: Lease, kind: EventKind, detail: str) -> None:
        """The lease was renewed, is late, was lost, or found again: ``kind`` tells."""
