"""Who else uses an address: asked before it is handed out, watched for while it is held."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from ipaddress import IPv4Address, IPv4Network
from typing import Protocol

from d4d.adapters.dhcp.strangers import Allowed, Strangers
from d4d.domain.addressing import MacAddress
from d4d.domain.errors import LinkDown
from d4d.domain.leases import Lease


class ArpMonitor(Protocol):
    """Who answers ARP on one parent interface."""

    async def probe(
        self, address: IPv4Address, *, chaddr: MacAddress, wait: timedelta
    ) -> MacAddress | None:
        """The MAC, other than ``chaddr``, that answers within ``wait``. Raises LinkDown."""

    def open_soon(self) -> None:
        """Listen from now on, or when the interface is there."""

    def close(self) -> None:
        """Let go of the socket."""


class Kept(Protocol):
    """A lease that is kept alive."""

    @property
    def lease(self) -> Lease:
        """What it is by now."""


OwnerOf = Callable[[IPv4Address], MacAddress | None]
OnConflict = Callable[[IPv4Address, MacAddress], None]
MakeWatch = Callable[[str, OwnerOf, OnConflict], ArpMonitor]


@dataclass(frozen=True, slots=True, kw_only=True)
class Others:
    """What was heard when a stranger's MAC was looked for at other addresses."""

    same: tuple[IPv4Address, ...] = ()
    """It answered for these, too."""
    nobodys: tuple[IPv4Address, ...] = ()
    """Nobody answered for these."""


class Wire:
    """Who uses which address on one parent, and what may be declined there."""

    def __init__(self, watch: ArpMonitor, strangers: Strangers, *, wait: timedelta) -> None:
        self._watch = watch
        self._strangers = strangers
        self._wait = wait

    async def probe(self, address: IPv4Address, chaddr: MacAddress) -> MacAddress | None:
        """Who but this MAC answers for the address; None is nobody. Raises LinkDown."""
        mac = await self._watch.probe(address, chaddr=chaddr, wait=self._wait)
        if mac is not None:
            self._strangers.heard(mac, address)
        return mac

    async def others(
        self, mac: MacAddress, address: IPv4Address, *, chaddr: MacAddress, subnet: IPv4Network
    ) -> Others:
        """Whether ``mac``, which answers for ``address``, does so for other addresses as well.

        All are asked for at once, now: it takes as long as one probe.
        """
        controls = self._strangers.controls(mac, address, subnet)
        answers = await asyncio.gather(*(self._answer(each, chaddr) for each in controls))
        heard = dict(zip(controls, answers, strict=True))
        return Others(
            same=tuple(each for each, by in heard.items() if by == mac),
            nobodys=tuple(each for each, by in heard.items() if by is None),
        )

    async def _answer(self, address: IPv4Address, chaddr: MacAddress) -> MacAddress | None:
        try:
            return await self._watch.probe(address, chaddr=chaddr, wait=self._wait)
        except LinkDown:
            return None  # nothing is proved; the exchange says so, if it matters

    def may_decline(self, mac: MacAddress) -> Allowed:
        """Whether to decline what ``mac`` uses; YES counts as done."""
        return self._strangers.may_decline(mac, asyncio.get_running_loop().time())


class ConflictDetector:
    """One watch for each parent, and the leases on its wire."""

    def __init__(
        self, make_watch: MakeWatch, *, wait: timedelta, report: Callable[[Lease, str], None]
    ) -> None:
        """Probe for ``wait``, or nobody and nothing where it is 0."""
        self._make_watch = make_watch
        self._wait = wait
        self._report = report
        self._watches: dict[str, ArpMonitor] = {}
        self._strangers: dict[str, Strangers] = {}
        self._kept: dict[str, dict[IPv4Address, Kept]] = {}

    def on(self, parent: str | None) -> Wire | None:
        """What asks who uses an address, where that is wanted and there is a parent."""
        watch = self._watch(parent)
        if watch is None or parent is None:
            return None
        strangers = self._strangers.setdefault(parent, Strangers())
        return Wire(watch, strangers, wait=self._wait)

    def watch_over(self, parent: str | None, kept: Kept) -> None:
        """Report who claims the address of ``kept`` on ``parent``, other than its container."""
        watch, address = self._watch(parent), kept.lease.address
        if watch is not None and parent is not None and isinstance(address, IPv4Address):
            self._kept[parent][address] = kept
            watch.open_soon()

    def let_go(self, parent: str | None, lease: Lease) -> None:
        """The address of ``lease`` is no longer ours to watch."""
        if parent in self._kept and isinstance(lease.address, IPv4Address):
            self._kept[parent].pop(lease.address, None)

    def close(self) -> None:
        """Stop watching."""
        for watch in self._watches.values():
            watch.close()
        self._watches.clear()

    def _watch(self, parent: str | None) -> ArpMonitor | None:
        if parent is None or not self._wait:
            return None
        if parent not in self._watches:
            here = self._kept.setdefault(parent, {})

            def ours(address: IPv4Address) -> MacAddress | None:
                kept = here.get(address)
                return kept.lease.endpoint.mac if kept else None

            def stranger(address: IPv4Address, mac: MacAddress) -> None:
                if kept := here.get(address):
                    told = f"{mac} on {parent} claims it by ARP: two hosts use it"
                    self._report(kept.lease, told)

            self._watches[parent] = self._make_watch(parent, ours, stranger)
        return self._watches[parent]
