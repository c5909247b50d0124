"""Network namespaces, and the switches that join them."""

import ctypes
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from ipaddress import IPv4Address, IPv4Interface
from pathlib import Path
from signal import SIGKILL
from typing import TextIO, TypeVar

from lab.processes import Daemon, LabError, eventually, run

T = TypeVar("T")

NAMESPACES = Path("/run/netns")
_CLONE_NEWNET = 0x40000000
_LONGEST_INTERFACE = 15  # IFNAMSIZ, less its NUL


@contextmanager
def inside(full_name: str) -> Iterator[None]:
    """This thread in the namespace, as os.setns does from Python 3.12 on."""
    libc = ctypes.CDLL(None, use_errno=True)

    def enter(namespace: TextIO) -> None:
        if libc.setns(namespace.fileno(), _CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), f"setns {namespace.name}")

    with Path("/proc/thread-self/ns/net").open() as home:
        with (NAMESPACES / full_name).open() as there:
            enter(there)
        try:
            yield
        finally:
            enter(home)


class Namespace:
    """A machine of the lab: its own interfaces and routes, the file system of the real one."""

    def __init__(self, *, name: str, full_name: str, directory: Path) -> None:
        """Create it; ``name`` is for people, ``full_name`` is unique on the real machine."""
        self.name = name
        self.full_name = full_name
        self.directory = directory
        """Where its programs keep their files and logs."""
        self.addresses: dict[str, IPv4Interface] = {}
        """By interface."""
        self.directory.mkdir(parents=True)
        run(["ip", "netns", "add", full_name])
        self.ip("link", "set", "lo", "up")

    def __repr__(self) -> str:
        return f"Namespace({self.full_name})"

    @property
    def path(self) -> Path:
        """The namespace as a file, for setns(2)."""
        return NAMESPACES / self.full_name

    @property
    def address(self) -> IPv4Interface:
        """Its address on eth0. Raises LabError if it has none."""
        if "eth0" not in self.addresses:
            raise LabError(f"{self.name} has no address on eth0")
        return self.addresses["eth0"]

    def command(self, words: Sequence[str | Path]) -> list[str | Path]:
        """``words`` as a command inside. (``ip netns exec`` would hide the cgroup mounts.)"""
        return ["nsenter", f"--net={self.path}", "--", *words]

    def run(
        self,
        words: Sequence[str | Path],
        *,
        env: Mapping[str, str] | None = None,
        timeout: timedelta = timedelta(seconds=60),
    ) -> str:
        """What the command prints. Raises LabError if it fails."""
        return run(self.command(words), env=env, timeout=timeout)

    def ip(self, *words: str) -> str:
        """Run ``ip`` for this namespace."""
        return run(["ip", "-n", self.full_name, *words])

    def within(self, make: Callable[[], T]) -> T:
        """What ``make`` returns inside: a socket that is made there stays there."""
        with inside(self.full_name):
            return make()

    def daemon(
        self,
        name: str,
        words: Sequence[str | Path],
        *,
        env: Mapping[str, str] | None = None,
        forks: bool = False,
    ) -> Daemon:
        """A program that will serve inside, once it is started; its log is in ``directory``.

        ``forks`` says that it is a wrapper, whose child the signals are meant for.
        """
        return Daemon(
            name=f"{name} in {self.name}",
            command=self.command(words),
            log=self.directory / f"{name}.log",
            env=env,
            forks=forks,
        )

    def mac(self, interface: str = "eth0") -> str:
        """The interface's MAC address, as ``ip`` prints it."""
        words = self.ip("-o", "link", "show", interface).split()
        return words[words.index("link/ether") + 1]

    def ping(self, address: IPv4Address, *, timeout: timedelta = timedelta(seconds=2)) -> None:
        """Raises LabError if no echo comes back."""
        seconds = str(round(timeout.total_seconds()))
        self.run(["busybox", "ping", "-c", "1", "-W", seconds, str(address)])

    def route(self, to: str, *, via: IPv4Address) -> None:
        """Add a route; ``to`` is a prefix or ``default``."""
        self.ip("route", "add", to, "via", str(via))

    def forward(self) -> None:
        """Make a router of it."""
        self.run(["sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward"])

    def close(self) -> None:
        """Kill what runs inside and remove it, with its ends of all cables."""
        remove_namespace(self.full_name)


class Switch:
    """An Ethernet segment: a bridge in a namespace of its own."""

    def __init__(self, namespace: Namespace) -> None:
        self.namespace = namespace
        namespace.ip("link", "add", "br0", "type", "bridge")
        namespace.ip("link", "set", "br0", "up")
        self._ports = 0

    def join(
        self, namespace: Namespace, address: str | None = None, *, interface: str = "eth0"
    ) -> str:
        """Plug ``interface`` of ``namespace`` in, with an address such as ``10.77.0.2/16``.

        Answers the name of the switch's port, which ``link set ... down`` unplugs.
        """
        self._ports += 1
        port = f"{self._ports}-{namespace.name}"[:_LONGEST_INTERFACE]
        self.namespace.ip(
            *("link", "add", port, "type", "veth"),
            *("peer", "name", interface, "netns", namespace.full_name),
        )
        self.namespace.ip("link", "set", port, "master", "br0", "up")
        namespace.ip("link", "set", interface, "up")
        if address is not None:
            namespace.addresses[interface] = IPv4Interface(address)
            namespace.ip("addr", "add", address, "brd", "+", "dev", interface)
        return port


def remove_namespace(full_name: str) -> None:
    """Kill every process in the namespace, by its pid, and remove it; it may be absent."""
    if not (NAMESPACES / full_name).exists():
        return

    def is_empty() -> bool:
        pids = run(["ip", "netns", "pids", full_name]).split()
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(int(pid), SIGKILL)
        return not pids

    eventually(is_empty, what=f"processes in {full_name} survive SIGKILL")
    run(["ip", "netns", "del", full_name])
