"""What a container's request comes to, given what is held: a table, in the order of its rows.

Docker repeats requests, restarts containers with a new MAC, gives a name to another container and
asks again before a server has heard of a release. Which of these it is shows in what is held here.
A name takes over only what Docker gave back; what a server may have heard of as released is only
taken back with that server's word.
"""

from dataclasses import dataclass
from datetime import datetime

from d4d.domain.addressing import Address
from d4d.domain.lease_states import Standing, Use
from d4d.domain.leases import Endpoint, Lease
from d4d.domain.verdicts import Judge


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One request, and what is held of who asks."""

    endpoint: Endpoint
    address: Address | None
    """What ``--ip`` names."""
    by_mac: Lease | None
    """The lease by which the MAC is best known: one in use, else the newest."""
    by_name: Lease | None
    """The same of the name."""
    reserved: Address | None
    """What an operator keeps for this container."""
    judge: Judge
    now: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """It has this lease, and asks for it once more."""

    lease: Lease


@dataclass(frozen=True, slots=True, kw_only=True)
class TakeBack:
    """It gave this lease back, and no server has heard of it yet."""

    lease: Lease


@dataclass(frozen=True, slots=True, kw_only=True)
class Acquire:
    """It gets a new lease."""

    hint: Address | None = None
    """What it had before, if it may have it again."""
    instead_of: Lease | None = None
    """What it had before, and is kept alive no longer: a server must not hear two of one client."""
    is_moved: bool = False
    """Whether that is given back at once: its address is no longer this container's to have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refuse:
    """It can't have what it asks for."""

    why: str


Decision = Answer | TakeBack | Acquire | Refuse


def decide(asked: Asked) -> Decision:
    """The first row that fits."""
    own = asked.by_mac
    if own is not None and own.is_live:
        return _of_its_own(asked, own)
    gone = _given_back(asked)
    if gone is None:
        return Acquire()
    if gone.use is Use.FREED:
        return Acquire(hint=_hint(asked, gone))
    if asked.address not in (None, gone.address):
        return Acquire(instead_of=gone)
    if asked.reserved not in (None, gone.address) or not asked.judge(gone.address).is_free:
        return Acquire(instead_of=gone, is_moved=True)
    if gone.standing is not Standing.GRANTED or _has_expired(gone, asked.now):
        return Acquire(instead_of=gone, hint=gone.address)
    return TakeBack(lease=gone)


def _of_its_own(asked: Asked, own: Lease) -> Decision:
    """This MAC has a lease that Docker uses."""
    endpoint, name = asked.endpoint, own.endpoint.name
    if endpoint.name and name and name != endpoint.name:
        return Refuse(
            why=f"MAC {endpoint.mac} of {endpoint.name} is {name}'s, which has {own.address} by "
            f"it: give one of them another --mac-address"
        )
    if own.standing is Standing.LOST:
        return Acquire(instead_of=own)
    if asked.address in (None, own.address):
        return Answer(lease=own)
    return Refuse(
        why=f"{endpoint} has {own.address} there, and can't have {asked.address} at the same "
        f"time: release {own.address} first"
    )


def _given_back(asked: Asked) -> Lease | None:
    """What Docker gave back of this container: by its MAC, else by its name; released first."""
    known = [each for each in (asked.by_mac, asked.by_name) if each is not None]
    gone = [each for each in known if not each.is_live]
    released = [each for each in gone if each.use is Use.RELEASED]
    by_name = [each for each in gone if each is asked.by_name]
    return next(iter([*released, *by_name, *gone]), None)


def _hint(asked: Asked, gone: Lease) -> Address | None:
    return gone.address if asked.judge(gone.address).is_free else None


def _has_expired(lease: Lease, now: datetime) -> bool:
    return lease.expires_at is not None and lease.expires_at <= now
