"""Judges the interfaces that networks stand on."""

from collections.abc import Iterator

from d4d.doctor import catalogue
from d4d.doctor.collectors.links import HostLink
from d4d.doctor.facts import HostFacts
from d4d.doctor.findings import Finding

_LEAST_MTU = 576  # RFC 2131 section 2: what a client must be able to take


def summary(facts: HostFacts) -> str:
    """The parents in use, or those that there could be."""
    if facts.links is None:
        return "not known"
    if facts.parents:
        return "in use: " + ", ".join(facts.parents)
    candidates = [link.name for link in facts.links if link.may_be_parent]
    return f"none is in use; there could be: {', '.join(candidates) or 'none'}"


def judge(facts: HostFacts) -> Iterator[Finding]:
    """What keeps containers from the wire."""
    if facts.links is None:
        return
    links = {link.name: link for link in facts.links}
    needs_one = facts.settings.allocator == "dhcp" and not (facts.is_relaying or facts.parents)
    if needs_one and not any(link.may_be_parent for link in facts.links):
        yield catalogue.NO_PARENT.found(
            f"no interface is an Ethernet that is up and has carrier: there are {', '.join(links)}"
        )
    for name, reasons in facts.parents.items():
        wanted_by = ", ".join(reasons)
        if name in links:
            yield from _judge_link(links[name], wanted_by)
        else:
            yield catalogue.PARENT_MISSING.found(
                f"there is no interface {name} ({wanted_by}): there are {', '.join(links)}",
                parent=name,
            )
    yield from _judge_options(facts)


def _judge_link(link: HostLink, wanted_by: str) -> Iterator[Finding]:
    name, text = link.name, f"{link.name} ({wanted_by})"
    if not link.is_up:
        yield catalogue.PARENT_DOWN.found(f"{text} is down", parent=name)
    elif not link.has_carrier and link.kind != "bridge":  # an empty bridge has none, and is well
        yield catalogue.PARENT_NO_CARRIER.found(f"{text} is up, without carrier", parent=name)
    if link.mac is None or link.is_loopback:
        yield catalogue.PARENT_NOT_ETHERNET.found(f"{text} has no MAC address")
    if link.is_wireless:
        yield catalogue.PARENT_WIFI.found(f"{text} is a Wi-Fi interface")
    if link.master is not None:
        yield catalogue.PARENT_ENSLAVED.found(
            f"{text} is a port of {link.master}", parent=name, master=link.master
        )
    if link.mtu < _LEAST_MTU:
        yield catalogue.PARENT_MTU.found(f"{text} has MTU {link.mtu}", parent=name)


def _judge_options(facts: HostFacts) -> Iterator[Finding]:
    for network in facts.networks:
        option = network.options.get("parent")
        if option and network.parent and option != network.parent:
            yield catalogue.PARENT_DIFFERS.found(
                f"network {network.name} stands on {network.parent}, and its addresses are asked "
                f"for on {option}"
            )
