"""Leases and pools as texts in Redis.

A lease is one value: a line with what the scripts compare, and a line that they only keep.
"""

import json
from datetime import timedelta
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import quote, unquote

from d4d.adapters.stores.lease_codec import (
    BOUND,
    LeaseReader,
    LeaseRow,
    from_microseconds,
    lease_row,
    reservations_from_json,
    reservations_to_json,
    to_microseconds,
)
from d4d.domain.address_selection import MOST_RESTING, AddressClaim
from d4d.domain.addressing import MacAddress, from_number, to_number
from d4d.domain.lease_states import Standing
from d4d.domain.leases import Lease, RenewalForm
from d4d.domain.pools import Pool, PoolId, PoolRecord
from d4d.domain.reservations import Reservation
from d4d.domain.segments import segment_of, window_of

_COMPARED = LeaseRow._fields[: LeaseRow._fields.index("state") + 1]
_KEPT = LeaseRow._fields[len(_COMPARED) :]
_MICROSECOND = timedelta(microseconds=1)
_NOT_SET = (  # of a claim: from renew_at on
    f'{"null," * 5}"{RenewalForm.SELECTING.value}","{Standing.GRANTED.value}"'
)
_encode = json.JSONEncoder(separators=(",", ":")).encode


class Place(NamedTuple):
    """Where the keys of a pool are: its subnet is the hash tag, its parent a part of the names."""

    subnet: str
    parent: str

    @classmethod
    @lru_cache(maxsize=4096)
    def of(cls, pool: PoolId) -> "Place":
        """The place of ``pool``. Raises UnicodeEncodeError."""
        return cls.at(segment_of(pool))

    @classmethod
    @lru_cache(maxsize=4096)
    def at(cls, segment: str) -> "Place":
        """The place of ``segment``. Raises UnicodeEncodeError."""
        subnet, _, parent = segment.partition("?parent=")
        # without braces, which would end the tag, and never empty, which would be none
        return cls(quote(subnet, safe="/:") or "-", parent)


@lru_cache(maxsize=4096)
def token(owner: str) -> str:
    """``owner`` as a part of keys and lines. Raises UnicodeEncodeError."""
    return "@" + quote(owner, safe="")


def owner_of(text: str) -> str:
    """What ``token`` wrote."""
    return unquote(text[1:])


def lease_to_body(lease: Lease) -> str:
    """What is kept of ``lease`` besides what is compared, in one line."""
    row = lease_row(lease)
    if row.client_id is not None:
        row = row._replace(client_id=row.client_id.hex())  # type: ignore[arg-type]  # in JSON it is text
    return _encode(row[len(_COMPARED) :])


def lease_from_value(reader: LeaseReader, pool: str, number: str, value: str) -> Lease:
    """The lease of a stored value. Raises ValueError, KeyError or TypeError if it is damaged."""
    head, _, body = value.partition("\n")
    generation, state, owner = head.split(" ")
    values = json.loads(body)
    if len(values) == len(_KEPT) - 1:  # an older D4D wrote no standing
        values.append(Standing.GRANTED.value)
    kept = dict(zip(_KEPT, values, strict=True))
    if kept["client_id"] is not None:
        kept["client_id"] = bytes.fromhex(kept["client_id"])
    row = LeaseRow(
        pool=pool,
        address=str(from_number(number)),
        owner=owner_of(owner),
        generation=int(generation),
        state=state,
        **kept,
    )
    return reader.read(row)


def reserved_numbers(record: PoolRecord) -> list[str]:
    """The addresses that ``record`` keeps from containers, each once."""
    return [to_number(address) for address in record.reserved]


def record_to_body(record: PoolRecord) -> str:
    """A pool's record, but for its id."""
    return f"{record.users} {record.version} {reservations_to_json(record.reservations)}"


def record_from_value(pool: str, value: str) -> PoolRecord:
    """The record of a stored value. Raises ValueError, KeyError or BadRequest if it is damaged."""
    _, _, body = value.partition("\n")
    users, _, rest = body.partition(" ")
    version, reservations = "0", rest  # as an older D4D wrote it
    if not rest.startswith("["):
        version, _, reservations = rest.partition(" ")
    return PoolRecord(
        pool=Pool.parse(pool),
        users=int(users),
        reservations=reservations_from_json(reservations),
        version=int(version),
    )


def claim_to_text(claim: AddressClaim, steps: int) -> str:
    """What ``claim`` asks for: a line of words that the script reads, and its lease's body.

    ``steps`` is how many addresses one run of the script may pass by. The body is what
    ``lease_to_body`` makes of the lease that comes of it, without that lease.

    Raises BadRequest, UnicodeEncodeError.
    """
    mac, name, at = claim.endpoint.mac, claim.endpoint.name, to_microseconds(claim.at)
    address = to_number(claim.address) if claim.address is not None else ""
    hint = to_number(claim.hint) if claim.hint is not None else ""
    reserved = ",".join(map(to_number, claim.reserved)) if claim.reserved else ""
    return (
        f"{_in_common(claim.pool.id, claim.owner, steps)} "
        f"{at - claim.rest // _MICROSECOND} {address} {hint} ={mac.hex()} "
        f"{token(name) if name else ''} {reserved} {BOUND}\n"
        f'["{mac}",{"null" if name is None else _encode(name)},null,null,{at},{at},{_NOT_SET}]'
    )


@lru_cache(maxsize=4096)
def _in_common(pool: PoolId, owner: str, steps: int) -> str:
    """The first words of all claims of ``owner`` in a pool."""
    first, last = window_of(Pool.parse(pool))
    window = f"{to_number(first)}-{to_number(last)}"
    words = (token(owner), pool, Place.of(pool).parent, window, MOST_RESTING, steps)
    return " ".join(map(str, words))


def reservation_to_parts(reservation: Reservation) -> tuple[str, str]:
    """Whom ``reservation`` is for, which the scripts compare, and what is kept besides."""
    whom = "-"
    if reservation.mac is not None:
        whom = f"={reservation.mac.hex()}"
    elif reservation.name is not None:
        whom = token(reservation.name)
    kept = [to_microseconds(reservation.made_at), reservation.note]
    return whom, json.dumps(kept, separators=(",", ":"))


def reservation_from_value(segment: str, number: str, value: str) -> Reservation:
    """The reservation of a stored value. Raises ValueError or TypeError if it is damaged."""
    whom, _, body = value.partition("\n")
    made_at, note = json.loads(body)
    return Reservation(
        segment=segment,
        address=from_number(number),
        mac=MacAddress(bytes.fromhex(whom[1:])) if whom.startswith("=") else None,
        name=owner_of(whom) if whom.startswith("@") else None,
        note=note,
        made_at=from_microseconds(made_at),
    )


def reservations_from_hash(segment: str, stored: dict[str, str]) -> list[Reservation]:
    """All of a segment's hash, without its fields that tell whose address is which."""
    return [
        reservation_from_value(segment, number, value)
        for number, value in stored.items()
        if number[:1] not in ("=", "@")
    ]
