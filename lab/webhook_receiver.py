"""A web server that takes what is posted to it, and prints each request as a JSON object a line.

Run as ``python -m lab.webhook_receiver PORT``.
"""

import base64
import json
import sys
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from lab.network import Namespace
from lab.processes import Daemon


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """One request."""

    path: str
    headers: dict[str, str]
    body: bytes


class Receiver:
    """The server, on the loopback interface of a machine of the lab."""

    def __init__(self, namespace: Namespace, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.daemon: Daemon = namespace.daemon(
            "receiver", [sys.executable, "-m", "lab.webhook_receiver", str(port)]
        )

    def __enter__(self) -> "Receiver":
        self.daemon.start(ready="ready\n".__eq__)
        return self

    def __exit__(self, *_: object) -> None:
        self.daemon.kill()

    @property
    def requests(self) -> list[Received]:
        """All that came so far."""
        lines = [json.loads(line) for line in self.daemon.logged().splitlines()[1:]]
        return [
            Received(
                path=line["path"], headers=line["headers"], body=base64.b64decode(line["body"])
            )
            for line in lines
        ]


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        said = {
            "path": self.path,
            "headers": dict(self.headers),
            "body": base64.b64encode(body).decode(),
        }
        print(json.dumps(said), flush=True)
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Nothing: what came is printed."""


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), _Handler)
    print("ready", flush=True)
    server.serve_forever()
