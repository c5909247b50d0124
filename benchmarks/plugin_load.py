"""Many calls to the plugin's socket at once, with little work of our own: it shares the machine.

Byte for byte they are dockerd's (``lab/plugin_calls.py``), and so is what becomes of a
connection: the next call goes out by it, and two are kept where there is no next one.
"""

import json
import os
import selectors
import socket
import time
from dataclasses import dataclass
from itertools import count, islice
from pathlib import Path
from typing import Any

from lab.plugin_calls import HEAD, call
from lab.processes import LabError

_PATIENCE = 60.0  # seconds in which something must come back
_KEPT = 2  # connections on which nothing is asked: Go's default, for each host
MAC = "com.docker.network.endpoint.macaddress"
"""What Docker calls a container's MAC address."""
_LENGTH = b"content-length: "
_macs = count(int.from_bytes(os.urandom(3), "big") << 8)


def new_mac() -> bytes:
    """A MAC address that no container of this run had before."""
    return b"\x02" + (next(_macs) & 0xFFFFFFFFFF).to_bytes(5, "big")


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What one call came to."""

    seconds: float
    head: bytes
    content: bytes

    @property
    def status(self) -> int:
        """The HTTP status."""
        return int(self.head.split(maxsplit=2)[1])

    @property
    def body(self) -> Any:
        """What it says."""
        return json.loads(self.content)

    @property
    def address(self) -> str:
        """The address, without prefix. Raises LabError where there is none."""
        if self.status != 200:
            raise LabError(f"the plugin answered {self.status}: {self.body}")
        return str(self.body["Address"]).partition("/")[0]


class Plugin:
    """A driver, as Docker calls it: until it ends, as its connections end with it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._kept: list[_Connection] = []

    def pool(self, subnet: str, **options: str) -> str:
        """RequestPool; answers the pool's id. Raises LabError."""
        body = {"AddressSpace": "d4d-local", "Pool": subnet, "SubPool": "", "V6": False}
        reply = call(self._path, "IpamDriver.RequestPool", {**body, "Options": options or None})
        if reply.status != 200:
            raise LabError(f"no pool {subnet}: {reply.content}")
        return str(reply.content["PoolID"])

    def address(self, pool: str, mac: bytes | None = None) -> Answer:
        """RequestAddress, alone. Raises LabError where the driver closes the connection."""
        request = _request_address(pool, mac or new_mac())
        began = time.perf_counter()
        connection = self._connection()
        connection.send(request, began)
        while (answer := connection.receive()) is None:
            pass
        self._keep(connection)
        return answer

    def addresses(
        self, pools: list[str], *, at_once: int, macs: list[bytes] | None = None
    ) -> list[Answer]:
        """RequestAddress once for each of ``pools``, so many ``at_once``. Raises LabError."""
        macs = macs or [new_mac() for _ in pools]
        calls = iter([_request_address(*each) for each in zip(pools, macs, strict=True)])
        answers: list[Answer] = []
        with selectors.DefaultSelector() as selector:
            for request in islice(calls, at_once):
                began = time.perf_counter()
                connection = self._connection()
                selector.register(connection.socket, selectors.EVENT_READ, connection)
                connection.send(request, began)
            while selector.get_map():
                events = selector.select(_PATIENCE)
                if not events:
                    raise LabError(f"the plugin answered {len(answers)} of {len(pools)} calls")
                for key, _ in events:
                    connection = key.data
                    if (answer := connection.receive()) is None:
                        continue
                    answers.append(answer)
                    if (next_one := next(calls, None)) is None:
                        selector.unregister(connection.socket)
                        self._keep(connection)
                    else:
                        connection.send(next_one, time.perf_counter())
        return answers

    def close(self) -> None:
        """Close what is kept."""
        while self._kept:
            self._kept.pop().socket.close()

    def _connection(self) -> "_Connection":
        return self._kept.pop() if self._kept else _Connection(self._path)

    def _keep(self, connection: "_Connection") -> None:
        if len(self._kept) < _KEPT:
            self._kept.append(connection)
        else:
            connection.socket.close()


class _Connection:
    """Calls, one after the other."""

    def __init__(self, path: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(str(path))
        self._began = 0.0
        self._received = b""

    def send(self, request: bytes, began: float) -> None:
        """Send a call, which ``began`` before there was a connection for it."""
        self._began = began
        self.socket.sendall(request)

    def receive(self) -> Answer | None:
        """Take what is there; the answer, once it is there. Raises LabError."""
        chunk = self.socket.recv(65536)
        if not chunk:
            raise LabError(f"the plugin closed the connection after {self._received!r}")
        self._received += chunk
        head, end, content = self._received.partition(b"\r\n\r\n")
        if not end or len(content) < int(head.partition(_LENGTH)[2].split(maxsplit=1)[0]):
            return None
        self._received = b""
        return Answer(seconds=time.perf_counter() - self._began, head=head, content=content)


def _request_address(pool: str, mac: bytes) -> bytes:
    options = {MAC: mac.hex(":")}
    body = json.dumps({"PoolID": pool, "Address": "", "Options": options}).encode() + b"\n"
    head = HEAD.format(path="/IpamDriver.RequestAddress", length=len(body))
    return head.replace("\n", "\r\n").encode() + body
