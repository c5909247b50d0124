"""How Redis is reached, and what its errors mean.

These URLs are understood, with user and password of an ACL before an ``@``, and redis-py's options
(``ssl_ca_certs=``, ``ssl_certfile=``, ...) behind a ``?``:

    redis://host:6379/0                          one server
    rediss://host:6379/0                         the same, over TLS
    unix:///run/redis/redis.sock?db=0            its unix socket
    redis+cluster://host:6379,host:6379          a cluster, by some of its nodes; rediss+cluster://
    redis+sentinel://host:26379,host:26379/master/0
                                                 whatever the sentinels call ``master`` now;
                                                 ?sentinel_username= and ?sentinel_password= are
                                                 for them, user and password for the master

Valkey answers to the same names. What was sent is not repeated in here: a script whose answer was
lost may have run. A connection that was closed while nobody used it is opened anew before anything
is sent.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol
from urllib.parse import parse_qs, unquote, urlsplit

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.cluster import ClusterNode, RedisCluster
from redis.asyncio.connection import (
    AbstractConnection,
    Connection,
    SSLConnection,
    UnixDomainSocketConnection,
    parse_url,
)
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel, SentinelManagedConnection, SentinelManagedSSLConnection
from redis.backoff import NoBackoff
from redis.exceptions import (
    AuthenticationError,
    AuthorizationError,
    BusyLoadingError,
    ClusterDownError,
    ConnectionError,  # noqa: A004 - redis-py's name for it
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisClusterException,
    RedisError,
    TimeoutError,  # noqa: A004 - redis-py's name for it
)

from d4d.domain.errors import BadRequest, StoreAway

TIMEOUT = 2.0  # seconds for an answer, and as many for a connection
CONNECTIONS = 32
_WAIT = 1.0  # seconds in which replicas acknowledge a write: below TIMEOUT

UNANSWERED = (ConnectionError, TimeoutError, OSError)
"""What redis-py raises where Redis says nothing: to try again takes as long as to give up."""


class TooFewReplicas(RedisError):
    """A write was done, and fewer replicas than it needs told that they have it."""


_SCHEMES = "redis://, rediss://, unix://, redis+cluster://, redis+sentinel://"
_CREDENTIALS = "see user and password in D4D_REDIS_URL, and the ACL of Redis"
_REMEDIES: tuple[tuple[type[Exception], str], ...] = (
    (BusyLoadingError, "it loads its data: D4D goes on by itself when that is done"),
    (AuthenticationError, _CREDENTIALS),
    (AuthorizationError, _CREDENTIALS),
    (NoPermissionError, "give the user of D4D_REDIS_URL what docs/operate/shared-store.md says"),
    (
        ReadOnlyError,
        "it is a replica: name the master, or let sentinels name it by redis+sentinel://",
    ),
    (OutOfMemoryError, "raise its maxmemory: what D4D keeps may not be evicted"),
    (ClusterDownError, "see its cluster's state: D4D goes on by itself when it is mended"),
    (
        TooFewReplicas,
        "see whether its replicas run and reach it, or lower D4D_REDIS_WAIT: a failover would "
        "forget the write, so it is taken back",
    ),
    (TimeoutError, f"it did not answer within {TIMEOUT:g} s: see its load, and the network"),
    (ConnectionError, "does it run, and does this host reach it?"),
    (OSError, "does it run, and does this host reach it?"),
)
_REMEDIES_BY_CODE = {
    "MISCONF": "it can't write to its disk: see its log",
    "NOREPLICAS": "too few of its replicas are there: see min-replicas-to-write",
    "MASTERDOWN": "it is a replica without a master: name the master, or its sentinels",
    "BUSY": "somebody else's script runs in it: end that",
    "OOM": "raise its maxmemory: what D4D keeps may not be evicted",
    "READONLY": "it is a replica: name the master, or let sentinels name it by redis+sentinel://",
}


class _Watched(AbstractConnection):
    """A connection that knows whether it was closed while nobody used it.

    asyncio's streams tell of that when they are used, each event loop in its own way: uvloop's by
    RuntimeError, where TCP's keepalive had given up. By then nobody knows what was sent.
    """

    @property
    def was_closed(self) -> bool:
        """Whether nothing can be sent any more."""
        reader, writer = self._reader, self._writer
        if reader is None or writer is None:
            return False
        return writer.is_closing() or reader.exception() is not None


class _Pooled(_Watched):
    """A connection of a pool, which asks before it hands one out, and opens it anew."""

    async def can_read(self) -> bool:
        """Whether it can't be used as it is."""
        return self.was_closed or await super().can_read()


