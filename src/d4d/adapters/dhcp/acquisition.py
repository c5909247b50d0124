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
from d4d.domain.leases import Endpoint, MacAddress
from d4d.domain.pools import Address, Pool
from d4d.domain.ports.allocator import EventKind
from d4d.domain.reservations import OperatorReservation, Reserved

Probe = Callable[[IPv4Address, MacAddress], Awaitable[MacAddress | None]]
"""Who but this MAC answers for the address; None is nobody."""

Report = Callable[[EventKind, IPv4Address, str], None]
"""Takes what an operator should know of an address that we could not take."""

_DECLINES = 5  # addresses that turn out to be another's, before we give up
_STEPS = 16  # addresses that we ask for, one after the other, of an --ip-range or near an offer
_NEAR = 4  # of them on each side of an offer, before those that are farther and farther away
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
        endpoint: Endpoint,
        reserved: Reserved,
    ) -> None:
        """``reserved`` is what an operator reserved where the pool is."""
        self._endpoint = endpoint
        self._reserved = reserved
        own = reserved.of(endpoint)
        self._own = own.address if own is not None else None
        self._passed_over: list[IPv4Address] = []
        exchange.passes_over = self._passes_over
        self._pool = pool
        self._client = client
        self._exchange = exchange
        self._taken = taken
        self._probe = probe
        self._report = report
        self._probing: tuple[IPv4Address, asyncio.Task[MacAddress | None]] | None = None
        self._declined: dict[IPv4Address, str] = {}
        self._exactly: IPv4Address | None = None
        """What ``--ip`` asks for."""

    async def run(self, address: IPv4Address | None, hint: IPv4Address | None) -> Grant:
        """The grant of ``address``, or of any that will do, ``hint`` first. Raises NoAddress."""
        self._exactly = address
        try:
            for requested in self._wishes(address, hint):
                exactly = requested is not None and requested in (address, self._own)
                grant = await self._ask(requested, exactly=exactly)
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
            raise NoAddress(self._failure())
        finally:
            self._stop_probing()

    def offered(self, address: IPv4Address) -> bool:
        """Probe for an address as soon as it is offered, beside the exchange.

        Returns whether it may be had: another here may have it.
        """
        self._stop_probing()
        if self._is_taken(address):
            return False
        if self._probe is not None:
            probe = self._probe(address, self._client.identity.chaddr)
            self._probing = (address, asyncio.ensure_future(probe))
        return True

    def silence(self, seconds: float) -> str:
        """What to tell the operator when the deadline of ``seconds`` has passed."""
        name, mac = self._exchange.link, self._client.identity.chaddr
        if self._declined:
            return self._failure()
        if (offered := self._exchange.offered) is not None:
            if self._client.refusal:
                return (
                    f"DHCP server {offered.server} on {name} offered {offered.address} to {mac}, "
                    f"but {self._client.refusal}, and gave nothing else within {seconds:g} s: see "
                    f"its log, and whether two servers have one range"
                )
            return (
                f"DHCP server {offered.server} on {name} offered {offered.address} to {mac}, but "
                f"did not acknowledge the DHCPREQUEST for it within {seconds:g} s: see its log"
            )
        if self._exchange.refused:
            return self._failure()
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
        own = self._own
        if isinstance(own, IPv4Address) and not self._is_taken(own):
            yield own
        if hint not in (None, own) and self._is_wanted(hint) and not self._is_taken(hint):
            yield hint
        if self._pool.range is not None:
            yield from islice(self._candidates(), _STEPS)
            return
        while not self._passed_over:
            yield None
        yield from islice(self._neighbours(self._passed_over[0]), _STEPS)

    def _neighbours(self, offered: IPv4Address) -> Iterator[IPv4Address]:
        """Addresses that the server may have instead of one that is kept for another.

        It would offer that one again: it must be asked for another, and where its range lies it
        does not say.
        """
        network, here = self._pool.assignable, int(offered)
        first, last = int(network.network_address), int(network.broadcast_address)
        for numbers in (range(here + 1, last + 1), range(here - 1, first - 1, -1)):
            yield from islice(filter(self._may_ask, map(IPv4Address, numbers)), _NEAR)
        for distance in (2 * _NEAR << doubling for doubling in range(network.max_prefixlen)):
            for number in (here + distance, here - distance):
                if first <= number <= last and self._may_ask(IPv4Address(number)):
                    yield IPv4Address(number)

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
            if self._may_ask(candidate):
                yield candidate

    def _may_ask(self, address: IPv4Address) -> bool:
        """Whether it is of use to ask for ``address``: not if that was done before."""
        is_tried = address in self._declined or address == self._own
        return not is_tried and self._is_wanted(address) and not self._is_taken(address)

    def _is_wanted(self, address: IPv4Address) -> bool:
        is_of_pool = address in self._pool.assignable and not self._pool.is_edge(address)
        return is_of_pool and self._kept(address) is None

    def _is_taken(self, address: Address) -> bool:
        """Whether the server should hear that ``address`` is in use: a DHCPDECLINE."""
        found = self._reserved.against(address, self._endpoint)
        return address in self._taken or (found is not None and found.is_for_nobody)

    def _kept(self, address: Address) -> OperatorReservation | None:
        """Whom ``address`` is kept for, if for another, who must find it free at the server."""
        found = self._reserved.against(address, self._endpoint)
        return found if found is not None and not found.is_for_nobody else None

    def _passes_over(self, address: IPv4Address) -> bool:
        if self._kept(address) is None:
            return False
        self._passed_over.append(address)
        return True

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
        if self._is_taken(address):
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

    def _failure(self) -> str:
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
        kept = filter(None, map(self._kept, dict.fromkeys(self._passed_over)))
        if self._exactly is None and self._passed_over:
            return (
                f"the DHCP server on {name} has no address for {mac} but what is kept for others: "
                f"{'; '.join(map(str, kept))}. Give its range more addresses, or take a "
                f"reservation away with d4d unreserve"
            )
        if self._exactly is not None:
            return (
                f"{self._exactly} can't be had: {mac} asked for it on {name} and was offered "
                f"{offers}. It may be leased to another client, or outside the server's range: "
                f"choose an address that is free, or leave --ip out"
            )
        return (
            f"no address of {self._pool.assignable} can be had: {mac} asked on {name} and was "
            f"offered {offers}. Make the server's range and --subnet or --ip-range overlap"
        )
