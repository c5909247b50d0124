"""One Redis, and the scripts that run in it.

It is connected at the first call, and again whenever it must be.
"""

import asyncio
from functools import partial
from hashlib import sha1
from importlib.resources import files
from typing import Any, NamedTuple, cast

from redis.exceptions import NoPermissionError, NoScriptError

from d4d.adapters.stores.redis.connection import (
    CONNECTIONS,
    UNANSWERED,
    RedisConnection,
    acknowledged,
    connect,
    is_cluster,
    redacted,
    risks,
    unavailable,
)
from d4d.domain.errors import BadRequest, D4DError, StoreTooNew, StoreUnavailable
from d4d.service_layer import log_messages as log
from d4d.service_layer.concurrency.shared_attempt import SharedAttempt

_SCHEMA = 1
_NAMES = (
    "add",
    "beat",
    "begin_drain",
    "claim_name",
    "count",
    "end_drain",
    "heard",
    "load",
    "remove",
    "reserve",
    "save_pool",
    "settle_name",
    "take",
    "unreserve",
    "update",
)
_AHEAD = {"take": ("take_next",)}  # what need not have all that is common
_UNACKNOWLEDGED = ("load", "count", "heard", "beat")  # they write nothing, or are repeated anyway


class _Script(NamedTuple):
    text: str
    digest: str

    @classmethod
    def named(cls, name: str) -> "_Script":
        lua = files("d4d.adapters.stores.redis") / "lua"
        parts = ["root", *_AHEAD.get(name, ()), "common", name]
        text = "".join((lua / f"{part}.lua").read_text() for part in parts)
        return cls(text, sha1(text.encode(), usedforsecurity=False).hexdigest())


