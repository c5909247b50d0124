"""Who answers for an address on the wire, asked by ARP: before it is taken back from a dead host.

Another host's containers hear what our parent sends, also as its macvlan children. A container of
this host would not: but then the store has the address as ours. Any MAC that answers counts, the
container's own first of all.

Silence proves something only where the containers must be heard if they are there: on the parent
that the pool names, or that every pool of this host has, or on the interface that stands in the
subnet. A bridge that a pool does not name may be Docker's own, with a namesake on each host: nobody
of another host is behind it.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

from d4d.adapters.dhcp.conflict_detection import ArpMonitor, MakeWatch
from d4d.adapters.network.interfaces import Interfaces
from d4d.domain.addressing import Address, MacAddress
from d4d.domain.errors import LinkDown, NotAsked
from d4d.domain.pools import Pool

_NOBODY = MacAddress(bytes(6))
_WAIT = timedelta(milliseconds=500)
_TIMES = 2  # each of them asks twice: four lost frames in a second would be needed


class ArpNeighbours:
    """Asks on a pool's parent. A socket is open there while somebody asks."""

    def __init__(
        self,
        make_watch: MakeWatch,
        *,
        interfaces: Interfaces,
        parent: str | None,
        asks: bool,
        net: Path = Path("/sys/class/net"),
    ) -> None:
        """``parent`` is that of pools that name none; ``asks`` is False where ARP tells nothing."""
        self._make_watch = make_watch
        self._interfaces = interfaces
        self._parent = parent
        self._asks = asks
        self._net = net
        self._watches: dict[str, ArpMonitor] = {}
        self._users: dict[str, int] = {}

    async def who_has(self, pool: Pool, address: Address) -> MacAddress | None:
        """The MAC that answers; None after a second of silence. Raises NotAsked."""
        if not self._asks:
            raise NotAsked("ARP is not asked here (D4D_CONFLICT_PROBE=0)")
        if not isinstance(address, IPv4Address) or not isinstance(pool.subnet, IPv4Network):
            raise NotAsked(f"{address} is not IPv4, and only ARP is asked")
        parent = self._parent_of(pool, pool.subnet)
        try:
            async with self._watching(parent) as watch:
                for _ in range(_TIMES):
                    if mac := await watch.probe(address, chaddr=_NOBODY, wait=_WAIT):
                        return mac
        except LinkDown as error:
            raise NotAsked(str(error)) from error
        return None

    def _parent_of(self, pool: Pool, subnet: IPv4Network) -> str:
        if named := pool.options.parent or self._parent:
            return named
        found = self._interfaces.within(subnet)
        if found is None:
            raise NotAsked(
                f"the network of {subnet} names no parent, and no interface of this host has an "
                f"address in it"
            )
        if (self._net / found.name / "bridge").exists():
            raise NotAsked(
                f"the network of {subnet} names no parent, and {found.name}, which has an address "
                f"in it, is a bridge: other hosts' containers need not be behind it"
            )
        return found.name

    @asynccontextmanager
    async def _watching(self, parent: str) -> AsyncIterator[ArpMonitor]:
        if parent not in self._watches:
            self._watches[parent] = self._make_watch(parent, lambda _: None, lambda *_: None)
        self._users[parent] = self._users.get(parent, 0) + 1
        try:
            yield self._watches[parent]
        finally:
            self._users[parent] -= 1
            if not self._users[parent]:
                self._watches.pop(parent).close()
