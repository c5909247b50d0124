"""The doctor's judgements: what is found of what was seen, and what is not."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from d4d.adapters.docker.plugin_protocol import CAPABILITIES
from d4d.doctor import catalogue
from d4d.doctor.collect import Collector
from d4d.doctor.collectors.docker import DockerFacts
from d4d.doctor.collectors.plugin_socket import PluginSocketFacts, SocketState
from d4d.doctor.collectors.processes import Privileges, Process
from d4d.doctor.facts import HostFacts
from d4d.doctor.findings import Finding, Severity
from d4d.doctor.run import CHECKS, Check, judge
from d4d.domain.ports.docker import DockerNetwork
from d4d.settings.loading import load_settings
from tests.support.diagnostics_cases import (
    ALL_CAPABILITIES,
    CASES,
    DIRECTORY,
    HOST,
    LOOPBACK,
    NET_BIND_SERVICE,
    NOW,
    OTHER,
    OTHER_MAC,
    RELAY,
    ROUTER,
    SETTINGS_CASES,
    SILENT,
    US,
    Case,
    database,
    directory,
    driver,
    engine,
    facts,
    link,
    network,
    offer,
    on_bridge,
    parent,
    plugin_socket,
    redis,
    way,
)


def findings(seen: HostFacts) -> dict[str, Finding]:
    return {each.code: each for outcome in judge(seen) for each in outcome.findings}


def codes(seen: HostFacts) -> set[str]:
    return set(findings(seen))


# Each ailment


def test_a_host_that_is_well_has_nothing_found() -> None:
    outcomes = judge(facts())
    assert [each.findings for each in outcomes] == [[]] * len(CHECKS)
    assert {each.severity for each in outcomes} == {Severity.OK}


@pytest.mark.parametrize("case", CASES, ids=str)
def test_what_a_host_suffers_from_is_found(case: Case) -> None:
    finding = findings(case.facts)[case.code]
    assert case.says in finding.found
    (ailment,) = (each for each in catalogue.AILMENTS if each.code == case.code)
    assert finding.severity is ailment.severity
    assert "{" not in finding.remedy, "a name that was left in braces"


@pytest.mark.parametrize("case", CASES, ids=str)
def test_each_subject_is_told_whatever_is_found(case: Case) -> None:
    assert all(outcome.summary not in ("", "not known") for outcome in judge(case.facts))


def test_no_ailment_is_without_a_case() -> None:
    own = {"check-failed"}  # the doctor's, below
    tried = [*(case.code for case in CASES), *SETTINGS_CASES, *own]
    assert len(tried) == len(set(tried))
    assert set(tried) == {each.code for each in catalogue.AILMENTS}


def test_what_was_not_looked_at_is_judged_by_nobody() -> None:
    outcomes = judge(HostFacts(settings=load_settings(files=()), now=NOW, version="2.0.0"))
    assert [each.findings for each in outcomes] == [[]] * len(CHECKS)
    seen = {each.name: each.summary for each in outcomes}
    assert seen.pop("store") == "/var/lib/d4d/leases.db"
    assert set(seen.values()) == {"not known"}


# What fails in the doctor itself


def test_a_check_that_fails_is_found_and_keeps_what_it_had_found() -> None:
    def half(_: HostFacts) -> Iterator[Finding]:
        yield catalogue.PARENT_WIFI.found("before")
        raise KeyError("eth0")

    broken = Check(name="broken", summary=lambda _: "seen", judge=half)
    first, *others = judge(facts(is_synchronised=False), (broken, *CHECKS))
    assert first.summary == "seen"
    assert [each.code for each in first.findings] == ["parent-wifi", "check-failed"]
    assert first.findings[1].found == "check broken failed: KeyError('eth0')"
    assert [each.name for each in others] == [check.name for check in CHECKS]
    assert others[-1].severity is Severity.WARNING, "the clock is judged all the same"


def test_a_check_that_can_not_tell_what_it_saw_is_found() -> None:
    def summary(_: HostFacts) -> str:
        raise ValueError("no")

    (outcome,) = judge(facts(), (Check(name="mute", summary=summary, judge=lambda _: ()),))
    assert (outcome.summary, outcome.severity) == ("not known", Severity.WARNING)


async def test_a_look_that_fails_is_found_and_the_others_see() -> None:
    def blind() -> str:
        raise PermissionError("not for you")

    collector = Collector()
    found = await asyncio.gather(
        collector.in_thread("the door", blind), collector.in_thread("the wall", lambda: "a wall")
    )
    assert list(found) == [None, "a wall"]
    assert [(each.code, each.found) for each in collector.failures] == [
        ("check-failed", "can't look at the door: PermissionError('not for you')")
    ]


# Parents


def test_an_empty_bridge_has_no_carrier_and_is_well() -> None:
    assert codes(parent(kind="bridge", has_carrier=False)) == set()


def test_a_relay_needs_no_parent() -> None:
    wireguard = link("wg0", mac=None)
    seen = facts(links=(LOOPBACK, wireguard), docker=engine(networks=()), probed=(RELAY,))
    assert codes(seen) == set()


def test_ranges_need_no_parent_before_there_is_a_network() -> None:
    seen = facts(
        settings={"allocator": "range"},
        links=(LOOPBACK,),
        docker=engine(networks=()),
        probed=(),
    )
    assert codes(seen) == set()


def test_the_parent_of_the_settings_is_judged_without_a_network() -> None:
    seen = facts(settings={"parent": "eth9"}, docker=engine(networks=()), probed=())
    assert "no interface eth9 (D4D_PARENT): there are lo, eth0" in (
        findings(seen)["parent-missing"].found
    )


def test_both_parents_of_a_network_that_names_two_are_judged() -> None:
    net = network(options={"parent": "eth1"})
    seen = facts(links=(link(), link("eth1", is_up=False)), docker=engine(net))
    assert codes(seen) == {"parent-differs", "parent-down"}


def test_a_remedy_names_the_master_that_a_port_belongs_to() -> None:
    remedy = findings(parent(master="bond0"))["parent-enslaved"].remedy
    assert remedy.startswith("name bond0 as the parent in its place: what comes in by eth0")


# The driver


def test_a_relay_needs_a_capability_more() -> None:
    weak = driver(privileges=Privileges(uid=0, capabilities=~NET_BIND_SERVICE))
    assert codes(facts(driver=weak)) == set()
    finding = findings(facts(driver=weak, probed=(RELAY,)))["capability-missing"]
    assert "without CAP_NET_BIND_SERVICE" in finding.found
    assert finding.remedy.startswith("give the service CAP_NET_BIND_SERVICE,")


def test_the_plugin_socket_may_be_systemds() -> None:
    init = Process(pid=1, name="systemd")
    answers = PluginSocketFacts(state=SocketState.ANSWERS, listener=init, answer=CAPABILITIES)
    assert codes(facts(driver=driver(socket=answers))) == set()


def test_a_driver_that_systemd_is_to_start_has_no_socket_wrong() -> None:
    waits = PluginSocketFacts(state=SocketState.WAITING)
    seen = facts(driver=driver(process=None, privileges=None, socket=waits), admin=None)
    assert codes(seen) == {"driver-not-running"}
    assert "starts it at Docker's next call" in findings(seen)["driver-not-running"].found


def test_without_driver_its_socket_is_not_missed() -> None:
    absent = PluginSocketFacts(state=SocketState.ABSENT)
    seen = facts(driver=driver(process=None, privileges=None, socket=absent), admin=None)
    assert codes(seen) == {"driver-not-running"}


@pytest.mark.parametrize(
    "foreign",
    [
        plugin_socket(SocketState.NO_SOCKET),
        facts(
            driver=driver(
                socket=PluginSocketFacts(state=SocketState.ANSWERS, listener=US, answer=404)
            )
        ),
    ],
)
def test_what_is_no_plugin_socket_of_ours_is_foreign(foreign: HostFacts) -> None:
    assert codes(foreign) == {"plugin-socket-foreign"}


def test_a_driver_whose_operators_socket_is_silent_is_not_called_outdated() -> None:
    (admin,) = (case.facts for case in CASES if case.code == "admin-silent")
    assert codes(admin) == {"admin-silent"}


def test_port_67_is_free_to_take_where_nobody_relays() -> None:
    assert codes(facts(driver=driver(port_67=(OTHER,)))) == set()


# Docker and its networks


def test_a_server_that_names_no_router_contradicts_no_gateway() -> None:
    net = network(gateway=ROUTER + 9)
    seen = facts(docker=engine(net), probed=(way(offer(routers=()), networks=(net,)),))
    assert codes(seen) == set()


def test_offers_that_are_not_taken_are_not_held_against_a_network() -> None:
    net = network(subnet="10.77.0.0/18")
    ways = (way(offer(), offer(ROUTER), networks=(net,), servers=("10.77.9.9",)),)
    assert codes(facts(docker=engine(net), probed=ways)) == {"dhcp-named-silent"}


def test_an_offer_outside_the_subnet_is_a_mismatch_whatever_its_mask() -> None:
    net = network(subnet="10.99.0.0/16", gateway=None)
    ways = (way(offer(subnet_mask=None), networks=(net,)),)
    found = findings(facts(docker=engine(net), probed=ways))
    assert "offers 10.77.3.4 of another" in found["subnet-mismatch"].found


# The store


def test_a_driver_of_another_user_is_judged_by_the_directorys_owner() -> None:
    d4d = driver(privileges=Privileges(uid=9, capabilities=ALL_CAPABILITIES))
    assert codes(facts(driver=d4d)) == {"state-dir-denied"}
    assert codes(facts(driver=d4d, directory=replace(DIRECTORY, uid=9))) == set()
    no_enter = replace(DIRECTORY, uid=9, mode=0o600)
    assert "mode 0600" in findings(facts(driver=d4d, directory=no_enter))["state-dir-denied"].found
    read_only = replace(DIRECTORY, uid=9, is_writable=False)
    assert codes(facts(driver=d4d, directory=read_only)) == {"state-dir-denied"}


def test_what_a_user_may_not_write_says_nothing_of_roots_driver() -> None:
    assert codes(directory(our_uid=1000, is_writable=False)) == set()
    look = replace(DIRECTORY, our_uid=1000, is_writable=False)
    assert codes(facts(driver=None, admin=None, directory=look)) == set()


def test_a_directory_that_can_be_made_is_no_fault() -> None:
    assert codes(directory(exists=False, mode=0o1777)) == set()
    told = findings(directory(exists=False, is_writable=False))["state-dir-denied"].found
    assert "which is not there and can't be made" in told


def test_a_full_disk_is_not_called_nearly_full_as_well() -> None:
    assert codes(directory(free=0)) == {"disk-full"}


def test_damage_is_not_called_unreadable_as_well() -> None:
    assert codes(database(complaint="malformed", unread="no page 3")) == {"store-damaged"}


def test_a_store_in_memory_forgets_ranges_of_a_network_too() -> None:
    net = network(options={"parent": "eth0", "allocator": "range"})
    memory = {"store": "memory"}
    assert "store-forgets" in codes(facts(settings=memory, docker=engine(net), database=None))
    assert codes(facts(settings=memory, database=None)) == set()


def test_redis_may_be_two_seconds_off() -> None:
    assert codes(redis(ahead=timedelta(seconds=2))) == set()
    assert "is 2.5 s ahead of" in findings(redis(ahead=timedelta(seconds=2.5)))["redis-clock"].found
    away = redis(error="away", ahead=timedelta(hours=1), risks=("x",))
    assert codes(away) == {"redis-unreachable"}


# Bridges


@pytest.mark.parametrize(
    "net",
    [
        network(driver="bridge", gateway=HOST, way_out=ROUTER),
        network(driver="bridge", gateway=ROUTER),  # this host is the router
        network(driver="bridge", gateway=None),  # learnt, as a D4D of before did
        network(driver="macvlan", gateway=ROUTER),
    ],
    ids=["as the docs have it", "router", "learnt", "macvlan"],
)
def test_a_network_on_a_bridge_that_leads_to_the_router_is_well(net: DockerNetwork) -> None:
    seen = facts(docker=engine(net), probed=(way(offer(), networks=(net,)),))
    assert codes(seen) == set()


def test_nobody_is_told_to_give_a_bridge_the_routers_address() -> None:
    for way_out in (None, IPv4Address("10.77.0.250")):
        net = network(driver="bridge", gateway=HOST, way_out=way_out)
        found = findings(facts(docker=engine(net), probed=(way(offer(), networks=(net,)),)))
        assert set(found) == {"bridge-way-out"}
        remedy = found["bridge-way-out"].remedy
        assert f"DefaultGatewayIPv4={ROUTER}: never with --gateway={ROUTER}" in remedy


def test_a_host_that_is_the_router_by_right_is_left_alone() -> None:
    assert codes(on_bridge(has_default_route=True)) == set()


def test_who_is_told_that_his_bridge_took_the_router_is_told_the_way_back() -> None:
    found = findings(on_bridge(other=OTHER_MAC, has_default_route=False))
    assert set(found) == {"bridge-took-router"}
    remedy = found["bridge-took-router"].remedy
    assert "`ip addr del 10.77.0.1/16 dev br0`" in remedy
    assert "`ip addr add HOST/16 dev br0`" in remedy
    assert "`ip route replace default via 10.77.0.1`" in remedy


def test_a_bridge_is_looked_at_without_docker_and_without_its_network() -> None:
    gone = replace(on_bridge(other=OTHER_MAC), docker=DockerFacts(error="away"), probed=())
    text = findings(gone)["bridge-took-router"].found
    assert "stands on it" not in text


# DHCP


def test_a_candidate_may_be_silent_while_another_answers() -> None:
    candidates = (way(offer(), is_wanted=False), way(parent="eth1", is_wanted=False))
    libvirt = driver(port_67=(OTHER,))
    assert codes(facts(driver=libvirt, probed=candidates)) == set()


def test_candidates_that_are_all_silent_are_told_at_once() -> None:
    candidates = [way(parent=name, is_wanted=False) for name in ("eth0", "eth1")]
    found = findings(facts(probed=candidates))
    assert set(found) == {"dhcp-silent"}
    assert found["dhcp-silent"].found == "no DHCP server answers on eth0, eth1"


def test_the_named_server_may_be_on_any_of_the_candidates() -> None:
    named = (str(ROUTER),)
    other, right = (
        way(offer(each), servers=named, is_wanted=False) for each in (ROUTER + 9, ROUTER)
    )
    assert codes(facts(probed=(other, right))) == set()
    assert codes(facts(probed=(other,))) == {"dhcp-named-silent"}


def test_each_way_that_is_wanted_needs_an_answer() -> None:
    ways = (way(offer()), replace(SILENT, probed=replace(SILENT.probed, parent="eth1")))
    found = findings(facts(probed=ways))["dhcp-silent"]
    assert found.found == "no DHCP server answers on eth1"
    assert "`tcpdump -ni eth1 " in found.remedy


def test_a_relay_that_nobody_answers_is_looked_for_on_any_interface() -> None:
    silent = replace(RELAY, probed=replace(RELAY.probed, offers=()))
    assert "`tcpdump -ni any " in findings(facts(probed=(silent,)))["dhcp-silent"].remedy


def test_who_could_not_be_asked_is_not_called_silent() -> None:
    assert codes(facts(probed=(way(error="needs CAP_NET_RAW"),))) == {"dhcp-not-asked"}


def test_a_pair_of_named_servers_are_not_several_and_a_strangers_lease_may_be_short() -> None:
    short = offer(ROUTER + 9, lease_time=timedelta(seconds=5))
    ways = (way(offer(), offer(ROUTER), short, servers=("10.77.0.1", "10.77.0.3")),)
    assert codes(facts(probed=ways)) == set()


def test_a_lease_for_ever_is_not_short() -> None:
    assert codes(facts(probed=(way(offer(lease_time=timedelta.max)),))) == set()


# The clock


def test_a_lease_confirmed_this_minute_does_not_show_a_clock_behind() -> None:
    assert codes(database(newest=NOW + timedelta(seconds=59))) == set()
    assert codes(database(newest=None)) == set()


def test_the_state_directory_of_the_settings_is_told() -> None:
    seen = facts(settings={"state_dir": Path("/srv/d4d")})
    (store,) = (outcome for outcome in judge(seen) if outcome.name == "store")
    assert store.summary == "/srv/d4d/leases.db"