class _OfNode(_Watched, Connection):
    """A connection to a cluster's node: nobody asks before it is used."""

    async def send_packed_command(
        self, command: bytes | str | Iterable[bytes], check_health: bool = True
    ) -> None:
        """Send; where the connection was closed, over a new one."""
        if self.was_closed or (self._reader is not None and self._reader.at_eof()):
            await self.disconnect(nowait=True)
        await super().send_packed_command(command, check_health)


class _OfNodeSSL(_OfNode, SSLConnection):
    pass


_POOLED: dict[type[AbstractConnection], type[AbstractConnection]] = {
    kind: type(f"Pooled{kind.__name__}", (_Pooled, kind), {})
    for kind in (
        Connection,
        SSLConnection,
        UnixDomainSocketConnection,
        SentinelManagedConnection,
        SentinelManagedSSLConnection,
    )
}
"""What each kind of redis-py's connections becomes in a pool."""


class RedisConnection(Protocol):
    """What is used of redis-py's clients."""

    async def execute_command(self, *args: Any) -> Any:
        """Send one command. Raises RedisError, OSError, or whatever breaks in redis-py."""

    def pipeline(self, transaction: bool) -> Any:
        """Commands that go over one connection, one behind the other."""

    async def aclose(self) -> None:
        """Close all connections."""


def connect(url: str) -> RedisConnection:
    """The client for ``url``; nothing is connected yet. Raises BadRequest."""
    scheme, _, rest = url.partition("://")
    try:
        match scheme:
            case "redis" | "rediss" | "unix":
                pool = BlockingConnectionPool(
                    max_connections=CONNECTIONS, timeout=TIMEOUT, **_options(url)
                )
                return _renewed(Redis.from_pool(pool))
            case "redis+cluster" | "rediss+cluster":
                return _cluster(scheme.removesuffix("+cluster"), rest)
            case "redis+sentinel" | "rediss+sentinel":
                return _sentinel(scheme.removesuffix("+sentinel"), rest)
    except (ValueError, TypeError, RedisClusterException) as error:
        raise BadRequest(f"D4D_REDIS_URL {redacted(url)} can't be used: {error}") from error
    raise BadRequest(f"D4D_REDIS_URL begins with {scheme + '://'!r}: known are {_SCHEMES}")


def is_cluster(url: str) -> bool:
    """Whether ``url`` names a cluster, whose nodes have replicas of their own."""
    return url.partition("://")[0].endswith("+cluster")


async def acknowledged(client: RedisConnection, replicas: int, *command: object) -> Any:
    """What a writing command answers, when so many replicas have it. Raises TooFewReplicas.

    WAIT is about what its own connection wrote, so both go over one.
    """
    async with client.pipeline(transaction=False) as pipeline:
        pipeline.execute_command(*command)
        pipeline.execute_command("WAIT", replicas, int(_WAIT * 1000))
        answers = await pipeline.execute(raise_on_error=False)  # else it changes their texts
    for each in answers:
        if isinstance(each, Exception):
            raise each
    answer, count = answers
    if count < replicas:
        raise TooFewReplicas(
            f"{count} of {replicas} replicas acknowledged the write within {_WAIT:g} s"
        )
    return answer


def redacted(url: str) -> str:
    """``url`` for texts: without password and options."""
    scheme, _, rest = url.partition("?")[0].partition("://")
    credentials, at, place = rest.rpartition("@")
    user = credentials.partition(":")[0]
    return f"{scheme}://{user}{at}{place}"


def risks(info: Mapping[str, Any]) -> list[str]:
    """What of Redis's settings may lose leases, as far as its INFO tells."""
    found = []
    if info.get("maxmemory") and info.get("maxmemory_policy") != "noeviction":
        found.append("it may evict leases: set maxmemory-policy noeviction")
    if not info.get("aof_enabled"):
        found.append("it forgets the last writes in a crash: set appendonly yes")
    return found


