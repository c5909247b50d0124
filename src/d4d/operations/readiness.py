"""Whether the driver can do its work now, and why not."""

import os
from collections.abc import Sequence
from dataclasses import dataclass

from d4d.adapters.observability.log_stream import lost
from d4d.operations.view import OperatorView
from d4d.service_layer.concurrency.supervised_task import failing


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One thing that must be so."""

    name: str
    ok: bool
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """Everything that was checked."""

    checks: Sequence[Check]

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return all(check.ok for check in self.checks)


def alive() -> Health:
    """The process answers, so it lives."""
    check = Check(name="process", ok=True, detail=f"pid {os.getpid()}")
    return Health(checks=[check])


def starting() -> Health:
    """There is no driver yet, or no more."""
    check = Check(name="driver", ok=False, detail="starting, or stopping")
    return Health(checks=[check])


def readiness(view: OperatorView) -> Health:
    """Whether leases can be had, kept and stored."""
    checks = [
        _store(view),
        _parents(view),
        _links(view),
        _servers(view),
        _renewals(view),
        _tasks(),
    ]
    return Health(checks=checks)


def _store(view: OperatorView) -> Check:
    writes = view.ipam.leasing.ledger.writes
    trouble = view.ipam.heartbeat.trouble or view.store.trouble
    if writes.is_held_up and not trouble:
        trouble = f"{len(writes)} leases and pools wait to be stored"
    return Check(name="store", ok=not trouble, detail=trouble or "takes what is written")


def _parents(view: OperatorView) -> Check:
    there = {each.name: each.is_up for each in view.interfaces.all()}
    wanted = {
        record.pool.options.parent
        for record in view.ipam.pools
        if record.pool.options.parent is not None
    }
    absent = [name for name in sorted(wanted) if name not in there]
    down = [name for name in sorted(wanted) if there.get(name) is False]
    wrong = [f"{name} is not there" for name in absent] + [f"{name} is down" for name in down]
    fine = f"up: {', '.join(sorted(wanted))}" if wanted else "no network needs one"
    return Check(name="parents", ok=not wrong, detail="; ".join(wrong) or fine)


def _links(view: OperatorView) -> Check:
    silent = [f"{name}: {said}" for name, said in sorted(view.silences().items())]
    return Check(name="links", ok=not silent, detail="; ".join(silent) or "hear what comes in")


def _servers(view: OperatorView) -> Check:
    answered = max(
        (each.bound_at for each in view.ipam.leasing.leases if each.bound_at), default=None
    )
    silence = max(
        (each.silence for each in view.allocators.values() if each.silence),
        key=lambda silence: silence.at,
        default=None,
    )
    if silence is not None and (answered is None or answered < silence.at):
        detail = f"{silence.reason} (at {silence.at:%Y-%m-%dT%H:%M:%SZ})"
        return Check(name="servers", ok=False, detail=detail)
    detail = f"last answer at {answered:%Y-%m-%dT%H:%M:%SZ}" if answered else "not asked yet"
    return Check(name="servers", ok=True, detail=detail)


def _tasks() -> Check:
    """What runs next to Docker's calls, and the log."""
    wrong = [
        f"{each.name} failed {each.times} times since {each.since:%Y-%m-%dT%H:%M:%SZ}: "
        f"{each.error!r}"
        for each in failing()
    ]
    unwritten = lost()
    said = f"; {unwritten} log lines could not be written" if unwritten else ""
    return Check(name="tasks", ok=not wrong, detail=("; ".join(wrong) or "all go on") + said)


def _renewals(view: OperatorView) -> Check:
    late = view.overdue()
    if not late:
        return Check(name="renewals", ok=True, detail="on time")
    named = ", ".join(str(lease.address) for lease in late[:5])
    more = f" and {len(late) - 5} more" if len(late) > 5 else ""  # noqa: PLR2004 - as many as are named
    return Check(name="renewals", ok=False, detail=f"{len(late)} late: {named}{more}")
