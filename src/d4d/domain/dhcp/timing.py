"""When to send again, and when a lease is renewed, rebound and over.

RFC 2131 sections 4.1 and 4.4.5.
"""

from collections.abc import Callable
from datetime import datetime, timedelta
from functools import lru_cache
from typing import NamedTuple

from d4d.domain.dhcp.messages import INFINITE

Random = Callable[[], float]
"""A number in [0, 1), as ``random.random`` gives it."""

_FIRST_TIMEOUT = 4.0  # seconds; dnsmasq pings a new address for up to 3.3 s before it offers
_LONGEST_TIMEOUT = 64.0
_LONGEST_ACQUISITION_WAIT = 4
_T1, _T2 = 0.5, 0.875  # of the lease time, section 4.4.5
_T1_FUZZ = 0.1  # leases of one burst renew over a tenth of T1, and never later than T1
_QUARTER = 250_000  # microseconds
_MICROSECOND = timedelta(microseconds=1)
_SHORTEST_WAIT = timedelta(seconds=1)
_LONGEST_SHORTEST_WAIT = timedelta(seconds=60)  # the RFC's minimum, made for leases of hours
_LONGEST_ENDLESS_WAIT = timedelta(hours=1)


LONGEST_SLEEP = timedelta(days=1)
"""A server is asked at least so often, whatever it granted: anybody on the wire can forge an ACK of
an infinite lease."""


def retransmission(sent: int, random: Random) -> timedelta:
    """How long to wait for an answer after having sent ``sent`` times (1 or more).

    4 s, 8 s, 16 s, up to 64 s, and up to 1 s more so that clients drift apart (section 4.1).
    """
    seconds = min(_FIRST_TIMEOUT * 2.0 ** min(sent - 1, 10), _LONGEST_TIMEOUT)
    return timedelta(seconds=seconds + random())


def acquisition_wait(sent: int, random: Random) -> timedelta:
    """As ``retransmission``, while somebody waits for an address, up to half a minute: Docker.

    1, 2, 3, then 4 s, up to a tenth earlier: so a server that comes back, or a message that got
    lost, costs 4 s at most. A server that pings an address before it offers it hears the same
    transaction, which it is at work on.
    """
    return timedelta(seconds=min(sent, _LONGEST_ACQUISITION_WAIT) * (1 - 0.1 * random()))


def renewal_wait(
    now: datetime, until: datetime | None, lease_time: timedelta, *, sent: int
) -> timedelta:
    """How long to wait before a renewing REQUEST, sent ``sent`` times, is sent again.

    Half the time that remains, not below 60 s (section 4.4.5), or a sixtieth of a lease that is
    shorter than an hour. Where none is known to remain, a minute, doubled up to an hour.
    """
    shortest = max(_SHORTEST_WAIT, min(lease_time / 60, _LONGEST_SHORTEST_WAIT))
    if until is None:
        return min(_LONGEST_SHORTEST_WAIT * 2.0 ** min(sent - 1, 10), _LONGEST_ENDLESS_WAIT)
    return min(max((until - now) / 2, shortest), LONGEST_SLEEP)


def _together(at: datetime) -> datetime:
    """The quarter of a second that ``at`` is in: leases that renew in it cost one waking."""
    return at - at.microsecond % _QUARTER * _MICROSECOND


class Times(NamedTuple):
    """The instants of a lease; None is never."""

    renew_at: datetime | None
    rebind_at: datetime | None
    expires_at: datetime | None


def times(
    now: datetime,
    *,
    lease_time: timedelta,
    renewal_time: timedelta | None,
    rebinding_time: timedelta | None,
    random: Random,
) -> Times:
    """T1, T2 and the end of a lease confirmed ``now``.

    Where the server's T1 and T2 are absent, or not 0 < T1 < T2 < lease time, the RFC's fractions
    stand in for them. T1 is a day at most, also of an infinite lease.
    """
    is_infinite = lease_time == INFINITE
    t1, t2 = _t1_and_t2(lease_time, renewal_time, rebinding_time)
    t1 = LONGEST_SLEEP if is_infinite else min(t1, LONGEST_SLEEP)
    fuzz = t1 * _T1_FUZZ
    earliest = now + t1 - fuzz
    return Times(
        renew_at=max(earliest, _together(earliest + fuzz * (1 - random()))),
        rebind_at=None if is_infinite else now + t2,
        expires_at=None if is_infinite else now + lease_time,
    )


@lru_cache(maxsize=256)  # a server says the same with most of its leases
def _t1_and_t2(
    lease_time: timedelta, t1: timedelta | None, t2: timedelta | None
) -> tuple[timedelta, timedelta]:
    if t2 is None or not timedelta(0) < t2 < lease_time:
        t2 = lease_time * _T2
    if t1 is None or not timedelta(0) < t1 < t2:
        t1 = min(lease_time * _T1, t2 * _T1 / _T2)
    return t1, t2
