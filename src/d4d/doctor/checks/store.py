"""Judges what leases are kept in."""

from collections.abc import Iterator

from d4d.doctor import catalogue
from d4d.doctor.collectors.database import DatabaseFacts
from d4d.doctor.collectors.stores import DirectoryFacts, RedisFacts
from d4d.doctor.facts import HostFacts
from d4d.doctor.findings import Finding

_FULL, _NEARLY_FULL = 1 << 20, 64 << 20  # bytes
_OTHERS_WRITE = 0o022
_OWNER_MAY = 0o700
_MOST_SKEW = 2.0  # seconds between two hosts' clocks


def summary(facts: HostFacts) -> str:
    """Which store it is."""
    match facts.settings.store:
        case "sqlite":
            return str(facts.settings.state_dir / "leases.db")
        case "redis" if facts.redis:
            return f"Redis at {facts.redis.where}"
        case other:
            return other


def judge(facts: HostFacts) -> Iterator[Finding]:
    """What endangers leases."""
    if facts.directory is not None:
        yield from _judge_directory(facts, facts.directory)
    if facts.database is not None:
        yield from _judge_leases(facts.database)
    if facts.history is not None:
        yield from _judge_history(facts.history)
    if facts.redis is not None:
        yield from _judge_redis(facts.redis)
    if facts.settings.store == "memory" and _hands_out_ranges(facts):
        yield catalogue.STORE_FORGETS.found(
            "D4D_STORE=memory, and addresses come from the range allocator"
        )


def _drivers_uid(facts: HostFacts) -> int | None:
    privileges = facts.driver.privileges if facts.driver and facts.driver.process else None
    return privileges.uid if privileges else None


def _hands_out_ranges(facts: HostFacts) -> bool:
    named = [network.options.get("allocator") for network in facts.networks]
    return "range" in (facts.settings.allocator, *named)


def _judge_directory(facts: HostFacts, directory: DirectoryFacts) -> Iterator[Finding]:
    """What we may do is what the driver may, unless we are another user, and not root."""
    subject, ours, uid = f"state directory {directory.path}", directory.our_uid, _drivers_uid(facts)
    is_known = ours == 0 or (facts.driver is not None and uid in (None, ours))
    is_another_users = uid != directory.uid or directory.mode & _OWNER_MAY != _OWNER_MAY
    if is_known and not directory.is_writable:
        where = "" if directory.exists else ", which is not there and can't be made,"
        yield catalogue.STATE_DIR_DENIED.found(f"{subject}{where} can't be written")
    elif directory.exists and uid and is_another_users:
        yield catalogue.STATE_DIR_DENIED.found(
            f"{subject} is user {directory.uid}'s, mode {directory.mode:04o}, and D4D runs as "
            f"user {uid}"
        )
    if directory.exists and directory.mode & _OTHERS_WRITE:
        yield catalogue.STATE_DIR_OPEN.found(f"{subject} has mode {directory.mode:04o}")
    if directory.free < _FULL:
        yield catalogue.DISK_FULL.found(f"{directory.free >> 10} KiB are free for {subject}")
    elif directory.free < _NEARLY_FULL:
        yield catalogue.DISK_NEARLY_FULL.found(f"{directory.free >> 20} MiB are free for {subject}")


def _judge_leases(database: DatabaseFacts) -> Iterator[Finding]:
    """Nobody is told to give up leases unless both the check and the reading speak against them."""
    subject = f"the lease store {database.path}"
    if database.error is not None:
        yield catalogue.STORE_UNREADABLE.found(f"{subject}: {database.error}")
    elif database.is_empty:
        log = f", and {database.log_size} bytes are in the log beside it"
        yield catalogue.STORE_EMPTY.found(f"{subject} is empty{log if database.log_size else ''}")
    elif database.is_damaged:
        yield catalogue.STORE_DAMAGED.found(_damage(subject, database))
    elif database.unread is not None:
        yield catalogue.STORE_UNREADABLE.found(
            f"{subject}: its rows can't all be read ({database.unread}), and its check found "
            f"nothing"
        )
    elif database.version > database.known_version:
        yield catalogue.STORE_TOO_NEW.found(
            f"{subject} has version {database.version}, and this D4D knows versions up to "
            f"{database.known_version}"
        )
    elif database.complaint is not None:
        yield _complaint(subject, database)
    if database.foreign is not None:
        yield catalogue.STORE_FOREIGN_ROW.found(_foreign_row(subject, database))


def _judge_history(database: DatabaseFacts) -> Iterator[Finding]:
    subject = f"the history {database.path}"
    if database.is_damaged:
        yield catalogue.HISTORY_DAMAGED.found(_damage(subject, database))
    elif database.foreign is not None:
        yield catalogue.HISTORY_DAMAGED.found(_foreign_row(subject, database))
    elif database.error is not None or database.unread is not None:
        yield catalogue.STORE_UNREADABLE.found(f"{subject}: {database.error or database.unread}")
    elif database.complaint is not None:
        yield _complaint(subject, database)


def _damage(subject: str, database: DatabaseFacts) -> str:
    return (
        f"{subject}: its check says: {database.complaint}; its rows can't all be read: "
        f"{database.unread}"
    )


def _foreign_row(subject: str, database: DatabaseFacts) -> str:
    return f"{subject} has a row that D4D can't use: {database.foreign}"


def _complaint(subject: str, database: DatabaseFacts) -> Finding:
    return catalogue.STORE_CHECK_COMPLAINS.found(
        f"{subject}: SQLite's check says: {database.complaint}; yet all its {database.rows} rows "
        f"could be read"
    )


def _judge_redis(redis: RedisFacts) -> Iterator[Finding]:
    if redis.error is not None:
        yield catalogue.REDIS_UNREACHABLE.found(redis.error)
        return
    for risk in redis.risks:
        yield catalogue.REDIS_FORGETS.found(f"Redis at {redis.where} may lose leases: {risk}")
    skew = redis.ahead.total_seconds()
    if abs(skew) > _MOST_SKEW:
        side = "ahead of" if skew > 0 else "behind"
        yield catalogue.REDIS_CLOCK.found(
            f"the clock of Redis at {redis.where} is {abs(skew):.1f} s {side} this host's"
        )
