"""Addresses of one pool in Redis, taken by one process and by several, against empty scripts."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator

from benchmarks.figures import Bound, Figure, number
from benchmarks.progress import Progress
from benchmarks.range_stores import Places, places
from benchmarks.sizes import Sizes

_SUBNET = "10.64.0.0/12"
_START = 0.2  # seconds for the processes to read when they begin
_LEAST = 0.5


def measure(sizes: Sizes, progress: Progress) -> Iterator[Figure]:
    """A figure for each number of processes."""
    with places() as where:
        for processes in sizes.processes:
            progress.step(f"{processes} processes take addresses of one pool in Redis")
            yield _of(processes, where, sizes)


def _of(processes: int, where: Places, sizes: Sizes) -> Figure:
    seconds, rounds = sizes.redis_seconds, sizes.redis_rounds
    words = (where.redis.url, f"d4d-{processes}:", _SUBNET, seconds, rounds)
    command = [sys.executable, "-m", "benchmarks.redis_taker", *map(str, words)]
    takers: list[subprocess.Popen[bytes]] = []  # at any time those that a signal finds
    try:
        for _ in range(processes):
            pipe = subprocess.PIPE
            takers.append(subprocess.Popen(command, stdin=pipe, stdout=pipe))
        for taker in takers:
            assert taker.stdout is not None
            assert taker.stdout.readline() == b"ready\n", "a process that takes addresses failed"
        begin = b"%f\n" % (time.monotonic() + _START)
        for taker in takers:  # all of them, before one is waited for
            assert taker.stdin is not None
            taker.stdin.write(begin)
            taker.stdin.flush()
        told = [json.loads(taker.communicate()[0]) for taker in takers]
    finally:
        for taker in takers:
            taker.kill()
    addresses = [address for each in told for address in each["addresses"]]
    assert len(set(addresses)) == len(addresses), "an address was given twice"
    bare, takes = (sum(each[what] for each in told) for what in ("bare", "takes"))
    rates = [number(count / seconds / rounds) for count in (takes, bare)]
    return Figure(
        part="range-redis",
        what=f"range on Redis, {processes} process{'es' * (processes > 1)}: addresses a second",
        against="EVALSHA of an empty script",
        reached=takes / bare,
        bound=Bound.AT_LEAST,
        limit=_LEAST,
        detail=f"{rates[0]}/s to {rates[1]}/s; {len(addresses)} addresses, none twice",
    )
