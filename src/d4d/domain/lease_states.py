"""The two axes of a lease: what Docker does with it, and what its server says of it.

They change independently. A lease that its server took back, and that Docker then releases, is
released and lost, and stays lost until a server grants it again. Each axis has one table; a change
that its table lacks is a bug of ours, and raises.
"""

from collections.abc import Mapping
from enum import StrEnum, auto
from typing import TypeVar


class Use(StrEnum):
    """What Docker does with the address."""

    IN_USE = "in_use"
    """A container has it, for all that we know."""
    RELEASED = "released"
    """Docker gave it back; the server has still to be told."""
    FREED = "freed"
    """The server was told. Kept so that the same container can ask for its address again."""


class UseChange(StrEnum):
    """What changes a lease's use."""

    GIVEN_BACK = auto()
    """Docker released it, or proof or an operator did in its place."""
    TAKEN_BACK = auto()
    """The container that had it asks again, before the server was told."""
    TOLD = auto()
    """The server was told, or has nothing to hear."""


class Standing(StrEnum):
    """What the server says of the lease."""

    GRANTED = "granted"
    """It is ours, by the server's last word."""
    DOUBTFUL = "doubtful"
    """It was ours. Something happened since that the server may have understood otherwise."""
    LOST = "lost"
    """The server took it back, or let it run out."""


class StandingChange(StrEnum):
    """What changes a lease's standing."""

    CONFIRMED = auto()
    """The server granted it: now, or once more."""
    DOUBTED = auto()
    """Its RELEASE may have been heard, or its server offered the address to another."""
    DENIED = auto()
    """The server refused it, or no server answered until it ran out."""


_Axis = TypeVar("_Axis", bound=StrEnum)
_Change = TypeVar("_Change", bound=StrEnum)

USES: Mapping[tuple[Use, UseChange], Use] = {
    (Use.IN_USE, UseChange.GIVEN_BACK): Use.RELEASED,
    (Use.RELEASED, UseChange.TAKEN_BACK): Use.IN_USE,
    (Use.RELEASED, UseChange.TOLD): Use.FREED,
}

STANDINGS: Mapping[tuple[Standing, StandingChange], Standing] = {
    (Standing.GRANTED, StandingChange.CONFIRMED): Standing.GRANTED,
    (Standing.GRANTED, StandingChange.DOUBTED): Standing.DOUBTFUL,
    (Standing.GRANTED, StandingChange.DENIED): Standing.LOST,
    (Standing.DOUBTFUL, StandingChange.CONFIRMED): Standing.GRANTED,
    (Standing.DOUBTFUL, StandingChange.DOUBTED): Standing.DOUBTFUL,
    (Standing.DOUBTFUL, StandingChange.DENIED): Standing.LOST,
    (Standing.LOST, StandingChange.CONFIRMED): Standing.GRANTED,
    (Standing.LOST, StandingChange.DOUBTED): Standing.LOST,
    (Standing.LOST, StandingChange.DENIED): Standing.LOST,
}


class RefusedTransitionError(AssertionError):
    """A change of a lease that its table lacks: a bug of ours, never somebody's input."""


def next_use(use: Use, change: UseChange) -> Use:
    """The use after ``change``. Raises RefusedTransitionError."""
    return _next(USES, use, change)


def next_standing(standing: Standing, change: StandingChange) -> Standing:
    """The standing after ``change``. Raises RefusedTransitionError."""
    return _next(STANDINGS, standing, change)


def _next(table: Mapping[tuple[_Axis, _Change], _Axis], now: _Axis, change: _Change) -> _Axis:
    after = table.get((now, change))
    if after is None:
        raise RefusedTransitionError(f"a lease that is {now} can't be {change}")
    return after