class RedisScripts:
    """A client, checked before its first use, and what is evaluated there."""

    def __init__(self, url: str, *, prefix: str, wait: int = 0) -> None:
        """``wait`` replicas have each write before it counts. Raises BadRequest."""
        if "{" in prefix or "}" in prefix:
            raise BadRequest(f"D4D_REDIS_PREFIX {prefix!r} has braces, which Redis Cluster reads")
        if wait and is_cluster(url):
            raise BadRequest(
                f"D4D_REDIS_WAIT={wait} is for one server and for sentinels, and D4D_REDIS_URL "
                f"{redacted(url)} names a cluster: leave D4D_REDIS_WAIT out, or use sentinels"
            )
        self._url = url
        self._wait = wait
        self.prefix = prefix
        """What the names of all keys begin with."""
        self.client: RedisConnection = connect(url)
        self._scripts = {name: _Script.named(name) for name in _NAMES}
        self.slots = asyncio.Semaphore(CONNECTIONS)
        """For so many calls at once."""
        self._checking = SharedAttempt(
            self._check, pauses_after=UNANSWERED, name="connecting to Redis"
        )
        self.is_checked = False
        """Whether the client may be used as it is."""
        self._warned: set[str] = set()
        self._is_closed = False

    def __repr__(self) -> str:
        return f"{self.place} {self.prefix}{' closed' if self._is_closed else ''}"

    @property
    def place(self) -> str:
        """Where it is, for texts: without password."""
        return redacted(self._url)

    def root(self, subnet: str) -> str:
        """What the keys of ``subnet`` begin with."""
        return f"{self.prefix}{{{subnet}}}"

    async def evaluate(
        self, client: RedisConnection, name: str, key: str, *arguments: object
    ) -> Any:
        """What the script says of ``key``: the root of a subnet, or a key that stands alone."""
        script = self._scripts[name]
        execute = client.execute_command
        if self._wait and name not in _UNACKNOWLEDGED:
            execute = partial(acknowledged, client, self._wait)
        try:
            return await execute("EVALSHA", script.digest, 1, key, *arguments)
        except NoScriptError:  # it was restarted, or this is its first time
            return await execute("EVAL", script.text, 1, key, *arguments)

    async def aclose(self) -> None:
        """Close all connections."""
        self._is_closed = True
        self.is_checked = False
        await self.client.aclose()

    def use(self, doing: str, subject: object = "") -> "_Use":
        """The client, checked, for one call among ``CONNECTIONS``.

        An error says that this can't be done: ``doing``, and what it is done to.
        """
        return _Use(self, doing, subject)

    async def checked(self) -> RedisConnection:
        """The client, once it is checked. Raises as redis-py, StoreUnavailable, StoreTooNew."""
        if self._is_closed:
            raise StoreUnavailable(f"the lease store in Redis at {self} is closed: D4D is stopping")
        await self._checking.outcome()
        return self.client

    def translate(self, doing: str, error: BaseException, *, is_cancelled: bool) -> None:
        """Raises what ``error`` means, whatever it is that broke in redis-py.

        What is ours passes, and so does a cancellation, which ``is_cancelled`` tells from one that
        redis-py made up.
        """
        if isinstance(error, UnicodeEncodeError):
            raise BadRequest(f"{error.object!r} is no text that can be stored") from error
        is_its_own = isinstance(error, asyncio.CancelledError) and not is_cancelled
        if is_its_own or (isinstance(error, Exception) and not isinstance(error, D4DError)):
            self.is_checked = False
            raise unavailable(self._url, doing, error) from error
        if is_cancelled:
            error.add_note(f"Redis at {self.place} to {doing}: does it run and answer?")

    async def _check(self) -> None:
        """See that this is a Redis for us. Raises StoreTooNew."""
        key = self.prefix + "schema"
        await self.client.execute_command("SET", key, _SCHEMA, "NX")
        schema = await self.client.execute_command("GET", key)
        if int(schema) > _SCHEMA:
            raise StoreTooNew(
                f"what Redis at {self.place} holds under {self.prefix} has version "
                f"{schema}, and this D4D knows version {_SCHEMA}: run the later D4D that "
                f"wrote it, or choose another D4D_REDIS_PREFIX to start afresh"
            )
        await self._warn()
        self.is_checked = not self._is_closed  # by now

    async def _warn(self) -> None:
        """Say what of this Redis's settings may lose leases, as far as it tells."""
        try:
            info = await self.client.execute_command("INFO")
        except NoPermissionError:
            return
        for risk in risks(info):
            if risk not in self._warned:
                log.redis_may_lose_leases(redis=self.place, reason=risk)
                self._warned.add(risk)


class _Use:
    """One call of Redis.

    A caller that is cancelled hears of it here at last: redis-py sends by ``wait_for``, which in
    Python 3.11 answers as if nothing were, where all is sent by then.
    """

    __slots__ = ("_cancels", "_doing", "_redis", "_subject", "_task")

    def __init__(self, redis: RedisScripts, doing: str, subject: object) -> None:
        self._redis = redis
        self._doing = doing
        self._subject = subject

    async def __aenter__(self) -> RedisConnection:
        redis = self._redis
        self._task = cast("asyncio.Task[object]", asyncio.current_task())
        self._cancels = self._task.cancelling()
        try:
            if not redis.is_checked:
                await redis.checked()
            await redis.slots.acquire()
            if redis.is_checked:
                return redis.client
            try:  # it went away while others had their turns
                return await redis.checked()
            except BaseException:
                redis.slots.release()
                raise
        except BaseException as error:
            self._translate(error)
            raise

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: object
    ) -> None:
        self._redis.slots.release()
        if error is not None:
            self._translate(error)
        elif self._is_cancelled:
            raise asyncio.CancelledError

    @property
    def _is_cancelled(self) -> bool:
        return self._task.cancelling() > self._cancels

    def _translate(self, error: BaseException) -> None:
        doing = f"{self._doing} {self._subject}".rstrip()
        self._redis.translate(doing, error, is_cancelled=self._is_cancelled)
