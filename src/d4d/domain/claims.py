"""How often Docker was answered with an address, and has not given it back since.

A release undoes the request that it belongs to. Docker releases what it was answered for a
container that it then could not start, such as a second one of the same MAC, while the first runs
on: that release is not the first one's. So answers are counted. An address that was answered again
before it was given back is doubtful from then on: no release of Docker's says for sure that no
container has it, and only a look at all that Docker has does.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from d4d.domain.addressing import Address
from d4d.domain.pools import Purpose, ReservedAddress


@dataclass(frozen=True, slots=True, kw_only=True)
class _Claim:
    count: int
    at: datetime | None = None
    """When Docker was last answered with it, in this process's life."""
    is_doubtful: bool = False


_ONE = _Claim(count=1)
"""Of a lease of which no more is known: it was answered once."""


class Claims:
    """Those of one pool, in memory. Only what is more than one answer for one lease is kept."""

    def __init__(self, stored: Iterable[ReservedAddress]) -> None:
        """``stored`` are those that ``stored`` gave."""
        self._claims = {
            each.address: _Claim(count=each.count, is_doubtful=True)
            for each in stored
            if each.purpose is Purpose.CLAIMED
        }

    @property
    def stored(self) -> tuple[ReservedAddress, ...]:
        """The doubtful ones, to be stored: what a restart must not make certain."""
        return tuple(
            ReservedAddress(address=address, purpose=Purpose.CLAIMED, count=claim.count)
            for address, claim in self._claims.items()
            if claim.is_doubtful
        )

    def answer(self, address: Address, at: datetime, *, live: bool) -> bool:
        """Docker is answered with ``address``, whose lease was ``live`` before or is new.

        True where that is to be stored.
        """
        standing = self._claims.get(address, _ONE if live else None)
        if standing is None:
            return False  # the usual case: a new lease is its own claim
        count = standing.count + 1
        is_doubtful = standing.is_doubtful or count > 1
        self._claims[address] = _Claim(count=count, at=at, is_doubtful=is_doubtful)
        return is_doubtful

    def revive(self, address: Address, at: datetime) -> None:
        """Docker is answered with what it had given back, and whose lease is older than that."""
        if address in self._claims:
            self.answer(address, at, live=False)
        else:
            self._claims[address] = _Claim(count=1, at=at)

    def doubt(self, address: Address) -> None:
        """What Docker has of ``address`` is not known for sure, though its lease may end."""
        claim = self._claims.get(address, _ONE)
        self._claims[address] = _Claim(count=claim.count, at=claim.at, is_doubtful=True)

    def release(self, address: Address) -> bool:
        """Docker gave back one answer; whether the lease ends by that."""
        claim = self._claims.get(address)
        if claim is None or not claim.is_doubtful:
            self._claims.pop(address, None)
            return True
        self._claims[address] = _Claim(count=max(claim.count - 1, 0), at=claim.at, is_doubtful=True)
        return False

    def forget(self, address: Address) -> bool:
        """Nobody has ``address``, for sure. True where that is to be stored."""
        claim = self._claims.pop(address, None)
        return claim is not None and claim.is_doubtful

    def is_doubtful(self, address: Address) -> bool:
        """Whether a release of Docker's does not end the lease."""
        claim = self._claims.get(address)
        return claim is not None and claim.is_doubtful

    def is_given_back(self, address: Address) -> bool:
        """Whether Docker gave back every answer, and the lease waits for the proof only."""
        claim = self._claims.get(address)
        return claim is not None and not claim.count

    def answered_at(self, address: Address) -> datetime | None:
        """When Docker was last answered with it, if that was not with a new lease."""
        claim = self._claims.get(address)
        return claim.at if claim is not None else None