def unavailable(url: str, doing: str, error: BaseException) -> StoreAway:
    """What ``error`` means to the operator, when ``doing`` (such as "take an address") failed."""
    reason = str(error).partition(" script: ")[0] or type(error).__name__
    if not isinstance(error, (*UNANSWERED, RedisError, RedisClusterException)):
        reason = f"its client failed: {error!r}"
    remedy = _REMEDIES_BY_CODE.get(reason.partition(" ")[0].lstrip("-"))
    for kind, text in _REMEDIES:
        if remedy is None and isinstance(error, kind):
            remedy = text
    text = f"can't {doing} in Redis at {redacted(url)}: {reason}"
    return StoreAway(f"{text}: {remedy}" if remedy else text)


def _options(url: str) -> dict[str, Any]:
    """What redis-py reads from a URL of its own, and how we want all connections to be."""
    return {
        "socket_timeout": TIMEOUT,
        "socket_connect_timeout": TIMEOUT,
        **parse_url(url),
        "retry": Retry(NoBackoff(), 0),
        "retry_on_error": [],
        "decode_responses": True,
        "protocol": 2,  # Redis 6 to 8 and Valkey all speak it in the same way
    }


def _split(scheme: str, rest: str, port: int) -> tuple[list[tuple[str, int]], str, dict[str, Any]]:
    """The nodes of ``rest``, its path, and what goes for each connection."""
    place = urlsplit(f"{scheme}://{rest}")
    credentials, at, hosts = place.netloc.rpartition("@")
    options = _options(f"{scheme}://{credentials}{at}host/?{place.query}")
    options.pop("host")
    if options.pop("connection_class", None) is SSLConnection:
        options["ssl"] = True
    nodes = [urlsplit(f"//{host}") for host in hosts.split(",")]
    for node in nodes:
        if not node.hostname:
            raise ValueError("name at least one host, several with commas between them")
    return [(node.hostname or "", node.port or port) for node in nodes], place.path, options


def _cluster(scheme: str, rest: str) -> RedisConnection:
    nodes, _, options = _split(scheme, rest, 6379)
    for name in ("db", "retry_on_error"):
        options.pop(name, None)
    cluster = RedisCluster(
        startup_nodes=[ClusterNode(host, port) for host, port in nodes],
        max_connections=2 * CONNECTIONS,
        **options,
    )
    kinds = cluster.connection_kwargs  # of the nodes that it learns of, too
    kinds["connection_class"] = _OfNodeSSL if options.get("ssl") else _OfNode
    for node in cluster.startup_nodes:
        node.connection_class = kinds["connection_class"]
    client: RedisConnection = cluster
    return client


def _sentinel(scheme: str, rest: str) -> RedisConnection:
    query = parse_qs(urlsplit(f"//{rest}").query)
    nodes, path, options = _split(scheme, rest, 26379)
    name, _, database = path.strip("/").partition("/")
    if not name:
        raise ValueError(
            "name the master behind the sentinels: redis+sentinel://host:26379/mymaster"
        )
    for_sentinels = {
        each: options[each] for each in options if each not in ("username", "password", "db")
    }
    for each in ("username", "password"):
        options.pop(f"sentinel_{each}", None)
        for_sentinels.pop(f"sentinel_{each}", None)
        if f"sentinel_{each}" in query:
            for_sentinels[each] = query[f"sentinel_{each}"][0]
    sentinel = Sentinel(nodes, sentinel_kwargs=for_sentinels)  # type: ignore[no-untyped-call]  # redis-py types it not
    master: Redis = sentinel.master_for(
        unquote(name),
        max_connections=2 * CONNECTIONS,
        db=int(database or 0),
        **options,
    )
    for client in (master, *sentinel.sentinels):
        _renewed(client)
    return _BehindSentinels(master, sentinel.sentinels)


def _renewed(client: Redis) -> Redis:
    """``client``, with connections that are opened anew where they were closed."""
    pool = client.connection_pool
    pool.connection_class = _POOLED[pool.connection_class]
    return client


class _BehindSentinels:
    """The client of a master, which redis-py closes without those that ask for the master."""

    def __init__(self, master: RedisConnection, sentinels: Sequence[RedisConnection]) -> None:
        self._master = master
        self._sentinels = sentinels

    async def execute_command(self, *args: Any) -> Any:
        return await self._master.execute_command(*args)

    def pipeline(self, transaction: bool) -> Any:
        return self._master.pipeline(transaction)

    async def aclose(self) -> None:
        for client in (self._master, *self._sentinels):
            await client.aclose()
