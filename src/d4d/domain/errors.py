"""What can go wrong, one class for each thing that a caller handles differently."""

from collections.abc import Mapping
from typing import TypeVar

_T = TypeVar("_T")


def by_class(table: Mapping[type, _T], error: BaseException, default: _T) -> _T:
    """What ``table`` has for the class of ``error``, or else for the nearest that it comes of."""
    return next((table[each] for each in type(error).__mro__ if each in table), default)


class D4DError(Exception):
    """Something was asked that could not be done; the text is for the operator."""


class BadRequest(D4DError):
    """The request is malformed, or asks for what no pool could give."""


class UnknownPool(D4DError):
    """The pool id names no pool, and none can be rebuilt from it."""


class PoolOverlap(D4DError):
    """The subnet overlaps that of another pool on the same parent."""


class AddressInUse(D4DError):
    """The address is another container's, or reserved."""


class NoAddress(D4DError):
    """No address could be had: nobody answered, or what was offered can't be used."""


class LinkDown(D4DError):
    """The network interface can't send: it is absent, down, or lacks permission."""


class NotAsked(D4DError):
    """Nobody could be asked who uses an address: whether somebody does is not known."""


class StoreUnavailable(D4DError):
    """The lease store can't be read or written now."""


class StoreAway(StoreUnavailable):
    """The lease store is elsewhere, and is not reached now: it may come back by itself."""


class StoreTooNew(D4DError):
    """The lease store was written by a later D4D, in a schema that this one does not know."""


class Superseded(D4DError):
    """The stored lease has another owner or generation: the late writer changed nothing."""


class TookTooLong(D4DError):
    """What Docker asked was not done within the time that it may wait; it is given up."""


class DockerUnavailable(D4DError):
    """Docker's API does not answer, or refuses: what it has is unknown, which is not nothing."""
