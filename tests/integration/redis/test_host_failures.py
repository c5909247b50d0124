"""Eight hosts on one Redis and one pool that is nearly full, while hosts and Redis fail.

A checker reads the hosts' journals and Redis itself: no address was ever two hosts' at a time, what
a host was told is in the store, and nothing is left over when all have put in order what they find.
"""

import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from ipaddress import IPv4Address
from itertools import pairwise
from pathlib import Path

import pytest
from redis import Redis

from lab.redis_sentinel import Guarded
from lab.redis_servers import PROGRAMS, RedisServer

ROOT = Path(__file__).resolve().parents[3]
HOSTS = 8
SECONDS, MOST_SECONDS = 24.0, 60.0
MEANINGFUL = 300  # leases
SUBNET, POOL = "10.8.0.0/26", "10.8.0.0/26?gateway=10.8.0.1&allocator=range"
USABLE = 61


class Hosts:
    """The processes of all hosts."""

    def __init__(self, directory: Path, url: str, **environment: str) -> None:
        self._directory = directory
        self._url = url
        self._environment = {**os.environ, **environment}
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self.names = [f"host-{n}" for n in range(HOSTS)]

    def start(self, name: str, seed: str) -> None:
        state, journal = self._directory / name, self.journal(name)
        command = [sys.executable, "-m", "lab.engineless_range_host", name]
        self._processes[name] = subprocess.Popen(
            [*command, state, self._url, journal, seed], cwd=ROOT, env=self._environment
        )

    def kill(self, name: str) -> None:
        assert self._processes[name].poll() is None, f"{name} ended by itself"
        self._processes[name].kill()
        self._processes.pop(name).wait()

    def kill_all(self) -> None:
        for process in self._processes.values():
            process.kill()
            process.wait()
        self._processes.clear()

    def settle(self) -> None:
        for name in self.names:
            self.start(name, "settle")
        for name, process in self._processes.items():
            assert process.wait(MOST_SECONDS) == 0, name
        self._processes.clear()

    def journal(self, name: str) -> Path:
        return self._directory / f"{name}.journal"

    def leased(self) -> list[str]:
        """The addresses that they were told so far."""
        journals = [self.journal(name) for name in self.names]
        lines = [
            line.split()
            for journal in journals
            if journal.exists()
            for line in journal.read_text().splitlines()
        ]
        return [line[2] for line in lines if len(line) == 4 and line[0] == "+"]

    def is_enough(self) -> bool:
        """Whether they did so much that what is found means anything."""
        leased = self.leased()
        return len(leased) > MEANINGFUL and len({*leased}) == USABLE

    def lines(self, name: str) -> Iterator[list[str]]:
        for line in self.journal(name).read_text().splitlines():
            yield line.split(maxsplit=3)


@pytest.mark.parametrize("program", PROGRAMS)
def test_no_address_is_two_hosts_and_none_is_lost(program: str, tmp_path: Path) -> None:
    config = ("appendonly yes", "appendfsync always")
    server = RedisServer(tmp_path / "redis", program=program, config=config).start()
    hosts = Hosts(tmp_path, server.url)
    try:
        for name in hosts.names:
            hosts.start(name, name)
        trouble(hosts, server)
        check(hosts, server)
    finally:
        hosts.kill_all()
        server.kill()


@pytest.mark.parametrize("program", PROGRAMS)
def test_no_address_is_lost_in_a_failover_in_the_middle_of_the_load(
    program: str, tmp_path: Path
) -> None:
    with Guarded(tmp_path, program=program) as redis:
        hosts = Hosts(tmp_path, redis.url, D4D_REDIS_WAIT="1")
        try:
            for name in hosts.names:
                hosts.start(name, name)
            until(lambda: len(hosts.leased()) > MEANINGFUL / 3)
            redis.fail_over()
            redis.rejoin()
            before = len(hosts.leased())
            until(lambda: hosts.is_enough() and len(hosts.leased()) > before + MEANINGFUL / 2)
            check(hosts, redis.second)
        finally:
            hosts.kill_all()


def until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + MOST_SECONDS
    while not is_so():
        assert time.monotonic() < deadline, "too little was done to mean anything"
        time.sleep(0.2)


