"""What one look at Docker says of a lease: that a container has it, that none has, or nothing.

Absence needs more than a list without it: the network that the container would be on must have been
seen. Presence needs little: whoever has the MAC or the address, on whatever network, counts.
"""

from collections.abc import Collection, Iterable
from enum import Enum

from d4d.domain.addressing import Address
from d4d.domain.errors import BadRequest
from d4d.domain.leases import Lease
from d4d.domain.pools import Pool, PoolId, PoolOptions, PoolRecord
from d4d.domain.ports.docker import Attachment, DockerNetwork, NetworkSubnet


class Evidence(Enum):
    """What is known of an address's container."""

    HERE = "here"
    GONE = "gone"
    UNKNOWN = "unknown"


class Look:
    """One look at everything that Docker has."""

    def __init__(
        self,
        *,
        networks: Collection[DockerNetwork],
        attachments: Iterable[Attachment],
        pools: Collection[PoolRecord],
    ) -> None:
        """``attachments`` are of all networks; ``pools`` are those that leases may be of."""
        self.networks = tuple(networks)
        ends = [*attachments, *(end for network in networks for end in network.ends)]
        self._macs = {each.mac for each in ends}
        self._addresses = {each.address for each in ends}
        self._seen = _seen(networks, [record.pool for record in pools])
        self._possible = {
            record.pool.id
            for record in pools
            for network in networks
            if any(config.subnet == record.pool.subnet for config in network.subnets)
        }
        self._given_back = {record.pool.id for record in pools if not record.users}

    def of(self, lease: Lease) -> Evidence:
        """What is known of the container of ``lease``."""
        if lease.endpoint.mac in self._macs:
            return Evidence.HERE
        return self.of_address(lease.pool, lease.address)

    def of_address(self, pool: PoolId, address: Address) -> Evidence:
        """What is known of any container that has ``address`` of ``pool``."""
        if address in self._addresses:
            return Evidence.HERE
        return Evidence.GONE if self.shows(pool) else Evidence.UNKNOWN

    def may_show(self, pool: Pool) -> bool:
        """Whether a network was seen that may be of ``pool``, if not for sure."""
        return pool.id in self._possible

    def shows(self, pool: PoolId) -> bool:
        """Whether a network of ``pool`` was seen, or there is none, as Docker has released it."""
        return pool in self._seen or pool in self._given_back


def _seen(networks: Collection[DockerNetwork], pools: Collection[Pool]) -> set[PoolId]:
    """The pools that these networks take their addresses from.

    Docker does not say which pool a network has. Where its users did not name a parent for D4D, it
    was found by the host's routes, and need not be the network's: then a pool is a network's only
    if it can be no other's.
    """
    seen: set[PoolId] = set()
    unsure: list[list[PoolId]] = []
    for network in networks:
        try:
            options = PoolOptions.parse(network.options)
        except BadRequest:  # another driver's
            continue
        for subnet in network.subnets:
            alike = [pool for pool in pools if _fits(pool, subnet, options)]
            parent = options.parent or network.parent
            exact = {pool.id for pool in alike if pool.options.parent == parent}
            if exact or options.parent:
                seen |= exact
            else:
                unsure.append([pool.id for pool in alike])
    for candidates in unsure:
        left = [pool for pool in candidates if pool not in seen]
        if len(left) == 1:
            seen.update(left)
    return seen


def _fits(pool: Pool, subnet: NetworkSubnet, options: PoolOptions) -> bool:
    """Whether ``pool`` may be what was answered for this subnet, but for the parent."""
    return (
        pool.subnet == subnet.subnet
        and pool.range == subnet.range
        and options.allocator in (None, pool.options.allocator)
        and options.server in (None, pool.options.server)
        and options.mode in (None, pool.options.mode)
    )
