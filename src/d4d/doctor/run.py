"""``d4d doctor``: every check, on what was seen."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta

from d4d.adapters.dhcp.server_probe import DEFAULT_TIMEOUT
from d4d.bootstrap import compose
from d4d.doctor import catalogue
from d4d.doctor.checks import clock, dhcp, docker, driver, interfaces, store
from d4d.doctor.checks.settings import Written, read_settings
from d4d.doctor.collect import Looks, look
from d4d.doctor.facts import HostFacts
from d4d.doctor.findings import Finding, Severity
from d4d.domain.errors import D4DError


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One subject: what is told of it, and what may be found."""

    name: str
    seen: Callable[[HostFacts], str]
    judge: Callable[[HostFacts], Iterable[Finding]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of a check."""

    name: str
    seen: str
    findings: Sequence[Finding]

    @property
    def severity(self) -> Severity:
        """The worst of its findings."""
        return max((each.severity for each in self.findings), default=Severity.OK)


CHECKS = tuple(
    Check(name=name, seen=module.seen, judge=module.judge)
    for name, module in (
        ("parents", interfaces),
        ("driver", driver),
        ("docker", docker),
        ("store", store),
        ("dhcp", dhcp),
        ("clock", clock),
    )
)


def judge(facts: HostFacts, checks: Sequence[Check] = CHECKS) -> list[Outcome]:
    """The outcome of each check; that one fails is a finding of its own."""
    outcomes = []
    for check in checks:
        findings: list[Finding] = []
        seen = "not known"
        try:
            seen = check.seen(facts)
            findings += check.judge(facts)
        except Exception as error:  # a bug of ours: the other checks are of use all the same
            findings.append(catalogue.CHECK_FAILED.found(f"check {check.name} failed: {error!r}"))
        outcomes.append(Outcome(name=check.name, seen=seen, findings=findings))
    return outcomes


async def examine(patience: timedelta = DEFAULT_TIMEOUT) -> list[Outcome]:
    """Look at this host, and judge."""
    written = read_settings()
    if written.settings is None:
        return [_of_settings(written, "nothing else is looked at before they are right")]
    try:
        container = compose(written.settings)
    except D4DError as error:
        wrong = catalogue.SETTING_INVALID.found(str(error))
        return [_of_settings(written, "nothing else is looked at before they are right", wrong)]
    looks = Looks()
    facts = await look(container, looks, patience=patience, sources=written.sources)
    outcomes = [_of_settings(written, ", ".join(written.sources) or "from no file"), *judge(facts)]
    if looks.failures:
        outcomes.append(Outcome(name="doctor", seen="failed in part", findings=looks.failures))
    return outcomes


def _of_settings(written: Written, seen: str, *more: Finding) -> Outcome:
    return Outcome(name="settings", seen=seen, findings=[*written.findings, *more])
