"""Screenshots for the README: a driver with leases of a real server, as page and command line show.

Run as root: ``python -m lab.screenshots DIRECTORY``, or scripts/screenshots.
"""

import asyncio
import sys
from pathlib import Path
from random import Random
from typing import Any

from lab.browser import browser
from lab.d4d_driver import Driver
from lab.dhcp_servers import Dhcpd
from lab.lab import Lab
from lab.plugin_calls import call
from lab.standard_site import SITE

_PAGE = "http://127.0.0.1:8053/"
_OFFICE = {"Pool": "192.168.59.0/24", "Options": {"allocator": "range"}}
_LAN = {"Pool": str(SITE.subnet), "Options": {"parent": "eth0"}}
_NAMES = ("web", "api", "worker", "cache", "db", "mail", "proxy", "queue", "search", "metrics")
_DESK = {"width": 1280, "height": 860}
_PHONE = {"width": 390, "height": 844}


class Scene:
    """A host on a LAN, with containers of two networks."""

    def __init__(self, lab: Lab) -> None:
        switch = lab.switch()
        lab.server(Dhcpd, lab.machine("server", switch, "10.77.0.1/16"), SITE).start()
        self.machine = lab.machine("host", switch, "10.77.0.2/16")
        self.driver = Driver(
            self.machine,
            socket=self.machine.directory / "talkingdata.sock",
            docker_socket=self.machine.directory / "none.sock",
            settings={"D4D_ADMIN_BIND": "127.0.0.1:8053", "D4D_HOST": "docker-1"},
        )
        self.driver.start()
        self._chance = Random(59)
        office, lan = self._ask("RequestPool", _OFFICE), self._ask("RequestPool", _LAN)
        rooms = [
            self._run(office["PoolID"], f"{name}-{n}") for n in range(1, 11) for name in _NAMES
        ]
        for address in self._chance.sample(rooms, 17):
            self._ask("ReleaseAddress", {"PoolID": office["PoolID"], "Address": address})
        for name in _NAMES[:8]:
            self._run(lan["PoolID"], name)
        self.driver.cli("reserve", office["PoolID"], "192.168.59.200", "--note", "the printer")
        self.driver.cli("reserve", office["PoolID"], "192.168.59.201", "--for", "db-11")

    def _ask(self, verb: str, body: dict[str, Any]) -> dict[str, Any]:
        reply = call(self.driver.socket, f"IpamDriver.{verb}", body)
        assert reply.status == 200, reply
        content: dict[str, Any] = reply.content
        return content

    def _run(self, pool: str, name: str) -> str:
        mac = bytes([0x02, 0x42, *self._chance.randbytes(4)]).hex(":")
        options = {
            "com.docker.network.endpoint.macaddress": mac,
            "com.docker.network.endpoint.name": name,
        }
        asked = {"PoolID": pool, "Address": "", "Options": options}
        return str(self._ask("RequestAddress", asked)["Address"]).partition("/")[0]

    async def shoot(self, directory: Path) -> None:
        """The page at a desk, by day and by night, and on a phone."""
        shots: dict[str, dict[str, Any]] = {
            "page-light": {"viewport": _DESK, "color_scheme": "light"},
            "page-dark": {"viewport": _DESK, "color_scheme": "dark"},
            "page-phone": {"viewport": _PHONE, "color_scheme": "light", "is_mobile": True},
        }
        async with browser(self.machine) as chromium:
            for name, options in shots.items():
                context = await chromium.new_context(**options)
                page = await context.new_page()
                await page.goto(_PAGE)
                await page.locator("#lease-rows tr").first.wait_for()
                await page.wait_for_timeout(1500)  # timers and map are drawn
                await page.screenshot(path=directory / f"{name}.png")
                await context.close()


def main(directory: Path) -> None:
    """Write the pictures into ``directory``."""
    with Lab() as lab:
        scene = Scene(lab)
        asyncio.run(scene.shoot(directory))
        scene.driver.stop()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
