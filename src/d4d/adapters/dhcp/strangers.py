"""How much of a server's range others on the wire can make us decline.

A DHCPDECLINE costs the site an address for a day or so, and whoever answers ARP causes it. So it
has a budget: for each parent, and for each MAC that answered.
"""

from enum import Enum
from ipaddress import IPv4Address, IPv4Network

from d4d.domain.addressing import MacAddress

OF_PARENT, OF_STRANGER = 8, 2  # DECLINEs at once,
EVERY = 600.0  # and seconds until there may be one more
_MOST_STRANGERS = 256
_MOST_ADDRESSES = 4  # that are remembered of a stranger
_CONTROL_BITS = 6  # the addresses that differ from one in one of its last bits are asked for, too


class Budget:
    """So many at once, and one more every so many seconds (a token bucket)."""

    __slots__ = ("_every", "_left", "_size", "_until")

    def __init__(self, size: int, *, every: float) -> None:
        self._size, self._every = size, every
        self._left = float(size)
        self._until = 0.0

    def has_any(self, now: float) -> bool:
        """Whether one is left; ``now`` is in monotonic seconds."""
        grown = self._left + max(now - self._until, 0.0) / self._every
        self._left, self._until = min(grown, self._size), now
        return self._left >= 1

    def take(self) -> None:
        """Take one that ``has_any`` told of."""
        self._left -= 1


class Allowed(Enum):
    """Whether an address may be declined."""

    YES = "yes"
    NOT_FOR_STRANGER = "no more for this MAC"
    NOT_ON_PARENT = "no more on this parent"


class _Stranger:
    def __init__(self) -> None:
        self.budget = Budget(OF_STRANGER, every=EVERY)
        self.addresses: list[IPv4Address] = []


class Strangers:
    """Who used addresses on one parent that a server gave us, and what was declined for it."""

    def __init__(self) -> None:
        self._budget = Budget(OF_PARENT, every=EVERY)
        self._strangers: dict[MacAddress, _Stranger] = {}  # the one heard last is last

    def __len__(self) -> int:
        return len(self._strangers)

    def heard(self, mac: MacAddress, address: IPv4Address) -> None:
        """``mac`` answered for ``address``."""
        stranger = self._strangers.pop(mac, None) or _Stranger()
        self._strangers[mac] = stranger
        if len(self._strangers) > _MOST_STRANGERS:
            del self._strangers[next(iter(self._strangers))]
        if address not in stranger.addresses:
            stranger.addresses = [*stranger.addresses, address][-_MOST_ADDRESSES:]

    def controls(
        self, mac: MacAddress, address: IPv4Address, subnet: IPv4Network
    ) -> list[IPv4Address]:
        """Other addresses that ``mac`` answers for if it does so for many.

        Those that it answered for before, and the nearest of every prefix that ``address`` is in: a
        router does proxy ARP for whole prefixes.
        """
        stranger = self._strangers.get(mac)
        before = stranger.addresses if stranger else []
        near = [IPv4Address(int(address) ^ 1 << bit) for bit in range(_CONTROL_BITS)]
        edges = (subnet.network_address, subnet.broadcast_address)
        inside = (each for each in near if each in subnet and each not in edges)
        return [each for each in dict.fromkeys((*before, *inside)) if each != address]

    def may_decline(self, mac: MacAddress, now: float) -> Allowed:
        """Whether to decline what ``mac`` uses; YES counts as done. ``now``: monotonic seconds."""
        if not self._budget.has_any(now):
            return Allowed.NOT_ON_PARENT
        stranger = self._strangers.setdefault(mac, _Stranger())
        if not stranger.budget.has_any(now):
            return Allowed.NOT_FOR_STRANGER
        self._budget.take()
        stranger.budget.take()
        return Allowed.YES
