"""A backup as lines of JSON: a header, a line for each thing that is kept, and a checksum."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from ipaddress import ip_address
from typing import Any

from d4d.adapters.stores.lease_codec import (
    LeaseReader,
    LeaseRow,
    from_microseconds,
    lease_row,
    reservations_from_json,
    reservations_to_json,
    to_microseconds,
)
from d4d.domain.addressing import MacAddress
from d4d.domain.errors import BadRequest
from d4d.domain.leases import Lease
from d4d.domain.pools import Pool, PoolRecord
from d4d.domain.reservations import Reservation
from d4d.domain.stored import StoreContents

FORMAT = 1
"""One higher whenever an older D4D would understand a file wrongly."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Backup:
    """What a store held of some hosts, and the reservations, which are nobody's."""

    host: str
    """Where it was made."""
    made_at: datetime
    version: str
    """Of the D4D that made it."""
    hosts: Mapping[str, StoreContents]
    reservations: tuple[Reservation, ...] = ()

    def __str__(self) -> str:
        pools = sum(len(each.pools) for each in self.hosts.values())
        leases = sum(len(each.leases) for each in self.hosts.values())
        return f"{pools} pools, {leases} leases, {len(self.reservations)} reservations"


def backup_to_text(backup: Backup) -> str:
    """The file's text, which ``backup_from_text`` reads back."""
    lines = [json.dumps(line) + "\n" for line in _lines(backup)]
    body = "".join(lines)
    end = {"kind": "end", "lines": len(lines), "sha256": _checksum(body)}
    return body + json.dumps(end) + "\n"


def backup_from_text(text: str, name: str) -> Backup:
    """The backup in the file ``name``. Raises BadRequest where it can't be relied on."""
    head, *rest = text.splitlines(keepends=True) or [""]
    header = _header(head, name)
    _check_whole([head, *rest], name)
    read = _Reader(header["hosts"])
    for number, line in enumerate(rest[:-1], start=2):
        try:
            read.line(json.loads(line))
        except (ValueError, KeyError, TypeError, AttributeError, BadRequest) as error:
            raise BadRequest(f"line {number} of {name} is none of a backup ({error!r})") from error
    return Backup(
        host=header["host"],
        made_at=header["made_at"],
        version=header["version"],
        hosts={host: read.contents(host) for host in header["hosts"]},
        reservations=tuple(read.reservations),
    )


def _lines(backup: Backup) -> Iterator[dict[str, Any]]:
    yield {
        "d4d_backup": FORMAT,
        "version": backup.version,
        "host": backup.host,
        "made_at": backup.made_at.isoformat(),
        "hosts": list(backup.hosts),
    }
    for host, contents in backup.hosts.items():
        for record in contents.pools:
            yield {
                "kind": "pool",
                "owner": host,
                "pool": record.pool.id,
                "users": record.users,
                "reservations": reservations_to_json(record.reservations),
                "version": record.version,
            }
        for lease in contents.leases:
            row = lease_row(lease)._asdict()
            client_id = lease.client_id.hex() if lease.client_id is not None else None
            yield {"kind": "lease", **row, "owner": host, "client_id": client_id}
    for each in backup.reservations:
        yield {
            "kind": "reservation",
            "segment": each.segment,
            "address": str(each.address),
            "mac": str(each.mac) if each.mac is not None else None,
            "name": each.name,
            "note": each.note,
            "made_at": to_microseconds(each.made_at),
        }


def _header(line: str, name: str) -> dict[str, Any]:
    """What the first line says. Raises BadRequest."""
    try:
        header = json.loads(line)
        version = int(header["d4d_backup"])
        if version <= FORMAT:
            made_at = datetime.fromisoformat(header["made_at"])
            hosts = [str(host) for host in header["hosts"]]
            texts = {key: str(header[key]) for key in ("host", "version")}
            return {**texts, "hosts": hosts, "made_at": made_at}
    except (ValueError, KeyError, TypeError) as error:
        raise BadRequest(
            f"{name} is no backup that d4d made: its first line is {line!r}"
        ) from error
    raise BadRequest(
        f"{name} is a backup of format {version}, and this D4D knows formats up to {FORMAT}: "
        f"restore it with the D4D that made it ({header.get('version')}), or a later one"
    )


def _check_whole(lines: list[str], name: str) -> None:
    """Raises BadRequest unless the last line says that those before it are what was written."""
    try:
        end = json.loads(lines[-1])
        is_whole = end["kind"] == "end" and end["lines"] == len(lines) - 1
    except (ValueError, KeyError, TypeError):
        is_whole = False
    if not is_whole:
        raise BadRequest(
            f"{name} does not end as a backup does, after {len(lines)} lines: it is cut off. Take "
            f"another copy of it"
        )
    if end.get("sha256") != _checksum("".join(lines[:-1])):
        raise BadRequest(f"{name} is not as it was written, by its checksum: take another copy")


def _checksum(text: str) -> str:
    return sha256(text.encode(errors="surrogatepass")).hexdigest()


@dataclass(slots=True)
class _Reader:
    """Takes in the lines between header and checksum."""

    hosts: list[str]
    pools: dict[str, list[PoolRecord]] = field(default_factory=dict)
    leases: dict[str, list[Lease]] = field(default_factory=dict)
    reservations: list[Reservation] = field(default_factory=list)
    _lease_reader: LeaseReader = field(default_factory=LeaseReader)

    def contents(self, host: str) -> StoreContents:
        """What was of ``host``."""
        return StoreContents(
            pools=tuple(self.pools.get(host, ())), leases=tuple(self.leases.get(host, ()))
        )

    def line(self, parts: dict[str, Any]) -> None:
        """Raises ValueError, KeyError, TypeError, AttributeError, BadRequest: it is none."""
        kind = parts.pop("kind")
        if kind != "reservation" and parts["owner"] not in self.hosts:
            raise ValueError(parts["owner"])
        match kind:
            case "pool":
                self.pools.setdefault(parts["owner"], []).append(_pool(parts))
            case "lease":
                client_id = parts.pop("client_id")
                client_id = bytes.fromhex(client_id) if client_id is not None else None
                lease = self._lease_reader.read(LeaseRow(**parts, client_id=client_id))
                self.leases.setdefault(lease.owner, []).append(lease)
            case "reservation":
                self.reservations.append(_reservation(parts))
            case _:
                raise ValueError(kind)


def _pool(parts: dict[str, Any]) -> PoolRecord:
    return PoolRecord(
        pool=Pool.parse(parts["pool"]),
        users=int(parts["users"]),
        reservations=reservations_from_json(parts["reservations"]),
        version=int(parts.get("version", 0)),  # an older D4D wrote none
    )


def _reservation(parts: dict[str, Any]) -> Reservation:
    return Reservation(
        segment=parts["segment"],
        address=ip_address(parts["address"]),
        made_at=from_microseconds(parts["made_at"]),
        mac=_mac(parts["mac"]) if parts["mac"] is not None else None,
        name=parts["name"],
        note=parts["note"],
    )


def _mac(text: str) -> MacAddress:
    return MacAddress(bytes.fromhex(text.replace(":", "")))
