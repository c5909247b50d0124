"""What is at the plugin socket, found out without a call that means that Docker has started."""

import re
import socket
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import httpx

from d4d.doctor.collectors.processes import Process, process, unix_owner

_TIMEOUT = 5.0  # seconds for an answer that is a constant
_UCRED = struct.Struct("3i")
_INIT = 1  # systemd, which listens for a service that does not run


class SocketState(Enum):
    """The states of a unix socket."""

    ABSENT = "absent"
    NO_SOCKET = "no socket"
    STALE = "stale"
    """The file is there, and nobody listens."""
    DENIED = "denied"
    WAITING = "waiting"
    """systemd listens, and would start the driver: it was not connected to."""
    SILENT = "silent"
    ANSWERS = "answers"


@dataclass(frozen=True, slots=True, kw_only=True)
class PluginSocketFacts:
    """What is at the path."""

    state: SocketState
    listener: Process | None = None
    """The process that called listen(2): the driver, or systemd for it."""
    answer: Any = None
    """To IpamDriver.GetCapabilities: Plugin.Activate would set off a reconciliation."""
    detail: str = ""


def specs_of_others(directories: Sequence[Path], socket_path: Path) -> list[Path]:
    """Files by which Docker would find another driver of this socket's name.

    One that leads to the socket itself is its owner's own.
    """
    name = socket_path.stem
    there = [directory / f"{name}.{kind}" for directory in directories for kind in ("spec", "json")]
    return [spec for spec in there if spec.exists() and not _leads_to(spec, socket_path)]


def _leads_to(spec: Path, socket_path: Path) -> bool:
    try:
        text = spec.read_text(errors="replace")
    except OSError:
        return False
    return re.search(rf"unix://{re.escape(str(socket_path))}(?![\w./-])", text) is not None


def inspect_plugin_socket(path: Path, driver: Process | None) -> PluginSocketFacts:
    """The socket of ``driver``, which is None where none runs."""
    try:
        if not path.exists():
            return PluginSocketFacts(state=SocketState.ABSENT)
        if not path.is_socket():
            return PluginSocketFacts(state=SocketState.NO_SOCKET)
    except PermissionError as error:
        return PluginSocketFacts(state=SocketState.DENIED, detail=str(error))
    if driver is None and (owner := unix_owner(path)) is not None and owner.pid == _INIT:
        return PluginSocketFacts(state=SocketState.WAITING, listener=owner)
    try:
        listener = _listener(path)
    except PermissionError as error:
        return PluginSocketFacts(state=SocketState.DENIED, detail=str(error))
    except OSError as error:
        return PluginSocketFacts(state=SocketState.STALE, detail=str(error))
    transport = httpx.HTTPTransport(uds=str(path), verify=False)  # no TLS: CA files take 0.4 s
    with httpx.Client(transport=transport, timeout=_TIMEOUT, trust_env=False) as client:
        try:
            response = client.post("http://d4d/IpamDriver.GetCapabilities")
            answer = response.json() if response.is_success else response.status_code
        except (httpx.HTTPError, ValueError) as error:
            return PluginSocketFacts(
                state=SocketState.SILENT, listener=listener, detail=str(error) or repr(error)
            )
    return PluginSocketFacts(state=SocketState.ANSWERS, listener=listener, answer=answer)


def _listener(path: Path) -> Process:
    """Raises OSError where nobody listens."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(_TIMEOUT)
        client.connect(str(path))
        ucred = client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
    pid, _, _ = _UCRED.unpack(ucred)
    return process(pid)
