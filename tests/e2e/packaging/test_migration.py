"""A host moves over from oam-docker-ipam: its networks and running containers go on under D4D."""

import json
import os
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from lab.dhcp_servers import Dnsmasq
from lab.lab import Lab
from lab.processes import eventually
from lab.standard_site import SITE, Lan

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root")

LEASED = SITE.first + 9
"""The address that the old driver got for the container."""


class OldDriver:
    """Answers Docker as oam-docker-ipam did: the pool's id is its bare network address."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def answer(self, call: str, body: dict[str, Any]) -> dict[str, Any]:
        """What the old driver said to this call."""
        self.asked.append(call)
        answers: dict[str, dict[str, Any]] = {
            "Plugin.Activate": {"Implements": ["IpamDriver"]},
            "IpamDriver.GetDefaultAddressSpaces": {
                "LocalDefaultAddressSpace": "LocalDefault",
                "GlobalDefaultAddressSpace": "GlobalDefault",
            },
            "IpamDriver.GetCapabilities": {"RequiresMACAddress": True},
            "IpamDriver.RequestPool": {
                "PoolID": str(SITE.subnet.network_address),
                "Pool": str(SITE.subnet),
            },
        }
        if call != "IpamDriver.RequestAddress":
            return answers.get(call, {})
        wanted = body.get("Address") or str(LEASED)
        return {"Address": f"{wanted}/{SITE.subnet.prefixlen}"}

    @contextmanager
    def serve(self, path: Path) -> Iterator[None]:
        """Serve at the socket, which goes again."""
        driver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                body = json.loads(self.rfile.read(length) or b"{}")
                content = json.dumps(driver.answer(self.path.strip("/"), body)).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def address_string(self) -> str:
                return "dockerd"  # a unix socket's peer has none

            def log_message(self, *_: object) -> None:
                """Nothing."""

        with socketserver.ThreadingUnixStreamServer(str(path), Handler) as server:
            serving = threading.Thread(target=server.serve_forever)
            serving.start()
            try:
                yield
            finally:
                server.shutdown()
                serving.join()
        path.unlink()


@pytest.fixture
def lan() -> Iterator[Lan]:
    with Lab() as lab:
        lan = Lan(lab, Dnsmasq, settings={"D4D_RECONCILE": "1s", "D4D_DHCP_DEADLINE": "5s"})
        lan.server.start()
        yield lan


def test_a_network_of_the_old_drivers_and_its_container_go_on(lan: Lan) -> None:
    engine, driver, server = lan.engine, lan.driver, lan.server
    old = OldDriver()
    with old.serve(driver.socket):
        engine.start()
        # as the old documentation has it
        lan.create(f"--aux-address=DefaultGatewayIPv4={SITE.router}")
        web = engine.run("web")
        assert web.address == LEASED
        assert "IpamDriver.RequestAddress" in old.asked

    driver.start()
    eventually(lambda: LEASED in server.leased(), what=driver.log)
    assert server.leased()[LEASED].mac == web.mac, "D4D took the lease over, for the same container"
    assert engine.inspect("web") == web

    new = engine.run("db")
    assert server.leased()[new.address].mac == new.mac
    assert new.address != web.address

    engine.rm("web", "db")
    eventually(lambda: not server.leased(), what="the server heard of no release")
    engine.network_rm("lan")
    assert driver.exceptions() == []
