"""What can be wrong, by a stable code: how bad it is, and what mends it."""

from dataclasses import dataclass
from enum import IntEnum


class Severity(IntEnum):
    """How bad it is."""

    OK = 0
    WARNING = 1
    """It works, and may not for long, or not as meant."""
    ERROR = 2
    """Containers get no address, or lose what they have."""

    def __str__(self) -> str:
        return self.name.lower()


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that is wrong on this host now."""

    code: str
    severity: Severity
    found: str
    remedy: str


@dataclass(frozen=True, slots=True)
class FindingType:
    """A kind of finding."""

    code: str
    severity: Severity
    remedy: str
    """With names in braces for what varies."""

    def found(self, text: str, **fields: object) -> Finding:
        """A finding of this kind; ``fields`` are what the remedy names."""
        remedy = self.remedy.format(**fields)
        return Finding(code=self.code, severity=self.severity, found=text, remedy=remedy)
