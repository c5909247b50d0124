"""What a Redis is asked, and what that costs it."""

from typing import Any

from redis import Redis

from lab.redis_servers import RedisServer

_OWN = {"cmdstat_info", "cmdstat_scan", "cmdstat_memory|usage", "cmdstat_hlen"}
_AT_ONCE = 1000


class Meter:
    """What Redis says of itself, as differences from one look to the next."""

    def __init__(self, server: RedisServer) -> None:
        self._client = Redis(unix_socket_path=str(server.socket), decode_responses=True)
        self._before = self._look()
        self._bytes_before = 0

    def since(self) -> dict[str, float]:
        """What has been since the last look, this one's own commands left out."""
        now = self._look()
        difference = {name: now[name] - self._before[name] for name in now}
        size = self._size()
        difference["memory"] = size - self._bytes_before
        self._bytes_before = size
        self._before = self._look()
        return difference

    def count(self, key: str) -> int:
        """How many fields the hash has."""
        count = int(self._client.hlen(key))
        self._before = self._look()
        return count

    def close(self) -> None:
        self._client.close()

    def _size(self) -> int:
        """How many bytes all keys take, by what Redis says of each."""
        total = 0
        names = list(self._client.scan_iter(count=_AT_ONCE))
        for start in range(0, len(names), _AT_ONCE):
            asked = self._client.pipeline(transaction=False)
            for name in names[start : start + _AT_ONCE]:
                asked.memory_usage(name, samples=0)
            total += sum(size or 0 for size in asked.execute())
        return total

    def _look(self) -> dict[str, float]:
        stats: dict[str, Any] = self._client.info("commandstats")
        calls = {name: each["calls"] for name, each in stats.items() if name not in _OWN}
        everything = self._client.info("everything")
        return {
            "commands": sum(calls.values()),
            # One that Redis did not know yet is sent again as EVAL.
            "scripts": calls.get("cmdstat_evalsha", 0),
            "script_seconds": stats.get("cmdstat_evalsha", {"usec": 0})["usec"] / 1e6,
            "round_trips": everything["total_reads_processed"],
            "process_memory": everything["used_memory"],
            "file": everything["aof_current_size"],
            "cpu_seconds": everything["used_cpu_user"] + everything["used_cpu_sys"],
            "received": everything["total_net_input_bytes"],
            "sent": everything["total_net_output_bytes"],
        }
