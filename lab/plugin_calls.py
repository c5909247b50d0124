"""Calls to a plugin's socket, byte for byte as dockerd makes them."""

import json
import socket
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

_PATIENCE = timedelta(seconds=120)
# As 20.10 sends them: the Host is empty, and there is no Content-Type.
HEAD = """POST {path} HTTP/1.1
Host:
User-Agent: Go-http-client/1.1
Content-Length: {length}
Accept: application/vnd.docker.plugins.v1.2+json

"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What came back."""

    status: int
    headers: dict[str, str]
    """By name, in lower case."""
    content: Any


def call(path: Path, method: str, body: dict[str, Any] | bytes | None = None) -> Reply:
    """Call ``/method`` at the socket; without a body nothing but the head is sent."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(_PATIENCE.total_seconds())
        connection.connect(str(path))
        send(connection, method, body)
        return receive(connection)


def send(
    connection: socket.socket, method: str, body: dict[str, Any] | bytes | None = None
) -> None:
    """Send the call."""
    if isinstance(body, dict):
        body = json.dumps(body).encode() + b"\n"
    body = body or b""
    head = HEAD.format(path=f"/{method}", length=len(body)).replace("\n", "\r\n")
    connection.sendall(head.encode() + body)


def receive(connection: socket.socket) -> Reply:
    """The answer, as long as it says that it is. Raises TimeoutError, ConnectionError."""
    answer = b""
    while b"\r\n\r\n" not in answer:
        answer += _some(connection)
    head, _, content = answer.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
    while len(content) < int(headers["content-length"]):
        content += _some(connection)
    return Reply(status=int(first.split()[1]), headers=headers, content=json.loads(content))


def _some(connection: socket.socket) -> bytes:
    chunk = connection.recv(65536)
    if not chunk:
        raise ConnectionError("the driver closed the connection before it had answered")
    return chunk
