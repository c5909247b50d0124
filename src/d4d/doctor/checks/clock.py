"""Judges the host's clock."""

from collections.abc import Iterator
from datetime import timedelta

from d4d.doctor import catalogue
from d4d.doctor.facts import HostFacts
from d4d.doctor.findings import Finding

_SLACK = timedelta(minutes=1)


def summary(facts: HostFacts) -> str:
    """Whether it follows a time source."""
    known = {True: "follows a time source", False: "runs free", None: "not known"}
    return known[facts.is_synchronised]


def judge(facts: HostFacts) -> Iterator[Finding]:
    """What about the clock endangers leases."""
    if facts.is_synchronised is False:
        yield catalogue.CLOCK_UNSYNCHRONISED.found("no time source keeps the kernel's clock")
    newest = facts.database.newest if facts.database else None
    if newest is not None and newest > facts.now + _SLACK:
        yield catalogue.CLOCK_BEHIND.found(
            f"it is {facts.now:%Y-%m-%dT%H:%M:%SZ} here, and a lease was confirmed at "
            f"{newest:%Y-%m-%dT%H:%M:%SZ}: the clock was set back"
        )
