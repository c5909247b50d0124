"""Leases and reservations as stores keep them: text, whole numbers and JSON.

Instants and durations are whole microseconds, as floating seconds would not come back the same.
"""

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address
from typing import Any, NamedTuple

from d4d.domain.addressing import Address, MacAddress
from d4d.domain.lease_states import Standing, Use
from d4d.domain.leases import Endpoint, Lease, RenewalForm, Terms
from d4d.domain.pools import PoolId, Purpose, ReservedAddress

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_FOREVER = "forever"
_STATES = {Use.IN_USE: "bound", Use.RELEASED: "released", Use.FREED: "freed"}
"""What is stored of a lease's use. Scripts and queries compare these words."""
_LOST = "lost"
_USES = {
    **{word: use for use, word in _STATES.items()},
    # what an older D4D wrote
    _LOST: Use.IN_USE,
    "renewing": Use.IN_USE,
    "rebinding": Use.IN_USE,
}
FREED = _STATES[Use.FREED]
BOUND = _STATES[Use.IN_USE]


class LeaseRow(NamedTuple):
    """A lease in columns: the first four say which it is, the rest what is known of it."""

    pool: str
    address: str
    owner: str
    generation: int
    state: str
    mac: str
    name: str | None
    client_id: bytes | None
    hostname: str | None
    acquired_at: int
    bound_at: int | None
    renew_at: int | None
    rebind_at: int | None
    expires_at: int | None
    released_at: int | None
    terms: str | None
    form: str
    standing: str = Standing.GRANTED.value
    """Last, with a default: an older D4D wrote none."""


def lease_row(lease: Lease) -> LeaseRow:
    """The columns of ``lease``, which a LeaseReader reads back."""
    return LeaseRow(
        pool=lease.pool,
        address=str(lease.address),
        owner=lease.owner,
        generation=lease.generation,
        state=_STATES[lease.use],
        mac=str(lease.endpoint.mac),
        name=lease.endpoint.name,
        client_id=lease.client_id,
        hostname=lease.hostname,
        acquired_at=to_microseconds(lease.acquired_at),
        bound_at=_optional_microseconds(lease.bound_at),
        renew_at=_optional_microseconds(lease.renew_at),
        rebind_at=_optional_microseconds(lease.rebind_at),
        expires_at=_optional_microseconds(lease.expires_at),
        released_at=_optional_microseconds(lease.released_at),
        terms=terms_to_json(lease.terms) if lease.terms else None,
        form=lease.form.value,
        standing=lease.standing.value,
    )


def state_word(lease: Lease) -> str:
    """What is stored of its use."""
    return _STATES[lease.use]


class LeaseReader:
    """Reads rows back into leases. What many leases have in common, they share.

    Ten thousand leases of one server have one pool id, one owner and a handful of terms.
    """

    def __init__(self) -> None:
        self._texts: dict[str, str] = {}
        self._terms: dict[str, Terms] = {}

    def read(self, row: LeaseRow) -> Lease:
        """The lease of ``row``. Raises ValueError or KeyError where the row is damaged."""
        use, standing = _USES[row.state], Standing(row.standing)
        if row.state == _LOST:
            standing = Standing.LOST
        return Lease(
            pool=PoolId(self._shared(row.pool)),
            address=_address(row.address),
            owner=self._shared(row.owner),
            generation=row.generation,
            use=use,
            standing=standing,
            endpoint=Endpoint(mac=_mac(row.mac), name=row.name),
            client_id=row.client_id,
            hostname=row.hostname,
            acquired_at=from_microseconds(row.acquired_at),
            bound_at=_optional_instant(row.bound_at),
            renew_at=_optional_instant(row.renew_at),
            rebind_at=_optional_instant(row.rebind_at),
            expires_at=_optional_instant(row.expires_at),
            released_at=_optional_instant(row.released_at),
            terms=self._shared_terms(row.terms) if row.terms is not None else None,
            form=RenewalForm(row.form),
        )

    def _shared(self, text: str) -> str:
        return self._texts.setdefault(text, text)

    def _shared_terms(self, text: str) -> Terms:
        terms = self._terms.get(text)
        if terms is None:
            terms = self._terms[text] = terms_from_json(text)
        return terms


