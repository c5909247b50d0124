"""Judges what DHCP servers said, or that none did."""

from collections.abc import Iterator, Sequence
from datetime import timedelta

from d4d.adapters.dhcp.server_probe import Offer, ProbeResult
from d4d.doctor import catalogue
from d4d.doctor.facts import HostFacts, ProbedNetwork
from d4d.doctor.findings import Finding

_SHORTEST_LEASE = timedelta(seconds=60)


def summary(facts: HostFacts) -> str:
    """Who answered where."""
    if facts.probed is None:
        return "not known"
    if not facts.probed:
        return "not asked: there is nowhere to ask, or no network needs one"
    return "; ".join(f"{_way(each.probed)}: {_servers(each.probed)}" for each in facts.probed)


def judge(facts: HostFacts) -> Iterator[Finding]:
    """What is wrong with the servers, or the way to them."""
    ways = facts.probed or ()
    for way in ways:
        if way.probed.error is not None:
            yield catalogue.DHCP_NOT_ASKED.found(way.probed.error)
    asked = [way for way in ways if way.probed.error is None]
    for way in asked:
        for useless in way.probed.useless:
            yield catalogue.DHCP_USELESS.found(f"{_way(way.probed)}: {useless}")
    silent = [way for way in asked if not way.probed.offers and not way.probed.useless]
    wanted = [way for way in silent if way.is_wanted]
    for way in wanted:
        yield _silence([way])
    nobody = bool(silent) and silent == asked
    if nobody and not wanted:
        yield _silence(silent)
    if (nobody or wanted) and facts.driver is not None and facts.driver.port_67:
        owners = ", ".join(map(str, facts.driver.port_67))
        yield catalogue.DHCP_SERVER_HERE.found(
            f"{owners} has UDP port 67 of this host, and no server answers on the wire"
        )
    is_served = any(map(_taken, asked))
    for way in asked:
        if way.probed.offers:
            yield from _judge_offers(way, is_needed=way.is_wanted or not is_served)


def _silence(ways: Sequence[ProbedNetwork]) -> Finding:
    names = ", ".join(_way(way.probed) for way in ways)
    parent = ways[0].probed.parent or "any"
    return catalogue.DHCP_SILENT.found(f"no DHCP server answers on {names}", parent=parent)


def _taken(way: ProbedNetwork) -> list[Offer]:
    """The offers that D4D would take."""
    offers = way.probed.offers
    return [each for each in offers if not way.servers or str(each.terms.server) in way.servers]


def _judge_offers(way: ProbedNetwork, *, is_needed: bool) -> Iterator[Finding]:
    """``is_needed`` says whether D4D has to find a server there."""
    where, offers, taken = _way(way.probed), way.probed.offers, _taken(way)
    if not taken and is_needed:
        yield catalogue.DHCP_NAMED_SILENT.found(
            f"{_servers(way.probed)} answers on {where}, but of {', '.join(way.servers)}, whose "
            "offers alone are taken, nobody does"
        )
    if len(offers) > 1 and not way.servers:
        told = ", ".join(
            f"{offer.terms.server} ({offer.server_mac or 'MAC unknown'}) offers {offer.address}"
            for offer in offers
        )
        yield catalogue.DHCP_SEVERAL.found(
            f"{len(offers)} DHCP servers answer on {where}, and D4D_DHCP_SERVER names none: {told}"
        )
    for offer in taken:
        if offer.terms.lease_time < _SHORTEST_LEASE:
            yield catalogue.DHCP_LEASE_SHORT.found(
                f"DHCP server {offer.terms.server} on {where} gives leases of "
                f"{offer.terms.lease_time.total_seconds():g} s"
            )


def _way(probed: ProbeResult) -> str:
    return probed.relay or str(probed.parent)


def _servers(probed: ProbeResult) -> str:
    if probed.error is not None:
        return "could not be asked"
    return ", ".join(str(offer.terms.server) for offer in probed.offers) or "nobody"
