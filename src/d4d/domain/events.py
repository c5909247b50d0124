"""What happens to leases."""

from dataclasses import dataclass
from datetime import datetime
from enum import Enum

from d4d.domain.addressing import Address
from d4d.domain.leases import Endpoint
from d4d.domain.pools import PoolId


class EventKind(Enum):
    """What happened to a lease."""

    ACQUIRED = "acquired"
    RENEWED = "renewed"
    REBOUND = "rebound"
    LATE = "late"
    LOST = "lost"
    RECOVERED = "recovered"
    RELEASED = "released"
    DECLINED = "declined"
    CONFLICT = "conflict"
    ADOPTED = "adopted"
    MISMATCH = "mismatch"
    """What the server said does not fit the network."""
    ACTED = "acted"
    """What D4D_ON_LOST asks for was done, or failed."""
    DRAINED = "drained"
    """Taken back from a host that was heard of no more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseEvent:
    """One thing that happened to an address; ``detail`` says what an operator should know."""

    kind: EventKind
    at: datetime
    pool: PoolId
    address: Address
    endpoint: Endpoint | None = None
    detail: str = ""
