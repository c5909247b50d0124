"""Processes that matter to a driver: itself, others of its kind, and who owns its ports."""

import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

NET_BIND_SERVICE, NET_RAW = 10, 13
"""Numbers of capabilities(7)."""
_OLD_DRIVER = "oam-docker-ipam"


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """One process, by what an operator knows it by."""

    pid: int
    name: str

    def __str__(self) -> str:
        return f"{self.name} (pid {self.pid})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Privileges:
    """Whose a process is, and what it may do."""

    uid: int
    capabilities: int
    """The effective set, a bit for each."""

    def has(self, capability: int) -> bool:
        """Whether it may do what this capability is for."""
        return bool(self.capabilities >> capability & 1)


def process(pid: int) -> Process:
    """The process, called ``unknown`` where it has gone."""
    try:
        return Process(pid=pid, name=psutil.Process(pid).name())
    except psutil.Error:
        return Process(pid=pid, name="unknown")


def privileges(pid: int | None = None) -> Privileges | None:
    """Of a process, or our own; None where it has gone."""
    path = Path("/proc") / (str(pid) if pid else "self") / "status"
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return None
    status = dict(line.split(":\t", 1) for line in lines if ":\t" in line)
    return Privileges(uid=int(status["Uid"].split()[1]), capabilities=int(status["CapEff"], 16))


def lock_holder(state_dir: Path) -> Process | None:
    """The driver that has the state directory. Raises OSError where that can't be read.

    The lock itself is not tried: a driver that starts meanwhile would be refused.
    """
    path = state_dir / "lock"
    if not path.exists():
        return None
    text = path.read_text().strip()
    if not text.isdigit() or not psutil.pid_exists(int(text)):
        return None
    pid = int(text)
    try:
        is_open = path.resolve() in _open_files(pid)
    except PermissionError:
        is_open = True  # it is another user's: the number must do
    except FileNotFoundError:
        is_open = False
    return process(pid) if is_open else None


def udp_owners(port: int) -> tuple[Process, ...]:
    """Who has this UDP port of IPv4 in our network namespace; those that we may see."""
    pids = {
        each.pid
        for each in psutil.net_connections(kind="udp4")
        if each.laddr and each.laddr.port == port and each.pid
    }
    return tuple(process(pid) for pid in sorted(pids))


def unix_owner(path: Path) -> Process | None:
    """Who made the unix socket of this path; None if nobody, or we may not see it."""
    for each in psutil.net_connections(kind="unix"):
        if each.laddr == str(path) and each.type == socket.SOCK_STREAM and each.pid:
            return process(each.pid)
    return None


def other_drivers(than: Process | None) -> tuple[Process, ...]:
    """Other drivers of our network namespace: further D4Ds, and the old oam-docker-ipam."""
    here = _namespace("self")
    found = []
    for each in psutil.process_iter(["pid", "name", "cmdline"]):
        words = each.info["cmdline"] or []
        is_ours = than is not None and each.pid == than.pid
        if is_ours or not _is_driver(each.info["name"] or "", words):
            continue
        if _namespace(each.pid) == here:
            found.append(process(each.pid))
    return tuple(found)


def _is_driver(name: str, words: list[str]) -> bool:
    if name.startswith(_OLD_DRIVER[:15]):  # the kernel keeps 15 characters
        return True
    if "server" not in words:
        return False
    # a package's launcher is run as python3 -I /usr/bin/d4d server
    return "d4d" in [Path(word).name for word in words[: words.index("server")]]


def _namespace(pid: int | str) -> str:
    try:
        return str((Path("/proc") / str(pid) / "ns/net").readlink())
    except OSError:
        return ""


def _open_files(pid: int) -> Iterator[Path]:
    for descriptor in (Path("/proc") / str(pid) / "fd").iterdir():
        try:
            yield descriptor.readlink()
        except FileNotFoundError:  # closed meanwhile
            continue
