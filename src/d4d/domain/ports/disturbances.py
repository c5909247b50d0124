"""What happens to the host and its engine under a driver that runs: what it decided may be old."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum
from typing import Protocol


class LinkChange(Enum):
    """What became of the interface of one name."""

    CAME = "came"
    """There was none of the name."""
    WENT = "went"
    """There is none of the name any more: it was deleted, renamed, or moved elsewhere."""
    RENAMED = "renamed"
    """It had another name before."""
    REPLACED = "replaced"
    """Another interface has the name now: one that was made anew, or that took the name."""
    UP = "up"
    DOWN = "down"
    """It was taken down, or lost its carrier."""
    MAC = "mac"
    ADDRESSES = "addresses"
    """An IP address of it came or went."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkChanged:
    """An interface of the host, by the name that networks name their parents by.

    All that happened within a moment is one, so that it may have gone down and come up.
    """

    name: str
    changes: frozenset[LinkChange]
    former_name: str | None = None
    """Where it was renamed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RoutesChanged:
    """Packets may take another way, or leave from another address; or it is unknown whether."""


class ClockJump(Enum):
    """Why the clocks don't agree any more."""

    SLEPT = "slept"
    """The host was suspended: timers stood still, and ring late."""
    SET = "set"
    """Somebody set the wall clock: NTP, an operator, or who restored a virtual machine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockJumped:
    """Time went on without the driver, or the host's idea of it changed."""

    cause: ClockJump
    by: timedelta
    """Negative is back, which only a clock that was set goes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineRestarted:
    """dockerd activated the plugin: it was started, or began to use it."""


Disturbance = LinkChanged | RoutesChanged | ClockJumped | EngineRestarted

Notify = Callable[[Disturbance], None]
"""Takes what happened; it neither waits nor raises."""


class DisturbanceSource(Protocol):
    """What notices one kind of disturbances."""

    name: str
    """For readiness and the log."""

    async def watch(self, notify: Notify) -> None:
        """Tell ``notify`` of each, until cancelled.

        Raises what ends it, OSError above all; begun again, it tells what changed meanwhile.
        """
