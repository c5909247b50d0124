"""How one address is got from a DHCP server: what is asked for, what is taken, what is declined."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterator
from functools import partial
from ipaddress import IPv4Address
from itertools import islice

from d4d.adapters.dhcp.exchange import Exchange
from d4d.domain.dhcp.client import Client
from d4d.domain.dhcp.effects import Grant
from d4d.domain.errors import LinkDown, NoAddress
from d4d.domain.leases import MacAddress
from d4d.domain.pools import Address, Pool
from d4d.domain.ports import EventKind

Probe = Callable[[IPv4Address, MacAddress], Awaitable[MacAddress | None]]
"""Who but this MAC answers for the address; None is nobody."""

Report = Callable[[EventKind, IPv4Address, str], None]
"""Takes what an operator should know of an address that we could not take."""

_DECLINES = 5  # addresses that turn out to be another's, before we give up
_STEPS = 16  # addresses of an --ip-range that we ask for, one after the other
_LINGER = 1.0  # seconds for another server's offer, where the first is not what --ip asks for


class Acquisition:
    """One container's way to an address of ``pool``."""

    def __init__(
        self,
        *,
        pool: Pool,
        client: Client,
        exchange: Exchange,
        taken: Collection[Address],
        probe: Probe | None,
        report: Report,
    ) -> None:
        self._pool = pool
        self._client = client
        self._exchange = exchange
        self._taken = taken
        self._probe = probe
        self._report = report
        self._probing: tuple[IPv4Address, asyncio.Task[MacAddress | None]] | None = None
        self._declined: dict[IPv4Address, str] = {}

    async def run(self, address: IPv4Address | None, hint: IPv4Address | None) -> Grant:
        """The grant of ``address``, or of any that will do, ``hint`` first. Raises NoAddress."""
        try:
            for requested in self._wishes(address, hint):
                grant = await self._ask(requested, exactly=address is not None)
                if grant is None:
                    continue
                reason = await self._reason_against(grant.address)
                if reason is None:
                    return grant
                self._declined[grant.address] = reason
                self._exchange.decline()
                self._report(EventKind.DECLINED, grant.address, reason)
                if len(self._declined) == _DECLINES:
                    break
            raise NoAddress(self._failure(address))
        finally:
            self._stop_probing()

    def offered(self, address: IPv4Address) -> None:
        """Probe for an address as soon as it is offered, beside the exchange."""
        self._stop_probing()
        if self._probe is not None and address not in self._taken:
            probe = self._probe(address, self._client.identity.chaddr)
            self._probing = (address, asyncio.ensure_future(probe))

    def silence(self, seconds: float) -> str:
        """What to tell the operator when the deadline of ``seconds`` has passed."""
        name, mac = self._exchange.link, self._client.identity.chaddr
        if self._declined:
            return self._failure(None)
        if (offered := self._exchange.offered) is not None:
            return (
                f"DHCP server {offered.server} on {name} offered {offered.address} to {mac}, but "
                f"did not acknowledge the DHCPREQUEST for it within {seconds:g} s: see its log"
            )
        if self._exchange.refused:
            return self._failure(None)
        asked = ", ".join(map(str, self._client.servers)) or "any server"
        return (
            f"no DHCP server answered {mac} on {name} within {seconds:g} s (DHCPDISCOVER to "
            f"{asked}): check that a server serves {self._pool.subnet} there and has addresses "
            f"left, and that no switch or firewall keeps UDP ports 67 and 68 from it"
        )

    def _wishes(
        self, address: IPv4Address | None, hint: IPv4Address | None
    ) -> Iterator[IPv4Address | None]:
        """What to ask for (option 50), try by try; None leaves the choice to the server."""
        if address is not None:
            yield address
            return
        if hint is not None and self._is_wanted(hint) and hint not in self._taken:
            yield hint
        if self._pool.range is not None:
            yield from islice(self._candidates(), _STEPS)
            return
        while True:
            yield None

    def _candidates(self) -> Iterator[IPv4Address]:
        """Addresses of the --ip-range that may be free.

        A server knows nothing of the range: it must be asked for one address of it after the
        other. Each MAC begins elsewhere, so that containers and hosts don't all ask for the same.
        """
        addresses = self._pool.assignable
        size = addresses.num_addresses
        begin = int.from_bytes(self._client.identity.chaddr, "big") * 0x9E3779B1 % size
        for offset in range(size):
            candidate = addresses[(begin + offset) % size]
            assert isinstance(candidate, IPv4Address)
            if candidate in self._taken or self._pool.is_edge(candidate):
                continue
            if candidate not in self._declined:
                yield candidate

    def _is_wanted(self, address: IPv4Address) -> bool:
        return address in self._pool.assignable and not self._pool.is_edge(address)

    async def _ask(self, requested: IPv4Address | None, *, exactly: bool) -> Grant | None:
        linger = None
        if exactly:
            linger = _LINGER
        elif self._pool.range is not None:
            linger = 0.0
        accepts = requested.__eq__ if exactly else self._is_wanted
        begin = partial(self._client.start, requested=requested, accepts=accepts)
        return await self._exchange.run(begin, linger=linger)

    async def _reason_against(self, address: IPv4Address) -> str | None:
        if address in self._taken:
            return "reserved, or leased to another container, here"
        if self._probing is None or self._probing[0] != address:
            return None
        try:
            stranger = await self._probing[1]
        except LinkDown:
            return None  # the exchange says so, if it matters
        if stranger is None:
            return None
        self._report(EventKind.CONFLICT, address, f"{stranger} answers ARP for it")
        return f"{stranger} answers ARP for it"

    def _stop_probing(self) -> None:
        if self._probing is not None:
            self._probing[1].cancel()
            self._probing = None

    def _failure(self, address: IPv4Address | None) -> str:
        name, mac, refused = (
            self._exchange.link,
            self._client.identity.chaddr,
            self._exchange.refused,
        )
        offers = ", ".join(
            dict.fromkeys(f"{each.address} by {each.terms.server}" for each in refused[-8:])
        )
        declined = ", ".join(f"{each} ({why})" for each, why in self._declined.items())
        if declined:
            return (
                f"what the DHCP server on {name} gave to {mac} is in use, and was declined: "
                f"{declined}. Take these addresses out of the server's range"
            )
        if address is not None:
            return (
                f"{address} can't be had: {mac} asked for it on {name} and was offered {offers}. "
                f"It may be leased to another client, or outside the server's range: choose an "
                f"address that is free, or leave --ip out"
            )
        return (
            f"no address of {self._pool.assignable} can be had: {mac} asked on {name} and was "
            f"offered {offers}. Make the server's range and --subnet or --ip-range overlap"
        )
