"""Where addresses must be unique, and which of them a pool may hand out."""

from functools import lru_cache
from typing import NamedTuple
from urllib.parse import parse_qsl, urlencode

from d4d.domain.addressing import Address
from d4d.domain.errors import BadRequest
from d4d.domain.pools import Pool, PoolId


class Window(NamedTuple):
    """The addresses from ``first`` to ``last``, both included."""

    first: Address
    last: Address

    def __contains__(self, address: object) -> bool:
        return isinstance(address, type(self.first)) and int(self.first) <= int(address) <= self.end

    @property
    def end(self) -> int:
        """The last address as a number."""
        return int(self.last)

    @property
    def size(self) -> int:
        """How many addresses there are."""
        return self.end - int(self.first) + 1


@lru_cache(maxsize=4096)
def segment_of(pool: PoolId) -> str:
    """Where the addresses of ``pool`` must be unique: its subnet, on its parent if it names one.

    Pools that differ by range, gateway or allocator share a segment.
    """
    subnet, _, query = pool.partition("?")
    parent = dict(parse_qsl(query)).get("parent")
    return f"{subnet}?{urlencode({'parent': parent})}" if parent else subnet


@lru_cache(maxsize=4096)
def window_of(pool: Pool) -> Window:
    """What containers of ``pool`` may get: its range without the subnet's edges.

    Raises BadRequest where nothing is left.
    """
    network = pool.assignable
    kind = type(network.network_address)
    first, last = int(network.network_address), int(network.broadcast_address)
    if pool.is_edge(kind(first)):
        first += 1
    if pool.is_edge(kind(last)):
        last -= 1
    if first > last:
        raise BadRequest(
            f"{network} has only the network or broadcast address of {pool.subnet}, which no "
            f"host may have: choose another --ip-range"
        )
    return Window(kind(first), kind(last))
