"""The lab: everything that a test builds in it, and its removal, whatever has happened."""

import itertools
import os
import re
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from lab.d4d_driver import Driver
from lab.dhcp_client import Udhcpc
from lab.dhcp_servers import Server, Site
from lab.docker_engine import Engine, cgroups, remove_cgroups
from lab.network import NAMESPACES, Namespace, Switch, remove_namespace
from lab.packet_gate import Gate

S = TypeVar("S", bound=Server)

_count = itertools.count(1)
_NAME = re.compile(r"d4d-(\d+)-\d+-")


class Host:
    """A Docker host: a machine with an engine and a driver, neither of them started."""

    def __init__(
        self,
        namespace: Namespace,
        *,
        engine_flags: Sequence[str],
        settings: Mapping[str, str],
        plain: bool = False,
    ) -> None:
        self.namespace = namespace
        self.engine = Engine(namespace, *engine_flags)
        self.driver = Driver.beside(self.engine, settings, plain=plain)

    def start(self) -> None:
        """Start the driver, then the engine. Raises LabError."""
        self.driver.start()
        self.engine.start()

    def close(self) -> None:
        """End both and the containers at once: no lease is released."""
        self.engine.close()
        self.driver.kill()


class Lab:
    """Switches, machines, servers and Docker hosts; leaving the ``with`` block removes them all."""

    def __init__(self) -> None:
        self.name = f"d4d-{os.getpid()}-{next(_count)}"
        """The beginning of the names of all that it makes on the real machine."""
        self._stack = ExitStack()
        # Short: a socket's path has at most 107 bytes.
        self.directory = Path(tempfile.mkdtemp(prefix=f"{self.name}-", dir="/tmp"))
        self._stack.callback(shutil.rmtree, self.directory)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stack.__exit__(kind, error, traceback)

    def switch(self, name: str = "switch") -> Switch:
        """An Ethernet segment with nothing on it."""
        return Switch(self._namespace(name))

    def machine(
        self, name: str, switch: Switch, address: str | None = None, *, mac: str | None = None
    ) -> Namespace:
        """A machine whose eth0 is on the switch, with an address such as ``10.77.0.2/16``."""
        namespace = self._namespace(name)
        switch.join(namespace, address)
        if mac is not None:
            namespace.ip("link", "set", "eth0", "address", mac)
        return namespace

    def router(self, near: Switch, near_address: str, far: Switch, far_address: str) -> Namespace:
        """A machine that forwards between two segments: eth0 is near, eth1 is far."""
        router = self.machine("router", near, near_address)
        far.join(router, far_address, interface="eth1")
        router.forward()
        return router

    def gate(self, near: Switch, far: Switch) -> Gate:
        """What joins two switches to one segment."""
        machine = self.machine("gate", near)
        far.join(machine, interface="eth1")
        gate = Gate(machine)
        self._stack.callback(gate.close)
        return gate

    def server(self, kind: type[S], namespace: Namespace, site: Site) -> S:
        """A DHCP server on eth0 of a machine, not started."""
        server = kind(namespace, site)
        self._stack.callback(server.close)
        return server

    def client(self, namespace: Namespace, *, hostname: str) -> Udhcpc:
        """A DHCP client on eth0 of a machine, not started."""
        client = Udhcpc(namespace, hostname=hostname)
        self._stack.callback(client.close)
        return client

    def engine(self, namespace: Namespace, *flags: str) -> Engine:
        """A Docker engine without D4D, not started; ``flags`` are dockerd's."""
        engine = Engine(namespace, *flags)
        self._stack.callback(engine.close)
        return engine

    def host(
        self,
        name: str,
        switch: Switch,
        address: str,
        *,
        engine_flags: Sequence[str] = (),
        settings: Mapping[str, str] | None = None,
        plain: bool = False,
    ) -> Host:
        """A Docker host on the switch, not started; ``settings`` are D4D's environment."""
        namespace = self.machine(name, switch, address)
        host = Host(namespace, engine_flags=engine_flags, settings=settings or {}, plain=plain)
        self._stack.callback(host.close)
        return host

    def _namespace(self, name: str) -> Namespace:
        full_name = f"{self.name}-{name}"
        self._stack.callback(remove_namespace, full_name)
        return Namespace(name=name, full_name=full_name, directory=self.directory / name)


def leftovers() -> list[str]:
    """The names of what labs of dead processes left behind: after SIGKILL or a power cut."""
    places = [*NAMESPACES.glob("d4d-*"), *Path("/tmp").glob("d4d-*"), *cgroups("d4d-*")]
    found = {place.name: _NAME.match(place.name) for place in places}
    return sorted(
        name for name, match in found.items() if match and not Path(f"/proc/{match[1]}").exists()
    )


def sweep() -> list[str]:
    """Remove all ``leftovers``, and answer their names."""
    names = leftovers()
    for name in names:
        remove_namespace(name)
        remove_cgroups(name)
        shutil.rmtree(Path("/tmp") / name, ignore_errors=True)  # most have no directory
    return names
