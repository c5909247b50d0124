"""Values that settings have: where the operator is served, and where events are sent."""

from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

_HIGHEST_PORT = 0xFFFF


@dataclass(frozen=True, slots=True, kw_only=True)
class AdminBind:
    """A unix socket's path, a TCP address with its port, or neither: then nobody is served."""

    path: Path | None = None
    address: IPv4Address | IPv6Address | None = None
    port: int = 0

    @property
    def is_public(self) -> bool:
        """Whether other hosts can reach it."""
        return self.address is not None and not self.address.is_loopback

    def __str__(self) -> str:
        if self.path is not None:
            return f"unix:{self.path}"
        if self.address is None:
            return "off"
        host = f"[{self.address}]" if self.address.version == 6 else str(self.address)  # noqa: PLR2004 - IPv6
        return f"{host}:{self.port}"


def parse_bind(value: Any) -> Any:
    """Read ``unix:/run/d4d/admin.sock``, ``127.0.0.1:8053``, ``[::1]:8053`` or ``off``.

    Raises ValueError.
    """
    if not isinstance(value, str):
        return value
    text = value.strip()
    if text == "off":
        return AdminBind()
    if text.startswith("unix:") and Path(text[5:]).is_absolute():
        return AdminBind(path=Path(text[5:]))
    host, _, port = text.rpartition(":")
    try:
        bind = AdminBind(address=ip_address(host.strip("[]")), port=int(port))
    except ValueError as error:
        raise ValueError(
            f"{value!r} is no place to serve: write it as unix:/run/d4d/admin.sock, as "
            "127.0.0.1:8053, or as off"
        ) from error
    if not 0 < bind.port <= _HIGHEST_PORT:
        raise ValueError(f"{port} is no port: it must be within 1 and {_HIGHEST_PORT}")
    return bind


@dataclass(frozen=True, slots=True)
class WebhookUrl:
    """Where events are posted. Anyone who knows it may post there: its path is never printed."""

    secret: str = field(repr=False)

    def __str__(self) -> str:
        parts = urlsplit(self.secret)
        host = parts.netloc.rpartition("@")[2]
        return f"{parts.scheme}://{host}{'/***' if parts.path.strip('/') or parts.query else ''}"


def parse_url(value: Any) -> Any:
    """Read an HTTP URL. Raises ValueError, which does not repeat it."""
    if not isinstance(value, str):
        return value
    try:
        parts = urlsplit(value.strip())
        is_url = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # its port is no number, or its brackets are odd
        is_url = False
    if not is_url:
        raise ValueError("this is no URL of HTTP: write it as https://alerts.example.net/d4d")
    return WebhookUrl(value.strip())
