"""What an operator's port may be sent by somebody who means harm, or whose program is broken.

Run as ``python -m lab.attacks KIND SOCKET``: it goes on until it is killed, and writes a dot
for each thing that it did.
"""

import asyncio
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from itertools import count, cycle
from pathlib import Path

from lab.processes import LabError

_HEAD = b"%s HTTP/1.1\r\nHost: d4d\r\n\r\n"
_numbers = count()
_PAUSE = 0.01  # seconds until somebody who was closed out comes again

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Attack = Callable[[Streams], Awaitable[None]]


def _get(target: str) -> bytes:
    return _HEAD % f"GET {target}".encode()


async def _answered(reader: asyncio.StreamReader) -> None:
    """Read an answer to its end, whatever it is; of one without length, the connection's."""
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    _, found, rest = head.partition(b"content-length: ")
    await (reader.readexactly(int(rest.split(maxsplit=1)[0])) if found else reader.read())


def _asking(*targets: str) -> Attack:
    """Again and again, as soon as it is answered; each time another N, which nobody remembers."""

    async def attack(streams: Streams) -> None:
        reader, writer = streams
        for target in cycle(targets):
            writer.write(_get(target.replace("N", str(next(_numbers)))))
            _did()
            await _answered(reader)

    return attack


def _sending(begin: bytes, more: bytes) -> Attack:
    """Without end, and without reading."""

    async def attack(streams: Streams) -> None:
        _, writer = streams
        writer.write(begin)
        while True:
            writer.write(more)
            await writer.drain()
            _did()

    return attack


def _holding(sent: bytes) -> Attack:
    """Send it, and no more; what comes back is read."""

    async def attack(streams: Streams) -> None:
        reader, writer = streams
        writer.write(sent)
        _did()
        while await reader.read(65_536):
            pass

    return attack


def _deaf(sent: bytes) -> Attack:
    """Send it, and read nothing of what comes back."""

    async def attack(streams: Streams) -> None:
        reader, writer = streams
        reader._transport.pause_reading()  # type: ignore[attr-defined]  # streams read ahead
        writer.write(sent)
        _did()
        await asyncio.sleep(3600)

    return attack


async def _coming_and_going(_: Streams) -> None:
    _did()


ATTACKS: Mapping[str, tuple[int, Attack]] = {
    "brackets": (2, _asking("/api/leases?name=N" + "[" * 16_000)),
    "patterns": (
        10,
        _asking("/api/leases?name=" + "*a" * 120 + "N", "/api/leases?name=N" + "[" * 240),
    ),
    "endless heads": (50, _sending(b"GET / HTTP/1.1\r\nX: ", b"a" * 65_536)),
    "many small headers": (20, _holding(b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 10_900 + b"\r\n")),
    "half-sent requests": (1200, _holding(b"GET / HTTP/1.1\r\n")),
    "followers": (1000, _holding(_get("/api/events"))),
    "deaf followers": (1000, _deaf(_get("/api/events"))),
    "whole histories": (10, _asking("/api/history?limit=10000")),
    "all leases": (100, _asking("/api/leases?all=true")),
    "deaf to all leases": (100, _deaf(_get("/api/leases") * 50)),
    "metrics": (100, _asking("/metrics", "/api/pools", "/readyz")),
    "pipelines": (100, _sending(b"", _get("/healthz") * 500)),
    "bodies without end": (
        50,
        _sending(
            b"POST /api/x HTTP/1.1\r\nHost: d4d\r\nTransfer-Encoding: chunked\r\n\r\n",
            b"10000\r\n" + b"a" * 65_536 + b"\r\n",
        ),
    ),
    "coming and going": (100, _coming_and_going),
}
"""How many do it at once, each on a connection of its own, and again when it is closed."""


def _did() -> None:
    with suppress(BlockingIOError):  # nobody reads more than the first
        os.write(sys.stdout.fileno(), b".")


async def _one(path: str, attack: Attack) -> None:
    while True:
        try:
            streams = await asyncio.open_unix_connection(path, limit=1 << 24)
        except OSError:
            await asyncio.sleep(_PAUSE)
            continue
        try:
            await attack(streams)
        except (OSError, asyncio.IncompleteReadError, ValueError):
            pass
        finally:
            streams[1].transport.abort()
        await asyncio.sleep(_PAUSE)


async def _attack(kind: str, path: str) -> None:
    amount, attack = ATTACKS[kind]
    await asyncio.gather(*(_one(path, attack) for _ in range(amount)))


@contextmanager
def attacked(kind: str, path: Path) -> Iterator[None]:
    """The socket is attacked from another process, and has been for a moment, in the block.

    It has the cores when nobody else wants them: how many there are is not what is looked at.
    """
    words = ["nice", "-n", "10", sys.executable, "-m", "lab.attacks", kind, str(path)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, bufsize=0) as attacking:
        try:
            assert attacking.stdout is not None
            if not attacking.stdout.read(1):
                raise LabError(f"{kind}: it ended before it had done anything")
            yield
            if attacking.poll() is not None:
                raise LabError(f"{kind}: it ended with {attacking.returncode}")
        finally:
            attacking.kill()


if __name__ == "__main__":
    os.set_blocking(sys.stdout.fileno(), False)
    asyncio.run(_attack(sys.argv[1], sys.argv[2]))
