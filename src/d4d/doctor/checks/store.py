"""Judges what leases are kept in."""

from collections.abc import Iterator

from d4d.doctor import catalogue
from d4d.doctor.collectors.database import DatabaseLook
from d4d.doctor.collectors.stores import DirectoryLook, RedisLook
from d4d.doctor.facts import HostFacts
from d4d.doctor.findings import Finding

_FULL, _NEARLY_FULL = 1 << 20, 64 << 20  # bytes
_OTHERS_WRITE = 0o022
_OWNER_MAY = 0o700
_MOST_SKEW = 2.0  # seconds between two hosts' clocks


def seen(facts: HostFacts) -> str:
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


def _judge_directory(facts: HostFacts, look: DirectoryLook) -> Iterator[Finding]:
    """What we may do is what the driver may, unless we are another user, and not root."""
    what, uid = f"state directory {look.path}", _drivers_uid(facts)
    is_known = look.our_uid == 0 or (facts.driver is not None and uid in (None, look.our_uid))
    if is_known and not look.is_writable:
        where = "" if look.exists else ", which is not there and can't be made,"
        yield catalogue.STATE_DIR_DENIED.found(f"{what}{where} can't be written")
    elif look.exists and uid and (uid != look.uid or look.mode & _OWNER_MAY != _OWNER_MAY):
        yield catalogue.STATE_DIR_DENIED.found(
            f"{what} is user {look.uid}'s, mode {look.mode:04o}, and D4D runs as user {uid}"
        )
    if look.exists and look.mode & _OTHERS_WRITE:
        yield catalogue.STATE_DIR_OPEN.found(f"{what} has mode {look.mode:04o}")
    if look.free < _FULL:
        yield catalogue.DISK_FULL.found(f"{look.free >> 10} KiB are free for {what}")
    elif look.free < _NEARLY_FULL:
        yield catalogue.DISK_NEARLY_FULL.found(f"{look.free >> 20} MiB are free for {what}")


def _judge_leases(look: DatabaseLook) -> Iterator[Finding]:
    """Nobody is told to give up leases unless both the check and the reading speak against them."""
    what = f"the lease store {look.path}"
    if look.error is not None:
        yield catalogue.STORE_UNREADABLE.found(f"{what}: {look.error}")
    elif look.is_empty:
        log = f", and {look.log_size} bytes are in the log beside it" if look.log_size else ""
        yield catalogue.STORE_EMPTY.found(f"{what} is empty{log}")
    elif look.is_damaged:
        yield catalogue.STORE_DAMAGED.found(
            f"{what}: its check says: {look.complaint}; its rows can't all be read: {look.unread}"
        )
    elif look.unread is not None:
        yield catalogue.STORE_UNREADABLE.found(
            f"{what}: its rows can't all be read ({look.unread}), and its check found nothing"
        )
    elif look.version > look.known_version:
        yield catalogue.STORE_TOO_NEW.found(
            f"{what} has version {look.version}, and this D4D knows versions up to "
            f"{look.known_version}"
        )
    elif look.complaint is not None:
        yield _complaint(what, look)
    if look.foreign is not None:
        yield catalogue.STORE_FOREIGN_ROW.found(
            f"{what} has a row that D4D can't use: {look.foreign}"
        )


def _judge_history(look: DatabaseLook) -> Iterator[Finding]:
    what = f"the history {look.path}"
    if look.is_damaged:
        yield catalogue.HISTORY_DAMAGED.found(
            f"{what}: its check says: {look.complaint}; its rows can't all be read: {look.unread}"
        )
    elif look.foreign is not None:
        yield catalogue.HISTORY_DAMAGED.found(
            f"{what} has a row that D4D can't use: {look.foreign}"
        )
    elif look.error is not None or look.unread is not None:
        yield catalogue.STORE_UNREADABLE.found(f"{what}: {look.error or look.unread}")
    elif look.complaint is not None:
        yield _complaint(what, look)


def _complaint(what: str, look: DatabaseLook) -> Finding:
    return catalogue.STORE_CHECK_COMPLAINS.found(
        f"{what}: SQLite's check says: {look.complaint}; yet all its {look.rows} rows could be read"
    )


def _judge_redis(look: RedisLook) -> Iterator[Finding]:
    if look.error is not None:
        yield catalogue.REDIS_UNREACHABLE.found(look.error)
        return
    for risk in look.risks:
        yield catalogue.REDIS_FORGETS.found(f"Redis at {look.where} may lose leases: {risk}")
    skew = look.ahead.total_seconds()
    if abs(skew) > _MOST_SKEW:
        side = "ahead of" if skew > 0 else "behind"
        yield catalogue.REDIS_CLOCK.found(
            f"the clock of Redis at {look.where} is {abs(skew):.1f} s {side} this host's"
        )