def check(hosts: Hosts, server: RedisServer) -> None:
    """The hosts crash, put in order what they find, and all of it is compared."""
    hosts.kill_all()
    hosts.settle()
    told = check_journals(hosts)
    check_store(server, told)


def trouble(hosts: Hosts, server: RedisServer) -> None:
    """A host crashes every half second, and Redis fails in each way in turn.

    On a busy machine it goes on until enough was done, but not for ever.
    """
    chance = random.Random(1)
    troubles: list[Callable[[], None]] = [
        lambda: cut(server),
        lambda: hang(server),
        lambda: refuse(server, "REPLICAOF 127.0.0.1 1", "REPLICAOF NO ONE"),
        lambda: refuse(server, "CONFIG SET maxmemory 1", "CONFIG SET maxmemory 0"),
        lambda: forget_scripts(server),
    ]
    began, turn = time.monotonic(), 0
    while (passed := time.monotonic() - began) < MOST_SECONDS:
        if passed > SECONDS and hosts.is_enough():
            break
        for _ in range(3):
            time.sleep(0.5)
            name = chance.choice(hosts.names)
            hosts.kill(name)
            hosts.start(name, f"{name} {turn}")
        troubles[turn % len(troubles)]()
        turn += 1
    assert turn > len(troubles)


def cut(server: RedisServer) -> None:
    server.kill()
    time.sleep(0.3)
    server.start()


def hang(server: RedisServer) -> None:
    server.pause()
    time.sleep(2.5)
    server.on()


def refuse(server: RedisServer, breaks: str, mends: str) -> None:
    assert server.command(breaks) == b"+OK"
    time.sleep(0.5)
    assert server.command(mends) == b"+OK"


def forget_scripts(server: RedisServer) -> None:
    assert server.command("SCRIPT FLUSH") == b"+OK"


def check_journals(hosts: Hosts) -> dict[str, set[str]]:
    """What each host was told and did not release. Whose an address was, and when, is compared."""
    held: dict[str, list[tuple[int, float, str]]] = {}
    told: dict[str, set[str]] = {}
    for name in hosts.names:
        since: dict[str, int] = {}
        for kind, *rest in hosts.lines(name):
            assert kind != "!", f"{name}: {' '.join(rest)}"
            instant, address = int(rest[0]), rest[1]
            if kind == "+":
                since[address] = instant
            else:
                held.setdefault(address, []).append((since.pop(address), instant, name))
        told[name] = set(since)
        for address, instant in since.items():
            held.setdefault(address, []).append((instant, float("inf"), name))
    assert sum(map(len, held.values())) > MEANINGFUL, "too little was done to mean anything"
    assert len(held) == USABLE, "the pool was never full"
    for address, spans in held.items():
        spans.sort()
        for (_, until, one), (following, _, other) in pairwise(spans):
            assert until <= following, f"{address} was {one}'s and {other}'s at the same time"
    return told


def check_store(server: RedisServer, told: dict[str, set[str]]) -> None:
    """Each key of the pool agrees with each other, and with what the hosts were told."""
    with Redis(unix_socket_path=str(server.socket), decode_responses=True) as client:
        root = f"d4d:{{{SUBNET}}}"
        stored = client.hgetall(f"{root}:leases:{POOL}")
        held = client.hgetall(f"{root}:held:")
        (rest,) = client.scan_iter(f"{root}:rest::*")
        resting = set(client.zrange(rest, 0, -1))
        indexed = {
            name: client.smembers(f"{root}:of:@{name}:{POOL}") & held.keys() for name in told
        }
    heads = {number: value.split("\n")[0].split() for number, value in stored.items()}
    live = {number: head for number, head in heads.items() if head[1] != "freed"}
    assert {number: head[0] for number, head in live.items()} == held
    assert not resting & held.keys()
    assert {text(number) for number in resting | held.keys()} >= {*map(text, heads)}
    for name, addresses in told.items():
        own = {number for number, head in live.items() if head[2] == f"@{name}"}
        assert {text(number) for number in own} == addresses, name
        assert own == indexed[name]


def text(number: str) -> str:
    return str(IPv4Address(bytes.fromhex(number)))
