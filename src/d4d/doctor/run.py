"""``d4d doctor``: collects the facts of this host, and runs every check on them."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta

from d4d.adapters.dhcp.server_probe import DEFAULT_TIMEOUT
from d4d.bootstrap import compose
from d4d.doctor import catalogue
from d4d.doctor.checks import clock, dhcp, docker, driver, interfaces, store
from d4d.doctor.checks.settings import WrittenSettings, read_settings
from d4d.doctor.collect import Collector, collect_facts
from d4d.doctor.facts import HostFacts
from d4d.doctor.findings import Finding, Severity
from d4d.domain.errors import D4DError


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One subject: how it is summed up, and what may be found."""

    name: str
    summary: Callable[[HostFacts], str]
    judge: Callable[[HostFacts], Iterable[Finding]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of a check."""

    name: str
    summary: str
    findings: Sequence[Finding]

    @property
    def severity(self) -> Severity:
        """The worst of its findings."""
        return max((each.severity for each in self.findings), default=Severity.OK)


CHECKS = tuple(
    Check(name=name, summary=module.summary, judge=module.judge)
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
    """The outcome of each check; one that fails is a finding of its own."""
    outcomes = []
    for check in checks:
        findings: list[Finding] = []
        summary = "not known"
        try:
            summary = check.summary(facts)
            findings += check.judge(facts)
        except Exception as error:  # a bug of ours: the other checks are of use all the same
            findings.append(catalogue.CHECK_FAILED.found(f"check {check.name} failed: {error!r}"))
        outcomes.append(Outcome(name=check.name, summary=summary, findings=findings))
    return outcomes


async def examine(wait: timedelta = DEFAULT_TIMEOUT) -> list[Outcome]:
    """Collect the facts of this host, and judge them. DHCP servers have ``wait`` to answer."""
    written = read_settings()
    if written.settings is None:
        return [_of_settings(written, "nothing else is looked at before they are right")]
    try:
        parts = compose(written.settings)
    except D4DError as error:
        wrong = catalogue.SETTING_INVALID.found(str(error))
        return [_of_settings(written, "nothing else is looked at before they are right", wrong)]
    collector = Collector()
    facts = await collect_facts(parts, collector, wait=wait, sources=written.sources)
    outcomes = [_of_settings(written, ", ".join(written.sources) or "from no file"), *judge(facts)]
    if collector.failures:
        outcomes.append(
            Outcome(name="doctor", summary="failed in part", findings=collector.failures)
        )
    return outcomes


def _of_settings(written: WrittenSettings, summary: str, *more: Finding) -> Outcome:
    return Outcome(name="settings", summary=summary, findings=[*written.findings, *more])
