"""ARP for IPv4 over Ethernet (RFC 826), and what its frames say of an address (RFC 5227).

All is at fixed offsets. Ethernet's own source is not looked at: a repeater may have rewritten it,
whereas neighbours believe the sender's MAC in the ARP part.
"""

from collections.abc import Callable
from ipaddress import IPv4Address
from typing import NamedTuple

from d4d.domain.addressing import MacAddress

_BROADCAST = b"\xff" * 6
_NOTHING, _NO_MAC = bytes(4), bytes(6)
_REQUEST = bytes.fromhex("0806 0001 0800 06 04 0001")
_REPLY = bytes.fromhex("0806 0001 0800 06 04 0002")
_KINDS = {_REQUEST, _REPLY}
_LENGTH = 42


class ArpClaim(NamedTuple):
    """A MAC says that an address is its own, or asks before it takes it."""

    mac: bytes
    address: bytes
    """Four bytes: what it is compared with is seldom there, so that nothing is built to look."""
    probing: bool


def probe_frame(address: IPv4Address, *, sender: bytes) -> bytes:
    """An ARP probe: who has ``address``? It names no sender's address, and fills no caches."""
    head = _BROADCAST + sender + _REQUEST
    return head + sender + _NOTHING + _NO_MAC + address.packed


def read_claim(frame: bytes) -> ArpClaim | None:
    """What an Ethernet frame claims; None where it is not ARP, or claims nothing.

    A reply or request claims its sender's address. A probe is a request from 0.0.0.0.
    """
    if len(frame) < _LENGTH or frame[12:22] not in _KINDS:
        return None
    address = frame[28:32]
    if address != _NOTHING:
        return ArpClaim(frame[22:28], address, False)
    if frame[12:22] == _REQUEST:
        return ArpClaim(frame[22:28], frame[38:42], True)
    return None


def answers(claim: ArpClaim, *, chaddr: MacAddress, parent: bytes) -> bool:
    """Whether the claim on a probed address says that it is another's than ``chaddr``'s.

    ``parent`` is the MAC that we probe from: a network that echoes our probes proves nothing.
    """
    return claim.mac not in (chaddr, parent)


def conflicts(
    claim: ArpClaim, *, ours: MacAddress, parent: bytes, hosted: Callable[[], bool]
) -> bool:
    """Whether somebody but ``ours``, who leased the claimed address, says that it is his.

    A probe only asks, and the container's own kernel defends the address. The parent's MAC is a
    stranger's only where ``hosted()`` says that the host has the address itself: else the host
    answers for its container (proxy ARP), or shares its MAC with it (ipvlan, passthru).
    """
    if claim.probing or claim.mac == ours:
        return False
    return claim.mac != parent or hosted()
