"""How one address is got from a DHCP server: what is asked for, what is taken, what is declined.

A DHCPDECLINE costs the site an address for a day or so. So only what a stranger was heard to use is
declined, within the budget of strangers.py, and never for a MAC that answers for other addresses as
well: a router with proxy ARP answers for all. What is not declined is given back by a DHCPRELEASE,
and what is ours or kept here is not asked for at all; then the server is asked for a neighbour of
it. All this has a bound in tries, and a pace: so an address that is offered again ends it.
"""

import asyncio
from collections.abc import Callable, Iterator
from functools import partial
from ipaddress import IPv4Address, IPv4Network
from itertools import islice

from d4d.adapters.dhcp.conflict_detection import Others, Wire
from d4d.adapters.dhcp.exchange import Exchange
from d4d.adapters.dhcp.strangers import EVERY, OF_PARENT, OF_STRANGER, Allowed
from d4d.domain.addressing import Address, MacAddress
from d4d.domain.dhcp.client import Client
from d4d.domain.dhcp.effects import Grant, Refused
from d4d.domain.errors import LinkDown, NoAddress
from d4d.domain.events import EventKind
from d4d.domain.ports.allocator import AllocationRequest
from d4d.domain.verdicts import Verdict

Report = Callable[[EventKind, IPv4Address, str], None]
"""Takes what an operator should know of an address that we could not take."""

_CONFLICTS = 5  # addresses that turn out to be another's, before we give up
_PAUSE = 1.0  # seconds after the first DECLINE, doubled after each: RFC 2131 asks for 10 s
_AGAIN = 5  # times that what we gave back is offered again, though we asked for another
_STEPS = 16  # addresses that we ask for, one after the other, of an --ip-range or near an offer
_NEAR = 4  # of them on each side of an offer, before those that are farther and farther away
_SHOWN = 3  # addresses that a text names
_LINGER = 1.0  # seconds for another server's offer, where the first is not what --ip asks for
_LINGER_IN_RANGE = 0.25  # the same for each of the addresses that we ask for of an --ip-range


