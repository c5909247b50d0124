"""The lease databases of four DHCP servers, read as their own manuals describe them."""

import csv
import re
import struct
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path

_FOR_EVER = datetime.max.replace(tzinfo=UTC)
_PAUSE = 0.02  # seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Binding:
    """A server's record of a lease, at the moment when it was read."""

    address: IPv4Address
    mac: str
    """In lower case, with colons."""
    client_id: bytes | None
    """Option 61 with its type byte; None also where the server does not store it."""
    hostname: str | None
    expires_at: datetime
    active: bool
    """The server would not give the address to another: neither released nor run out."""


def read_steadily(path: Path) -> bytes:
    """The file's content when two reads in a row agree: servers rewrite it in place."""
    previous = path.read_bytes()
    while True:
        time.sleep(_PAUSE)
        current = path.read_bytes()
        if current == previous:
            return current
        previous = current


def _last_of_each(bindings: Iterable[Binding]) -> list[Binding]:
    return list({binding.address: binding for binding in bindings}.values())


_DHCPD_LEASE = re.compile(r"^lease (\S+) \{\n(.*?)^\}", re.MULTILINE | re.DOTALL)
_DHCPD_STRING = re.compile(r'"((?:[^"\\]|\\.)*)"')
_DHCPD_ESCAPE = re.compile(rb"\\([0-7]{3}|.)", re.DOTALL)


def dhcpd(text: str, now: datetime) -> list[Binding]:
    """dhcpd.leases(5): the last entry of an address wins, and stays "active" when it ran out."""
    found: dict[str, Binding | None] = {}
    for address, body in _DHCPD_LEASE.findall(text):
        found[address] = _dhcpd_entry(address, body, now)
    return [binding for binding in found.values() if binding is not None]


def _dhcpd_entry(address: str, body: str, now: datetime) -> Binding | None:
    """None for an address that was abandoned: it is nobody's, whoever had it before."""
    lines = [line.strip().removesuffix(";") for line in body.splitlines()]
    values = {name: _value(lines, name) for name in ("ends", "binding state", "uid")}
    mac = _value(lines, "hardware ethernet")
    if mac is None:
        return None
    ends = values["ends"] or "never"
    expires_at = (
        _FOR_EVER
        if ends == "never"
        else datetime.strptime(ends.partition(" ")[2], "%Y/%m/%d %H:%M:%S").replace(tzinfo=UTC)
    )
    hostname = _value(lines, "client-hostname")
    return Binding(
        address=IPv4Address(address),
        mac=mac.lower(),
        client_id=_dhcpd_octets(values["uid"]) if values["uid"] else None,
        hostname=_dhcpd_octets(hostname).decode() if hostname else None,
        expires_at=expires_at,
        active=values["binding state"] == "active" and expires_at > now,
    )


def _value(lines: list[str], name: str) -> str | None:
    return next((line[len(name) + 1 :] for line in lines if line.startswith(f"{name} ")), None)


def _dhcpd_octets(text: str) -> bytes:
    """A quoted string with octal escapes, or octets in hexadecimal with colons."""
    quoted = _DHCPD_STRING.fullmatch(text)
    if quoted is None:
        return bytes(int(octet, 16) for octet in text.split(":"))

    def unescape(match: re.Match[bytes]) -> bytes:
        escaped = match[1]
        return bytes([int(escaped, 8)]) if escaped.isdigit() else escaped

    return _DHCPD_ESCAPE.sub(unescape, quoted[1].encode())


_KEA_ASSIGNED = "0"


def kea(text: str, now: datetime) -> list[Binding]:
    """Kea's memfile: the last line of an address wins; a lifetime of 0 is a deletion.

    Kea 2.6 keeps what was released, and gives it to another when that second has passed.
    """
    return _last_of_each(_kea_lines(text, now))


def _kea_lines(text: str, now: datetime) -> Iterator[Binding]:
    for row in csv.DictReader(text.splitlines()):
        expires_at = datetime.fromtimestamp(int(row["expire"]), UTC)
        is_released = row["valid_lifetime"] == "0"
        assigned = row["state"] == _KEA_ASSIGNED and not is_released
        passes_at = expires_at + timedelta(seconds=1)
        yield Binding(
            address=IPv4Address(row["address"]),
            mac=row["hwaddr"].lower(),
            client_id=bytes.fromhex(row["client_id"].replace(":", "")) or None,
            hostname=row["hostname"] or None,
            expires_at=expires_at,
            active=passes_at > now if is_released else assigned and expires_at > now,
        )


def dnsmasq(text: str, now: datetime) -> list[Binding]:
    """dnsmasq's file: expiry (0 is never), MAC, address, name or ``*``, client id or ``*``."""
    bindings = []
    for line in text.splitlines():
        expiry, mac, address, hostname, client_id = line.split()
        expires_at = datetime.fromtimestamp(int(expiry), UTC) if expiry != "0" else _FOR_EVER
        bindings.append(
            Binding(
                address=IPv4Address(address),
                mac=mac.lower(),
                client_id=None if client_id == "*" else bytes.fromhex(client_id.replace(":", "")),
                hostname=None if hostname == "*" else hostname,
                expires_at=expires_at,
                active=expires_at > now,
            )
        )
    return bindings


_UDHCPD_HEAD = struct.Struct("!q")
_UDHCPD_LEASE = struct.Struct("!I4s6s20s2x")


def udhcpd(content: bytes, now: datetime) -> list[Binding]:
    """busybox's file: when it was written, then seconds left, address, MAC and host name."""
    (written,) = _UDHCPD_HEAD.unpack_from(content)
    written_at = datetime.fromtimestamp(written, UTC)
    bindings = []
    for left, address, mac, hostname in _UDHCPD_LEASE.iter_unpack(content[_UDHCPD_HEAD.size :]):
        expires_at = written_at + timedelta(seconds=left)
        bindings.append(
            Binding(
                address=IPv4Address(address),
                mac=mac.hex(":"),
                client_id=None,
                hostname=hostname.rstrip(b"\0").decode() or None,
                expires_at=expires_at,
                active=bool(left) and expires_at > now,
            )
        )
    return bindings