@lru_cache(maxsize=256)  # most leases of a server have the same
def terms_to_json(terms: Terms) -> str:
    """``terms`` in one line of JSON, without the parts that are not set."""
    parts = {
        "server": str(terms.server),
        "lease_time": _duration_to_json(terms.lease_time),
        "renewal_time": _duration_to_json(terms.renewal_time),
        "rebinding_time": _duration_to_json(terms.rebinding_time),
        "subnet_mask": str(terms.subnet_mask) if terms.subnet_mask is not None else None,
        "routers": [str(router) for router in terms.routers] or None,
        "dns_servers": [str(server) for server in terms.dns_servers] or None,
        "ntp_servers": [str(server) for server in terms.ntp_servers] or None,
        "domain": terms.domain,
        "mtu": terms.mtu,
        "static_routes": [[str(to), str(via)] for to, via in terms.static_routes] or None,
    }
    return _compact({name: part for name, part in parts.items() if part is not None})


def terms_from_json(text: str) -> Terms:
    """What ``terms_to_json`` wrote. Raises ValueError or KeyError for anything else."""
    parts: dict[str, Any] = json.loads(text)
    mask = parts.get("subnet_mask")
    return Terms(
        server=IPv4Address(parts["server"]),
        lease_time=_duration(parts["lease_time"]),
        renewal_time=_optional_duration(parts.get("renewal_time")),
        rebinding_time=_optional_duration(parts.get("rebinding_time")),
        subnet_mask=IPv4Address(mask) if mask is not None else None,
        routers=_addresses(parts.get("routers", ())),
        dns_servers=_addresses(parts.get("dns_servers", ())),
        ntp_servers=_addresses(parts.get("ntp_servers", ())),
        domain=parts.get("domain"),
        mtu=parts.get("mtu"),
        static_routes=tuple(
            (IPv4Network(to), IPv4Address(via)) for to, via in parts.get("static_routes", ())
        ),
    )


def reservations_to_json(reservations: tuple[ReservedAddress, ...]) -> str:
    """``reservations`` as a JSON array, in their order."""
    return _compact(
        [
            {"address": str(held.address), "purpose": held.purpose.value, "count": held.count}
            for held in reservations
        ]
    )


def reservations_from_json(text: str) -> tuple[ReservedAddress, ...]:
    """What ``reservations_to_json`` wrote. Raises ValueError or KeyError for anything else."""
    return tuple(
        ReservedAddress(
            address=_address(held["address"]),
            purpose=Purpose(held["purpose"]),
            count=held["count"],
        )
        for held in json.loads(text)
    )


def _compact(value: object) -> str:
    return json.dumps(value, separators=(",", ":"))


def to_microseconds(instant: datetime) -> int:
    """``instant`` as stores keep it: since 1970, in UTC."""
    return (instant - _EPOCH) // _MICROSECOND


def _optional_microseconds(instant: datetime | None) -> int | None:
    return None if instant is None else to_microseconds(instant)


def from_microseconds(microseconds: int) -> datetime:
    """What ``to_microseconds`` made."""
    return _EPOCH + timedelta(microseconds=microseconds)


def _optional_instant(microseconds: int | None) -> datetime | None:
    return None if microseconds is None else from_microseconds(microseconds)


def _duration_to_json(duration: timedelta | None) -> int | str | None:
    if duration is None:
        return None
    return _FOREVER if duration == timedelta.max else duration // _MICROSECOND


def _duration(value: int | str) -> timedelta:
    return timedelta.max if value == _FOREVER else timedelta(microseconds=int(value))


def _optional_duration(value: int | str | None) -> timedelta | None:
    return None if value is None else _duration(value)


def _address(text: str) -> Address:
    return IPv6Address(text) if ":" in text else IPv4Address(text)


def _addresses(texts: Sequence[str]) -> tuple[IPv4Address, ...]:
    return tuple(IPv4Address(text) for text in texts)


def _mac(text: str) -> MacAddress:
    return MacAddress(bytes.fromhex(text.replace(":", "")))
