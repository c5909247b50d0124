"""Which other machine answers ARP for an address of this host."""

import socket
import time
from collections.abc import Collection
from contextlib import closing
from ipaddress import IPv4Address

from d4d.adapters.network.arp_frame import probe_frame, read_claim
from d4d.adapters.network.bpf import arp_filter
from d4d.adapters.network.packet_socket import mac_of, open_tap
from d4d.domain.addressing import MacAddress
from d4d.domain.errors import LinkDown

_TRIES, _WAIT = 3, 0.5  # seconds after each
_LONGEST_FRAME = 2048


def other_with(
    interface: str, address: IPv4Address, *, own: Collection[MacAddress]
) -> MacAddress | None:
    """The MAC that answers for ``address`` on ``interface`` and is none of our ``own``.

    None where nobody answers within a second and a half. It waits, and must not be called where an
    event loop runs. Raises LinkDown.
    """
    try:
        with closing(open_tap(interface, arp_filter())) as tap:
            tap.setblocking(True)
            for _ in range(_TRIES):
                tap.send(probe_frame(address, sender=mac_of(tap, interface)))
                answer = _answer(tap, address, own)
                if answer is not None:
                    return answer
    except OSError as error:
        raise LinkDown(
            f"can't ask by ARP on {interface} who has {address}: {error.strerror}"
        ) from error
    return None


def _answer(
    tap: socket.socket, address: IPv4Address, own: Collection[MacAddress]
) -> MacAddress | None:
    deadline = time.monotonic() + _WAIT
    while (left := deadline - time.monotonic()) > 0:
        tap.settimeout(left)
        try:
            claim = read_claim(tap.recv(_LONGEST_FRAME))
        except TimeoutError:
            return None
        if claim is None or claim.probing or claim.address != address.packed:
            continue
        mac = MacAddress(claim.mac)
        if mac not in own:
            return mac
    return None
