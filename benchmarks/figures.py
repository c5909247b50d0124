"""What the benchmark finds: figures, and what they are to reach."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

TIMES = "\N{MULTIPLICATION SIGN}"


class Bound(Enum):
    """Which side of the limit is the good one."""

    AT_MOST = "≤"
    AT_LEAST = "≥"
    TOLD = ""
    """Neither: it is told, not judged."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One line of the table. ``reached`` does not depend on the machine; the texts may."""

    part: str
    """The name of the part that measured it."""
    what: str
    against: str
    """What ``reached`` is a ratio to, or a count of."""
    reached: float
    unit: str = TIMES
    bound: Bound = Bound.TOLD
    limit: float = math.nan
    detail: str = ""
    """What was measured on this machine, such as ``1.9 ms to 1.1 ms``."""

    @property
    def is_good(self) -> bool | None:
        """Whether it is as wanted; None where nothing is wanted."""
        match self.bound:
            case Bound.AT_MOST:
                return self.reached <= self.limit
            case Bound.AT_LEAST:
                return self.reached >= self.limit
        return None

    @property
    def wanted(self) -> str:
        """The limit as people write it."""
        return f"{self.bound.value} {number(self.limit)}" if self.bound is not Bound.TOLD else ""


def number(value: float) -> str:
    """Three digits that count, without an exponent."""
    if not math.isfinite(value):
        return str(value)
    if value == 0:
        return "0"
    places = max(0, 2 - math.floor(math.log10(abs(value))))
    text = f"{value:.{places}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def milliseconds(seconds: float) -> str:
    """A short time as text."""
    return f"{number(seconds * 1000)} ms"


def median(values: Sequence[float]) -> float:
    """The middle one."""
    return statistics.median(values)


def percentile(values: Sequence[float], percent: float) -> float:
    """The value that ``percent`` of all are not above."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, math.ceil(len(ordered) * percent / 100) - 1)]
