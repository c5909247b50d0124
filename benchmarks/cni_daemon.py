"""CNI's DHCP daemon, of Debian's containernetworking-plugins, called at its own socket.

Each of its callers has a link of its own, as containers have: on a shared one they would take
each other's answers, since it gives all its clients the link's MAC address.
"""

import json
import subprocess
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path

from benchmarks import go_gob
from lab.network import Namespace
from lab.processes import LabError

PROGRAM = Path("/usr/lib/cni/dhcp")
_NETWORK = {"cniVersion": "0.4.0", "name": "bench", "type": "macvlan", "ipam": {"type": "dhcp"}}


class CniDaemon:
    """The daemon on a machine, with so many links."""

    def __init__(self, namespace: Namespace, *, links: int) -> None:
        if not PROGRAM.exists():
            raise LabError(f"{PROGRAM} is missing: scripts/prepare installs it")
        self._namespace = namespace
        self._socket = namespace.directory / "cni.sock"
        self._links = [f"c{number}" for number in range(links)]
        self._containers = count(1)
        for link in self._links:
            namespace.ip("link", "add", link, "link", "eth0", "type", "macvlan", "mode", "bridge")
            namespace.ip("link", "set", link, "up")
        self._daemon = namespace.daemon("cni", [PROGRAM, "daemon", "-socketpath", self._socket])

    @property
    def pid(self) -> int:
        """Its process."""
        return self._daemon.pid

    def start(self) -> None:
        """Serve. Raises LabError."""
        self._daemon.start(ready=lambda _log: self._socket.exists())

    def close(self) -> None:
        """End it; the server keeps its leases."""
        self._daemon.kill()

    def lease(self, link: str = "c0") -> float:
        """One lease for a new container; answers the seconds that it took."""
        arguments: go_gob.Struct = {
            "ContainerID": f"container{next(self._containers)}",
            "Netns": str(self._namespace.path),
            "IfName": link,
            "Args": "",
            "Path": str(PROGRAM.parent),
            "StdinData": json.dumps(_NETWORK).encode(),
        }
        call = go_gob.request("DHCP.Allocate", arguments, name="CmdArgs")
        began = time.perf_counter()
        go_gob.call(self._socket, call)
        return time.perf_counter() - began

    def lease_by_plugin(self, link: str = "c0") -> float:
        """As ``lease``, by the plugin's binary, as a container runtime calls it."""
        environment = {
            "CNI_COMMAND": "ADD",
            "CNI_CONTAINERID": f"container{next(self._containers)}",
            "CNI_NETNS": str(self._namespace.path),
            "CNI_IFNAME": link,
            "CNI_PATH": str(PROGRAM.parent),
        }
        ipam = {"type": "dhcp", "daemonSocketPath": str(self._socket)}
        began = time.perf_counter()
        done = subprocess.run(
            [PROGRAM],
            env=environment,
            input=json.dumps({**_NETWORK, "ipam": ipam}).encode(),
            capture_output=True,
            check=False,
        )
        seconds = time.perf_counter() - began
        if done.returncode:
            raise LabError(f"{PROGRAM} said: {done.stdout.decode()}{done.stderr.decode()}")
        return seconds

    def leases(self, amount: int, lease: Callable[[str], float] | None = None) -> float:
        """So many, one after the other on each link and all links at once; answers the seconds.

        ``lease`` is how; by default at the socket.
        """
        one = lease or self.lease

        def of(link: str) -> Sequence[float]:
            return [one(link) for _ in range(amount // len(self._links))]

        with ThreadPoolExecutor(len(self._links)) as threads:
            began = time.perf_counter()
            [*threads.map(of, self._links)]
            return time.perf_counter() - began
