"""A Redis with a replica, and a Sentinel that promotes it when the master is gone."""

import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from types import TracebackType

from redis import Redis
from redis.exceptions import RedisError

from lab.redis_servers import RedisServer, free_port

_PATIENCE = 20.0  # seconds
_NAME = "mymaster"


class Guarded:
    """``first`` is the master, and ``second`` its replica, until they fail over."""

    def __init__(
        self,
        directory: Path,
        *,
        program: str = "redis-server",
        config: Sequence[str] = (),
        down_after: timedelta = timedelta(seconds=0.5),
    ) -> None:
        """``down_after`` is how long a silent master is waited for before it is replaced."""
        config = [*config, "repl-diskless-sync-delay 0"]  # a replica is served at once
        self.first = RedisServer(directory / "first", program=program, config=config)
        self.second = RedisServer(
            directory / "second",
            program=program,
            config=[*config, f"replicaof 127.0.0.1 {self.first.port}"],
        )
        watch = [
            f"sentinel monitor {_NAME} 127.0.0.1 {self.first.port} 1",
            f"sentinel down-after-milliseconds {_NAME} {down_after // timedelta(milliseconds=1)}",
            f"sentinel failover-timeout {_NAME} 3000",
        ]
        self.sentinel = RedisServer(
            directory / "sentinel", program=program, config=watch, sentinel=True
        )
        nodes = f"127.0.0.1:{free_port()},127.0.0.1:{self.sentinel.port}"  # the first is not there
        self.url = f"redis+sentinel://{nodes}/{_NAME}/0"

    def __enter__(self) -> "Guarded":
        try:
            self.first.start()
            self.second.start()
            self.await_replica(self.first)
            self.sentinel.start()
            _await(self._is_known, "the Sentinel knows of the replica")
        except BaseException:
            self._kill()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._kill()

    def fail_over(self) -> None:
        """The master dies, and its replica is promoted."""
        self.first.kill()
        _await(lambda: _replication(self.second)["role"] == "master", "the replica is promoted")

    def rejoin(self) -> None:
        """The old master comes back, as the replica of the new one."""
        self.first.start()
        assert self.first.command(f"REPLICAOF 127.0.0.1 {self.second.port}") == b"+OK"
        self.await_replica(self.second, lag=100_000)  # hosts go on writing

    def await_replica(self, master: RedisServer, *, lag: float = 0) -> None:
        """Its replica is there, and has all that was written but so many bytes."""
        _await(lambda: _lag(master) <= lag, "a replica has everything")

    def _is_known(self) -> bool:
        with Redis(port=self.sentinel.port, decode_responses=True) as client:
            replicas = client.sentinel_slaves(_NAME)
        return any(replica.get("master-link-status") == "ok" for replica in replicas)

    def _kill(self) -> None:
        for server in (self.sentinel, self.second, self.first):
            server.kill()


def _replication(server: RedisServer) -> dict[str, object]:
    with Redis(unix_socket_path=str(server.socket)) as client:
        found: dict[str, object] = client.info("replication")
        return found


def _lag(master: RedisServer) -> float:
    """How many bytes its replica has not got yet."""
    found = _replication(master)
    replica = found.get("slave0")
    if not isinstance(replica, dict) or replica.get("state") != "online":
        return float("inf")
    return int(str(found["master_repl_offset"])) - int(replica["offset"])


def _await(is_so: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            if is_so():
                return
        except RedisError:  # it is on its way up, or down
            pass
        assert time.monotonic() < deadline, f"not within {_PATIENCE:g} s: {what}"
        time.sleep(0.05)
