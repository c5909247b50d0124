"""Containers keep their addresses over many lease times, as the server's own database tells."""

import os
import time
from dataclasses import replace
from datetime import timedelta

import pytest

from lab.dhcp_servers import Dhcpd, Dnsmasq, Kea, Server, Site, Udhcpd
from lab.lab import Lab
from lab.processes import LabError
from tests.support.scenarios import SideBySide, World, events, never_without_lease, paused

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root")

side_by_side = SideBySide()

LEASE = timedelta(seconds=10)
FIVE_LEASES = 5 * LEASE
SITE = Site(lease_time=LEASE)
NAMES = ("running", "paused")


def check_renewed(world: World) -> None:
    assert events(world.driver, "lost") == []
    assert events(world.driver, "released") == []
    assert world.server.releases() == []
    assert world.driver.exceptions() == []


def live_through_five_leases(world: World) -> None:
    world.create_network()
    ends = [world.engine.run(name) for name in NAMES]

    with paused(world, "paused"), never_without_lease(world, *ends):
        time.sleep(FIVE_LEASES.total_seconds())
        world.check_kept(*ends, names=NAMES)

    check_renewed(world)
    assert events(world.driver, "late") == []


@side_by_side(Dhcpd, Kea, Udhcpd)
def test_addresses_are_kept_over_five_lease_times_also_by_a_paused_container(
    lab: Lab, kind: type[Server]
) -> None:
    live_through_five_leases(World(lab, kind, site=SITE))


@side_by_side(Dhcpd, Kea)
def test_addresses_are_kept_over_five_lease_times_behind_a_relay(
    lab: Lab, kind: type[Server]
) -> None:
    live_through_five_leases(World(lab, kind, site=SITE, relayed=True))


@side_by_side(Dnsmasq)
def test_a_server_that_gives_longer_leases_is_renewed_at_the_t1_that_it_names(
    lab: Lab, kind: type[Server]
) -> None:
    site = replace(SITE, lease_time=timedelta(seconds=120), renewal_time=timedelta(seconds=5))
    world = World(lab, kind, site=site)
    world.create_network()
    end = world.engine.run("web")
    before = world.await_lease(end)

    with never_without_lease(world, end):
        time.sleep(22)

    after = world.await_lease(end)
    assert after.expires_at - before.expires_at >= timedelta(seconds=14)
    check_renewed(world)


@side_by_side(Kea)
def test_addresses_are_kept_while_d4d_is_killed_and_started_five_times(
    lab: Lab, kind: type[Server]
) -> None:
    world = World(lab, kind, site=SITE)
    world.create_network()
    ends = [world.engine.run(name) for name in NAMES]

    with paused(world, "paused"), never_without_lease(world, *ends):
        # Never from before T1 until the end of the lease: that nobody could make good.
        for absence in (0.0, 0.5, 1.0, 1.5, 0.0):
            time.sleep(FIVE_LEASES.total_seconds() / 5 - absence)
            world.driver.kill()
            time.sleep(absence)
            world.driver.start()
        time.sleep(LEASE.total_seconds())
        world.check_kept(*ends, names=NAMES)

    check_renewed(world)
    world.engine.rm(*NAMES)  # it knows them: their leases end now, not some time later
    for end in ends:
        world.await_release(end.address)


@side_by_side(Dhcpd)
def test_addresses_are_kept_while_dockerd_restarts_with_live_restore(
    lab: Lab, kind: type[Server]
) -> None:
    world = World(
        lab,
        kind,
        site=SITE,
        engine_flags=("--live-restore",),
        settings={"D4D_RECONCILE": "1s"},
    )
    world.create_network()
    ends = [world.engine.run(name) for name in NAMES]

    with never_without_lease(world, *ends):
        began = time.monotonic()
        for stop in (world.engine.stop, world.engine.kill):
            stop()
            time.sleep(LEASE.total_seconds())
            world.engine.start()
            world.check_kept(*ends, names=NAMES)
            for name, end in zip(NAMES, ends, strict=True):
                assert f"inet {end.address}/" in world.engine.exec(name, "ip", "addr")
        time.sleep(max(0.0, FIVE_LEASES.total_seconds() - (time.monotonic() - began)))

    check_renewed(world)
    assert world.engine.run("new").address not in [end.address for end in ends]


@side_by_side(Dhcpd, Kea)
def test_a_server_may_be_away_for_a_lease_time_less_a_bit(lab: Lab, kind: type[Server]) -> None:
    lease = timedelta(seconds=20)
    world = World(lab, kind, site=replace(SITE, lease_time=lease))
    world.create_network()
    end = world.engine.run("web")
    first = world.await_lease(end)

    with never_without_lease(world, end):
        # at its renewal time, or as soon as Docker's API has told the container's name
        while (renewed := world.await_lease(end)).expires_at == first.expires_at:
            time.sleep(0.1)
        world.server.stop()
        time.sleep(lease.total_seconds() - 4)
        assert len(events(world.driver, "late", end.address)) >= 1
        world.server.start()
        time.sleep(8)
        world.check_kept(end, names=["web"])

    check_renewed(world)
    last = world.await_lease(end)
    if last.expires_at - renewed.expires_at < timedelta(seconds=10):
        raise LabError(f"not renewed: {renewed}, {last}")
