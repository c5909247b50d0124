"""Whether the driver can do its work now, and why not."""

import os
from importlib.metadata import version

from d4d.adapters.observability.log_stream import lost
from d4d.entrypoints.admin_api.schemas import CheckForm, HealthAnswer
from d4d.service_layer.concurrency.supervised_task import failing
from d4d.service_layer.operator_view import Operations


def alive() -> HealthAnswer:
    """The process answers, so it lives."""
    check = CheckForm(name="process", ok=True, detail=f"pid {os.getpid()}")
    return HealthAnswer(ok=True, version=version("d4d"), checks=[check])


def starting() -> HealthAnswer:
    """There is no driver yet, or no more."""
    check = CheckForm(name="driver", ok=False, detail="starting, or stopping")
    return HealthAnswer(ok=False, version=version("d4d"), checks=[check])


def readiness(operations: Operations) -> HealthAnswer:
    """Whether leases can be had, kept and stored."""
    checks = [
        _store(operations),
        _parents(operations),
        _links(operations),
        _servers(operations),
        _renewals(operations),
        _tasks(),
    ]
    return HealthAnswer(ok=all(check.ok for check in checks), version=version("d4d"), checks=checks)


def _store(operations: Operations) -> CheckForm:
    writes = operations.ipam.leasing.writes
    trouble = operations.ipam.presence.trouble or operations.store.trouble
    if writes.is_held_up and not trouble:
        trouble = f"{len(writes)} leases and pools wait to be stored"
    return CheckForm(name="store", ok=not trouble, detail=trouble or "takes what is written")


def _parents(operations: Operations) -> CheckForm:
    there = {each.name: each.is_up for each in operations.interfaces.all()}
    wanted = {
        record.pool.options.parent
        for record in operations.ipam.pools
        if record.pool.options.parent is not None
    }
    absent = [name for name in sorted(wanted) if name not in there]
    down = [name for name in sorted(wanted) if there.get(name) is False]
    wrong = [f"{name} is not there" for name in absent] + [f"{name} is down" for name in down]
    fine = f"up: {', '.join(sorted(wanted))}" if wanted else "no network needs one"
    return CheckForm(name="parents", ok=not wrong, detail="; ".join(wrong) or fine)


def _links(operations: Operations) -> CheckForm:
    silent = [f"{name}: {said}" for name, said in sorted(operations.silences().items())]
    return CheckForm(name="links", ok=not silent, detail="; ".join(silent) or "hear what comes in")


def _servers(operations: Operations) -> CheckForm:
    answered = max(
        (each.bound_at for each in operations.ipam.leasing.leases if each.bound_at), default=None
    )
    silence = max(
        (each.silence for each in operations.allocators.values() if each.silence),
        key=lambda silence: silence.at,
        default=None,
    )
    if silence is not None and (answered is None or answered < silence.at):
        detail = f"{silence.reason} (at {silence.at:%Y-%m-%dT%H:%M:%SZ})"
        return CheckForm(name="servers", ok=False, detail=detail)
    seen = f"last answer at {answered:%Y-%m-%dT%H:%M:%SZ}" if answered else "not asked yet"
    return CheckForm(name="servers", ok=True, detail=seen)


def _tasks() -> CheckForm:
    """What goes on beside Docker's calls, and the log."""
    wrong = [
        f"{each.name} failed {each.times} times since {each.since:%Y-%m-%dT%H:%M:%SZ}: "
        f"{each.error!r}"
        for each in failing()
    ]
    unwritten = lost()
    said = f"; {unwritten} log lines could not be written" if unwritten else ""
    return CheckForm(name="tasks", ok=not wrong, detail=("; ".join(wrong) or "all go on") + said)


def _renewals(operations: Operations) -> CheckForm:
    late = operations.overdue()
    if not late:
        return CheckForm(name="renewals", ok=True, detail="on time")
    named = ", ".join(str(lease.address) for lease in late[:5])
    more = f" and {len(late) - 5} more" if len(late) > 5 else ""  # noqa: PLR2004 - as many as are named
    return CheckForm(name="renewals", ok=False, detail=f"{len(late)} late: {named}{more}")
