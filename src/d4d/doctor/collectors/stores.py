"""The state directory and Redis, examined while a driver may be using them."""

import os
import shutil
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from d4d.adapters.stores.redis.connection import connect, redacted, risks, unavailable


@dataclass(frozen=True, slots=True, kw_only=True)
class DirectoryFacts:
    """The state directory; if there is none yet, the directory that it would be made in."""

    path: Path
    exists: bool
    is_writable: bool
    """By us."""
    our_uid: int = 0
    uid: int = 0
    """Whose it is."""
    mode: int = 0o700
    free: int = 1 << 40
    """Bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisFacts:
    """The Redis of D4D_REDIS_URL."""

    where: str
    """The URL without its secrets."""
    error: str | None = None
    risks: tuple[str, ...] = ()
    """What of its settings may lose leases."""
    ahead: timedelta = timedelta(0)
    """How far its clock is ahead of ours."""


def inspect_directory(path: Path) -> DirectoryFacts:
    """Raises OSError where not even its parent can be looked at."""
    there = path
    while not there.exists() and there != there.parent:
        there = there.parent
    status, usage = there.stat(), shutil.disk_usage(there)
    return DirectoryFacts(
        path=path,
        exists=there == path,
        is_writable=there.is_dir() and os.access(there, os.R_OK | os.W_OK | os.X_OK),
        our_uid=os.geteuid(),
        uid=status.st_uid,
        mode=status.st_mode & 0o7777,
        free=usage.free,
    )


async def inspect_redis(url: str, prefix: str) -> RedisFacts:
    """Writes a key that vanishes after a second, for only that shows whether leases can be kept.

    Raises BadRequest where the URL can't be used.
    """
    client, where = connect(url), redacted(url)
    try:
        await client.execute_command("SET", f"{prefix}doctor", "1", "EX", "1")
        info = await client.execute_command("INFO")
        seconds, microseconds = await client.execute_command("TIME")
    except Exception as error:  # whatever breaks in redis-py, it could not be used
        return RedisFacts(where=where, error=str(unavailable(url, "write", error)))
    finally:
        await client.aclose()
    theirs = datetime.fromtimestamp(int(seconds) + int(microseconds) / 1e6, UTC)
    ahead = theirs - datetime.fromtimestamp(time.time(), UTC)
    return RedisFacts(where=where, risks=tuple(risks(info)), ahead=ahead)
