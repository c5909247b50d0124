"""Who uses an address on the wire."""

from typing import Protocol

from d4d.domain.addressing import Address, MacAddress
from d4d.domain.pools import Pool


class Neighbours(Protocol):
    """Who answers for an address on the wire of its network."""

    async def who_has(self, pool: Pool, address: Address) -> MacAddress | None:
        """The MAC that answers, whosever it is; None where all was silent.

        Raises NotAsked where nobody could be asked from here.
        """
