"""The least driver of D4D's own parts: uvicorn, a packet socket, and SQLite in a thread.

It checks, remembers and tells nothing. So what it takes is what the parts cost, and what D4D takes
more is D4D's. Run as ``python -m benchmarks.minimal_driver SOCKET DATABASE`` on the machine that
asks.
"""

import asyncio
import json
import socket
import sqlite3
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import uvicorn

from benchmarks import dhcp_frames
from benchmarks.baseline_exchange import RECORD
from benchmarks.plugin_load import MAC, Plugin
from lab.network import Namespace


class Least:
    """An ASGI app that answers RequestAddress, whatever the pool."""

    def __init__(self, database: str) -> None:
        self._database = database
        self._connection: sqlite3.Connection | None = None
        self._worker = ThreadPoolExecutor(1)
        self._awaited: dict[bytes | None, asyncio.Future[bytes]] = {}
        self._socket: socket.socket | None = None

    async def __call__(self, _scope: Any, receive: Any, send: Any) -> None:
        """See ASGI."""
        asked = json.loads((await receive())["body"])
        mac = bytes.fromhex(asked["Options"][MAC].replace(":", ""))
        address = str(IPv4Address(await self._lease(mac)))
        body = json.dumps({"Address": f"{address}/16", "Data": {}}).encode()
        headers = [(b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _lease(self, mac: bytes) -> bytes:
        sock = self._opened()
        source = sock.getsockname()[4]
        offer = await self._ask(mac, dhcp_frames.discover(mac, source))
        address = dhcp_frames.offered(offer)
        loop = asyncio.get_running_loop()
        acknowledged = self._ask(mac, dhcp_frames.request(mac, source, offer))
        stored = loop.run_in_executor(self._worker, self._store, str(IPv4Address(address)))
        assert dhcp_frames.kind(await acknowledged) == dhcp_frames.ACK
        await stored
        return address

    def _ask(self, mac: bytes, frame: bytes) -> "asyncio.Future[bytes]":
        answer = asyncio.get_running_loop().create_future()
        self._awaited[dhcp_frames.xid_of(mac)] = answer
        self._opened().send(frame)
        return answer

    def _opened(self) -> socket.socket:
        if self._socket is None:
            self._socket = dhcp_frames.packet_socket()
            self._socket.setblocking(False)
            asyncio.get_running_loop().add_reader(self._socket, self._read, self._socket)
        return self._socket

    def _read(self, sock: socket.socket) -> None:
        frame = sock.recv(2048)
        answer = self._awaited.pop(dhcp_frames.xid(frame), None)
        if answer is not None:
            answer.set_result(frame)

    def _store(self, address: str) -> None:
        if self._connection is None:
            self._connection = sqlite3.connect(self._database, isolation_level=None)
            for statement in (
                "PRAGMA page_size = 2048",
                "PRAGMA journal_mode = WAL",
                "PRAGMA synchronous = FULL",
                "CREATE TABLE leases (address TEXT PRIMARY KEY, lease BLOB) WITHOUT ROWID",
            ):
                self._connection.execute(statement)
        self._connection.execute("BEGIN IMMEDIATE")
        self._connection.execute("REPLACE INTO leases VALUES (?, ?)", (address, RECORD))
        self._connection.execute("COMMIT")


@contextmanager
def least_driver(machine: Namespace) -> Iterator[Plugin]:
    """It serves on a machine, beside its driver, while the block runs."""
    path = machine.directory / "least.sock"
    words: list[str | Path] = [
        sys.executable,
        "-m",
        "benchmarks.minimal_driver",
        path,
        machine.directory / "least.db",
    ]
    daemon = machine.daemon("least", words)
    plugin = Plugin(path)
    try:
        daemon.start(ready=lambda _log: path.exists())
        yield plugin
    finally:
        plugin.close()
        daemon.kill()


def main(path: Path, database: str) -> None:
    """Serve, as ``d4d server`` does."""
    uvicorn.run(
        Least(database),
        uds=str(path),
        http="httptools",
        ws="none",
        lifespan="off",
        log_level="warning",
        access_log=False,
        server_header=False,
        date_header=False,
        timeout_keep_alive=86400,
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
