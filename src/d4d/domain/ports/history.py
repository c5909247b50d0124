"""What happened to leases, kept: who had which address when."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from d4d.domain.addressing import Address, MacAddress
from d4d.domain.events import EventKind, LeaseEvent

HOLDING = frozenset(
    {
        EventKind.ACQUIRED,
        EventKind.RENEWED,
        EventKind.REBOUND,
        EventKind.RECOVERED,
        EventKind.ADOPTED,
    }
)
"""After one of these its endpoint has the address."""
ENDING = frozenset({EventKind.RELEASED, EventKind.LOST})
"""After one of these it has it no more; of a lost one it may go on making use."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryEntry:
    """An event, and the host whose driver told of it."""

    host: str
    event: LeaseEvent


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryQuery:
    """Which entries are asked for: those that fit all that is given, the newest first."""

    address: Address | None = None
    mac: MacAddress | None = None
    name: str | None = None
    kinds: frozenset[EventKind] = frozenset()
    """Any of these; none given is any at all."""
    since: datetime | None = None
    until: datetime | None = None
    limit: int = 100


class History(Protocol):
    """Where events are kept."""

    async def find(self, question: HistoryQuery) -> Sequence[HistoryEntry]:
        """The entries that are asked for. Raises StoreUnavailable."""

    async def holders(self, address: Address, at: datetime) -> list[HistoryEntry]:
        """For each pool in which the address was held at that time, the last event before it.

        Raises StoreUnavailable.
        """
