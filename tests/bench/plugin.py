"""Many calls to the plugin's socket at once, with little work of our own: it shares the machine.

Byte for byte they are dockerd's (``tests/lab/plugin_calls.py``).
"""

import json
import os
import selectors
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

from tests.lab.plugin_calls import HEAD, call
from tests.lab.processes import LabError

_PATIENCE = 60.0  # seconds in which something must come back
_MAC = "com.docker.network.endpoint.macaddress"
_macs = count(int.from_bytes(os.urandom(3), "big") << 8)


def new_mac() -> bytes:
    """A MAC address that no container of this run had before."""
    return b"\x02" + (next(_macs) & 0xFFFFFFFFFF).to_bytes(5, "big")


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What one call came to."""

    seconds: float
    status: int
    body: Any

    @property
    def address(self) -> str:
        """The address, without prefix. Raises LabError where there is none."""
        if self.status != 200:
            raise LabError(f"the plugin answered {self.status}: {self.body}")
        return str(self.body["Address"]).partition("/")[0]


class Plugin:
    """A driver, as Docker calls it."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def pool(self, subnet: str, **options: str) -> str:
        """RequestPool; answers the pool's id. Raises LabError."""
        body = {"AddressSpace": "d4d-local", "Pool": subnet, "SubPool": "", "V6": False}
        reply = call(self._path, "IpamDriver.RequestPool", {**body, "Options": options or None})
        if reply.status != 200:
            raise LabError(f"no pool {subnet}: {reply.content}")
        return str(reply.content["PoolID"])

    def address(self, pool: str, mac: bytes | None = None) -> Answer:
        """RequestAddress, alone."""
        connection = _Connection(self._path, _request_address(pool, mac or new_mac()))
        while connection.receive():
            pass
        return connection.answer()

    def addresses(
        self, pools: list[str], *, at_once: int, macs: list[bytes] | None = None
    ) -> list[Answer]:
        """RequestAddress once for each of ``pools``, so many ``at_once``. Raises LabError."""
        macs = macs or [new_mac() for _ in pools]
        calls = iter([_request_address(*each) for each in zip(pools, macs, strict=True)])
        answers: list[Answer] = []
        with selectors.DefaultSelector() as selector:
            for _ in range(at_once):
                self._send_next(calls, selector)
            while selector.get_map():
                events = selector.select(_PATIENCE)
                if not events:
                    raise LabError(f"the plugin answered {len(answers)} of {len(pools)} calls")
                for key, _ in events:
                    connection: _Connection = key.data
                    if connection.receive():
                        continue
                    selector.unregister(connection.socket)
                    answers.append(connection.answer())
                    self._send_next(calls, selector)
        return answers

    def _send_next(self, calls: Iterator[bytes], selector: selectors.BaseSelector) -> None:
        request = next(calls, None)
        if request is not None:
            connection = _Connection(self._path, request)
            selector.register(connection.socket, selectors.EVENT_READ, connection)


class _Connection:
    """One call: sent, and read until the driver closes."""

    def __init__(self, path: Path, request: bytes) -> None:
        self._began = time.perf_counter()
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(str(path))
        self.socket.sendall(request)
        self._received = b""

    def receive(self) -> bool:
        """Take what is there; False at the end."""
        chunk = self.socket.recv(65536)
        self._received += chunk
        return bool(chunk)

    def answer(self) -> Answer:
        seconds = time.perf_counter() - self._began
        self.socket.close()
        head, _, content = self._received.partition(b"\r\n\r\n")
        return Answer(
            seconds=seconds, status=int(head.split(maxsplit=2)[1]), body=json.loads(content)
        )


def _request_address(pool: str, mac: bytes) -> bytes:
    options = {_MAC: mac.hex(":")}
    body = json.dumps({"PoolID": pool, "Address": "", "Options": options}).encode() + b"\n"
    head = HEAD.format(path="/IpamDriver.RequestAddress", length=len(body))
    return head.replace("\n", "\r\n").encode() + body