class Acquisition:
    """One container's way to an address of ``pool``."""

    def __init__(
        self,
        *,
        request: AllocationRequest,
        client: Client,
        exchange: Exchange,
        wire: Wire | None,
        report: Report,
    ) -> None:
        self._request = request
        self._pool = request.pool
        self._own = request.reserved
        self._passed_over: dict[IPv4Address, str] = {}
        """What the server should name another for, and why."""
        exchange.patience = self._patience
        self._client = client
        self._exchange = exchange
        self._wire = wire
        self._report = report
        self._probing: tuple[IPv4Address, asyncio.Task[MacAddress | None]] | None = None
        self._strangers: dict[IPv4Address, MacAddress] = {}
        """Who uses what the server gave us, or would give us."""
        self._behind: set[IPv4Address] = set()
        """What is of no use to ask for: a stranger of many addresses answers for it."""
        self._nobodys: list[IPv4Address] = []
        """Near such a one, and nobody answered."""
        self._declined: set[IPv4Address] = set()
        self._again: Refused | None = None
        """The offer, in the present try, of what we declined or gave back before."""
        self._times_again = 0
        self._pause = 0.0
        """Seconds before the next try."""
        self._verdict: str | None = None
        """Why it ended, where a stranger is the reason."""
        self._exactly: IPv4Address | None = None
        """What ``--ip`` asks for."""

    async def run(self) -> Grant:
        """The grant of the address asked for, or of any that will do. Raises NoAddress."""
        self._exactly = _v4(self._request.address)
        try:
            for requested in self._wishes():
                await self._rest()
                exactly = requested is not None and requested in (self._exactly, self._own)
                grant = await self._ask(requested, exactly=exactly)
                if grant is None:
                    if self._is_in_vain():
                        break
                    continue
                judgement = self._request.judge(grant.address)
                if not judgement.is_free:  # since we asked for it
                    self._exchange.give_back()
                    self._passed_over[grant.address] = judgement.why
                    continue
                stranger = await self._stranger_at(grant.address)
                if stranger is None:
                    return grant
                if not await self._yield_to(stranger, grant):
                    break
            raise NoAddress(self._failure())
        finally:
            self._stop_probing()

    async def _rest(self) -> None:
        pause, self._pause = self._pause, 0.0
        if pause:
            await asyncio.sleep(pause)

    def offered(self, address: IPv4Address) -> bool:
        """Probe for an address as soon as it is offered, beside the exchange.

        Returns whether it may be had: another here may have it.
        """
        self._stop_probing()
        if not self._request.judge(address).is_free:
            return False
        if self._wire is not None:
            probe = self._wire.probe(address, self._client.identity.chaddr)
            self._probing = (address, asyncio.ensure_future(probe))
        return True

    def silence(self, seconds: float) -> str:
        """What to tell the operator when the deadline of ``seconds`` has passed."""
        name, mac = self._exchange.link, self._client.identity.chaddr
        if self._strangers:
            return self._failure()
        if (offered := self._exchange.offered) is not None:
            if self._client.refusal:
                return (
                    f"DHCP server {offered.server} on {name} offered {offered.address} to {mac}, "
                    f"but {self._client.refusal}, and gave nothing else within {seconds:g} s: see "
                    f"its log, and whether two servers have one range"
                )
            if useless := self._useless():
                return (
                    f"DHCP server {offered.server} on {name} offered {offered.address} to {mac}, "
                    f"but did not acknowledge the DHCPREQUEST for it within {seconds:g} s in a "
                    f"way that D4D understands: {useless}"
                )
            return (
                f"DHCP server {offered.server} on {name} offered {offered.address} to {mac}, but "
                f"did not acknowledge the DHCPREQUEST for it within {seconds:g} s: see its log"
            )
        if self._exchange.refused:
            return self._failure()
        if useless := self._useless():
            return (
                f"no DHCP server gave {mac} on {name} an address within {seconds:g} s, but it was "
                f"not silent there: {useless}"
            )
        asked = ", ".join(map(str, self._client.servers)) or "any server"
        return (
            f"no DHCP server answered {mac} on {name} within {seconds:g} s (DHCPDISCOVER to "
            f"{asked}): check that a server serves {self._pool.subnet} there and has addresses "
            f"left, and that no switch or firewall keeps UDP ports 67 and 68 from it"
        )

    def _useless(self) -> str:
        """The answers that could not be used; empty where there were none.

        Those of servers that we do not ask count where there were no others.
        """
        heard = self._exchange.ignored
        faulty = [each for each in heard if not each.is_foreign] or heard
        return "; ".join(map(str, faulty[:_SHOWN]))

    def _wishes(self) -> Iterator[IPv4Address | None]:
        """What to ask for (option 50), try by try; None leaves the choice to the server."""
        if self._exactly is not None:
            yield self._exactly
            return
        for wish in dict.fromkeys((_v4(self._own), _v4(self._request.hint))):
            if wish is not None and self._request.judge(wish).is_free:
                yield wish
        if self._pool.range is not None:
            yield from islice(self._candidates(), _STEPS)
            return
        while not self._passed_over:
            yield None
        yield from islice(self._instead(), _STEPS)

    def _instead(self) -> Iterator[IPv4Address]:
        """What to ask for instead of what was passed over: what nobody was heard to use, first."""
        neighbours = self._neighbours(next(iter(self._passed_over)))
        while True:
            if self._nobodys:
                address = self._nobodys.pop(0)
                if self._may_ask(address):
                    yield address
            elif (neighbour := next(neighbours, None)) is not None:
                yield neighbour
            else:
                return

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
        is_tried = address == self._own or address in self._behind
        return not is_tried and self._is_usable(address)

    def _is_usable(self, address: IPv4Address) -> bool:
        """Whether an offer of it is taken."""
        return address not in self._strangers and self._request.judge(address).is_free

    def _patience(self, refused: Refused) -> float | None:
        """How long to wait for a better offer after one that is of no use to us.

        What is kept here, or was given back, ends the try: the server has a free address, and must
        be asked for another. After it was declined that is another server's business, if there is
        one.
        """
        address = refused.address
        if address in self._strangers:
            self._again = refused
            return _LINGER if address in self._declined else 0.0
        judgement = self._request.judge(address)
        if judgement.verdict is Verdict.OURS_IN_USE:
            self._request.on_forgotten(address)
        if judgement.is_free or judgement.verdict is Verdict.OUTSIDE:
            return None
        self._passed_over[address] = judgement.why
        return 0.0

    async def _ask(self, requested: IPv4Address | None, *, exactly: bool) -> Grant | None:
        linger = None
        if exactly:
            linger = _LINGER
        elif self._pool.range is not None:
            linger = _LINGER_IN_RANGE
        self._again = None
        accepts = partial(self._is_exactly, requested) if exactly else self._is_usable
        begin = partial(self._client.start, requested=requested, accepts=accepts)
        return await self._exchange.run(begin, linger=linger)

    def _is_exactly(self, requested: IPv4Address | None, address: IPv4Address) -> bool:
        return address == requested and self._request.judge(address).is_free

    async def _stranger_at(self, address: IPv4Address) -> MacAddress | None:
        """Who else was heard to use it."""
        if self._probing is None or self._probing[0] != address:
            return None
        try:
            return await self._probing[1]
        except LinkDown:
            return None  # the exchange says so, if it matters

    async def _yield_to(self, stranger: MacAddress, grant: Grant) -> bool:
        """Decline or release what ``stranger`` uses; returns whether another try is of use."""
        address, said = grant.address, f"{stranger} answers ARP for it"
        wire, subnet = self._wire, self._pool.subnet
        assert wire is not None and isinstance(subnet, IPv4Network)
        self._strangers[address] = stranger
        others = await wire.others(
            stranger, address, chaddr=self._client.identity.chaddr, subnet=subnet
        )
        is_another_of_use = len(self._strangers) < _CONFLICTS
        if others.same:
            self._verdict = self._answers_for_many(stranger, grant, others)
            said = f"{said} and for {_listed(others.same)}: not declined"
            self._behind.update(others.same)
            self._nobodys = list(others.nobodys)
            is_another_of_use = is_another_of_use and bool(others.nobodys)
        elif (allowed := wire.may_decline(stranger)) is Allowed.YES:
            self._declined.add(address)
            self._report(EventKind.CONFLICT, address, said)
            self._exchange.decline()
            self._report(EventKind.DECLINED, address, said)
            self._pause = _PAUSE * 2 ** (len(self._declined) - 1)
            return is_another_of_use
        else:
            self._verdict = self._over_budget(stranger, grant, allowed)
            said = f"{said}: not declined, as too much was declined lately"
            is_another_of_use = is_another_of_use and allowed is Allowed.NOT_FOR_STRANGER
        self._report(EventKind.CONFLICT, address, said)
        self._exchange.give_back()
        self._passed_over[address] = said
        return is_another_of_use

    def _is_in_vain(self) -> bool:
        """Whether the server offered again what it knows to be in use, or goes on doing so."""
        if self._again is None:
            return False
        self._times_again += 1
        if self._again.address in self._declined:
            self._verdict = self._offered_again(self._again)
            return True
        return self._times_again >= _AGAIN

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
        if self._verdict is not None:
            return self._verdict
        if self._strangers:
            used = ", ".join(
                f"{at} ({by} answers ARP for it)" for at, by in self._strangers.items()
            )
            done = "declined" if self._declined else "given back"
            return (
                f"what the DHCP server on {name} gave to {mac} is in use, and was {done}: {used}. "
                f"Take these addresses out of the server's range"
            )
        if self._exactly is None and self._passed_over:
            return (
                f"the DHCP server on {name} has no address for {mac} but what is kept for others: "
                f"{'; '.join(islice(self._passed_over.values(), _STEPS))}. Give its range more "
                f"addresses, or take a reservation away with d4d unreserve"
            )
        if self._exactly in self._passed_over:
            return (
                f"{self._exactly} can't be had: {self._passed_over[self._exactly]}. Choose an "
                f"address that is free, or leave --ip out"
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

    def _answers_for_many(self, stranger: MacAddress, grant: Grant, others: Others) -> str:
        name, mac = self._exchange.link, self._client.identity.chaddr
        return (
            f"{grant.address}, which DHCP server {grant.terms.server} gave to {mac}, can't be "
            f"used: {stranger} on {name} answers ARP for it, and for {_listed(others.same)}. It "
            f"was released, not declined. One MAC address for several is a router with proxy ARP, "
            f"a host with several addresses, or an attack: turn proxy ARP off on that router, or "
            f"have D4D ask nobody with D4D_CONFLICT_PROBE=0s; or take that host's addresses out of "
            f"the server's range"
        )

    def _offered_again(self, again: Refused) -> str:
        name, mac, address = self._exchange.link, self._client.identity.chaddr, again.address
        stranger = self._strangers[address]
        return (
            f"DHCP server {again.terms.server} on {name} offered {address} to {mac} again after it "
            f"was declined, as one does that has it reserved for {mac} or has no other left. But "
            f"{stranger} on {name} answers ARP for {address}: take the host with that MAC address "
            f"off {address}, or change the reservation or the range in the server"
        )

    def _over_budget(self, stranger: MacAddress, grant: Grant, allowed: Allowed) -> str:
        name, mac, minutes = self._exchange.link, self._client.identity.chaddr, round(EVERY / 60)
        whose, size = f"on {name}", OF_PARENT
        if allowed is Allowed.NOT_FOR_STRANGER:
            whose, size = f"on {name} for {stranger}", OF_STRANGER
        return (
            f"{grant.address}, which DHCP server {grant.terms.server} gave to {mac}, is in use: "
            f"{stranger} on {name} answers ARP for it. It was released, not declined: D4D declines "
            f"{size} addresses {whose} and then one in {minutes} min, or anybody could use up the "
            f"server's range. Take the addresses in use out of that range, or the reservation of "
            f"{grant.address} away, or that host off the address"
        )


def _v4(address: Address | None) -> IPv4Address | None:
    assert address is None or isinstance(address, IPv4Address)
    return address


def _listed(addresses: tuple[IPv4Address, ...]) -> str:
    shown = ", ".join(map(str, addresses[:_SHOWN]))
    return shown if len(addresses) <= _SHOWN else f"{shown} and {len(addresses) - _SHOWN} more"
