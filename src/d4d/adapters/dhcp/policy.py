"""How an operator wants leases to be had."""

from dataclasses import dataclass
from datetime import timedelta

from d4d.domain.policies import IdentityPolicy


@dataclass(frozen=True, slots=True, kw_only=True)
class DhcpPolicy:
    """The settings that say so."""

    deadline: timedelta = timedelta(seconds=25)
    """For one allocation, from when its turn comes."""
    window: int = 64
    """Acquisitions in flight at once."""
    identity: IdentityPolicy = IdentityPolicy.AUTO
    host: str = ""
    hostname_template: str = "{name}"
    conflict_probe: timedelta = timedelta(milliseconds=50)
    """How long to wait for another user of an address to answer ARP; 0 asks nobody."""
