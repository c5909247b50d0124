"""Asks the DHCP servers on all interfaces at once."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta

from d4d.adapters.dhcp.routes import Route
from d4d.adapters.dhcp.server_probe import ProbeResult, ServerProbe
from d4d.bootstrap import compose
from d4d.doctor.collectors.links import host_links
from d4d.domain.errors import BadRequest, D4DError
from d4d.settings.model import Settings


def probe_servers(
    settings: Settings, interfaces: Sequence[str], wait: timedelta
) -> list[ProbeResult]:
    """What servers offer on ``interfaces``, or on all that could be parents.

    By broadcast on each, and as a relay where the settings say so. Raises D4DError.
    """
    links = {each.name: each for each in host_links()}
    for name in interfaces:
        if name not in links:
            raise BadRequest(f"this host has no interface {name}: it has {', '.join(links)}")
    parents = list(interfaces) or [each.name for each in links.values() if each.may_be_parent]
    probe: ServerProbe = compose(settings).probe()
    ways = [Route(parent=parent) for parent in parents]
    relays, failed = _relays(probe, settings, interfaces or [settings.parent])
    ways += relays
    if not ways and not failed:
        raise BadRequest("no interface of this host is an Ethernet that is up and has carrier")
    return [*asyncio.run(ask_all(probe, ways, wait)), *failed]


async def ask_all(probe: ServerProbe, ways: Sequence[Route], wait: timedelta) -> list[ProbeResult]:
    """What servers offer on these routes, asked concurrently."""
    return list(await asyncio.gather(*(probe.ask(way, wait) for way in ways)))


def _relays(
    probe: ServerProbe, settings: Settings, parents: Sequence[str | None]
) -> tuple[list[Route], list[ProbeResult]]:
    """The routes of a relay with these parents, and those that there should be and are not."""
    ways, failed = [], []
    for parent in parents:
        try:
            relayed = probe.relayed(parent)
        except D4DError as error:
            whom = f"to {', '.join(map(str, settings.dhcp_server)) or 'no server'}"
            failed.append(ProbeResult(parent=parent, relay=whom, error=str(error)))
        else:
            ways += [relayed] if relayed is not None else []
    return list(dict.fromkeys(ways)), failed
