"""One of several processes that take addresses of one pool in Redis.

Run as ``python -m benchmarks.redis_taker URL PREFIX SUBNET SECONDS ROUNDS``. It prints a line when
it is ready, and reads one: the instant to begin, of the machine's monotonic clock. From then on it
evaluates an empty script for so many seconds, then takes addresses for as long, in rounds. It
prints JSON: both counts, the addresses.
"""

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable

from benchmarks.range_stores import Ranged
from d4d.adapters.stores.redis.connection import connect
from d4d.adapters.stores.redis.store import RedisLeaseStore

_EMPTY = "return 1"


async def main(*, url: str, prefix: str, subnet: str, seconds: float, rounds: int) -> None:
    """See above."""
    client, ranged = connect(url), Ranged(RedisLeaseStore(url, prefix=prefix), subnet)
    digest = await client.execute_command("SCRIPT LOAD", _EMPTY)
    taken = [str((await ranged.take()).address)]  # connected, and its scripts are known

    async def evaluate() -> None:
        await client.execute_command("EVALSHA", digest, 1, prefix)

    async def take() -> None:
        taken.append(str((await ranged.take()).address))

    print("ready", flush=True)
    begin = float(await asyncio.to_thread(sys.stdin.readline))
    bare = takes = 0
    for number in range(rounds):
        at = begin + 2 * number * seconds
        bare += await _count(evaluate, at, at + seconds)
        takes += await _count(take, at + seconds, at + 2 * seconds)
    await client.aclose()
    await ranged.aclose()
    print(json.dumps({"bare": bare, "takes": takes, "addresses": taken}))


async def _count(call: Callable[[], Awaitable[None]], begin: float, end: float) -> int:
    await asyncio.sleep(begin - time.monotonic())
    calls = 0
    while time.monotonic() < end:
        await call()
        calls += 1
    return calls


if __name__ == "__main__":
    seconds, rounds = sys.argv[4:]
    asyncio.run(
        main(
            url=sys.argv[1],
            prefix=sys.argv[2],
            subnet=sys.argv[3],
            seconds=float(seconds),
            rounds=int(rounds),
        )
    )
