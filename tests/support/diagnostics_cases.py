"""A host that is well, as the doctor sees it, and for each ailment of a host one that has it."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from pathlib import Path
from typing import Any

from d4d.adapters.dhcp.server_probe import Offer, ProbeResult
from d4d.adapters.docker.plugin_protocol import CAPABILITIES
from d4d.doctor.collectors.database import DatabaseFacts
from d4d.doctor.collectors.docker import DockerFacts
from d4d.doctor.collectors.links import HostLink
from d4d.doctor.collectors.plugin_socket import PluginSocketFacts, SocketState
from d4d.doctor.collectors.processes import Privileges, Process
from d4d.doctor.collectors.stores import DirectoryFacts, RedisFacts
from d4d.doctor.facts import AdminFacts, DriverFacts, HostFacts, ProbedNetwork, RouterHere
from d4d.domain.addressing import MacAddress
from d4d.domain.leases import Terms
from d4d.domain.policies import IdentityPolicy
from d4d.domain.ports.docker import DockerNetwork, NetworkSubnet
from d4d.settings.loading import load_settings

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
STATE = Path("/var/lib/d4d")
SUBNET, ROUTER, SERVER = "10.77.0.0/16", IPv4Address("10.77.0.1"), IPv4Address("10.77.0.3")
HOST = IPv4Address("10.77.0.2")
MAC, OTHER_MAC = (MacAddress.parse(f"02:00:00:00:00:0{number}") for number in (1, 2))
US, OTHER = Process(pid=700, name="d4d"), Process(pid=800, name="dnsmasq")
ALL_CAPABILITIES = (1 << 41) - 1
NET_BIND_SERVICE, NET_RAW = 1 << 10, 1 << 13

DRIVER = DriverFacts(
    process=US,
    privileges=Privileges(uid=0, capabilities=ALL_CAPABILITIES),
    others=(),
    socket=PluginSocketFacts(state=SocketState.ANSWERS, listener=US, answer=CAPABILITIES),
)
DIRECTORY = DirectoryFacts(path=STATE, exists=True, is_writable=True)
DATABASE = DatabaseFacts(
    path=STATE / "leases.db", exists=True, version=1, newest=NOW - timedelta(hours=1)
)
HISTORY = DatabaseFacts(path=STATE / "history.db", exists=True, version=1, known_version=1)
REDIS = RedisFacts(where="redis://redis.example:6379/0")


def link(name: str = "eth0", **changed: Any) -> HostLink:
    return replace(HostLink(name=name, mac=MAC), **changed)


LOOPBACK = HostLink(name="lo", is_loopback=True)


def network(
    name: str = "lan",
    *,
    subnet: str = SUBNET,
    gateway: IPv4Address | None = ROUTER,
    way_out: IPv4Address | None = None,
    parent: str = "eth0",
    options: Mapping[str, str] | None = None,
    driver: str = "macvlan",
) -> DockerNetwork:
    config = NetworkSubnet(subnet=IPv4Network(subnet), gateway=gateway, way_out=way_out)
    return DockerNetwork(
        id=f"{name:0<64}",
        name=name,
        driver=driver,
        subnets=(config,),
        options=options if options is not None else {"parent": parent},
        parent=parent,
    )


def offer(server: IPv4Address = SERVER, *, address: str = "10.77.3.4", **terms: Any) -> Offer:
    said: dict[str, Any] = {
        "lease_time": timedelta(hours=1),
        "subnet_mask": IPv4Address("255.255.0.0"),
        "routers": (ROUTER,),
    }
    return Offer(
        address=IPv4Address(address),
        after=timedelta(milliseconds=3),
        terms=Terms(server=server, **(said | terms)),
        server_mac=MAC,
    )


def way(
    *offers: Offer,
    parent: str | None = "eth0",
    networks: tuple[DockerNetwork, ...] = (),
    servers: tuple[str, ...] = (),
    is_wanted: bool = True,
    **probed: Any,
) -> ProbedNetwork:
    return ProbedNetwork(
        probed=ProbeResult(parent=parent, offers=offers, **probed),
        networks=networks,
        servers=servers,
        is_wanted=is_wanted,
    )


SILENT = way()
RELAY = way(offer(), parent=None, relay="10.77.0.2 -> 10.77.0.3")


def engine(*networks: DockerNetwork, **changed: Any) -> DockerFacts:
    look = DockerFacts(engine="29.0.1", api=(1, 52), networks=networks or (network(),))
    return replace(look, **changed)


def facts(*, settings: Mapping[str, Any] | None = None, **changed: Any) -> HostFacts:
    """What is seen on a host that is well, but for what is given."""
    well = HostFacts(
        settings=load_settings(files=(), **(settings or {})),
        now=NOW,
        version="2.0.0",
        links=(LOOPBACK, link()),
        driver=DRIVER,
        admin=AdminFacts(version="2.0.0"),
        docker=engine(),
        directory=DIRECTORY,
        database=DATABASE,
        history=HISTORY,
        probed=(way(offer(), networks=(network(),)),),
        is_synchronised=True,
    )
    return replace(well, **changed)


def parent(*, kind: str | None = None, **changed: Any) -> HostFacts:
    """A host whose one parent is like this."""
    return facts(links=(LOOPBACK, link(kind=kind, **changed)))


def driver(**changed: Any) -> DriverFacts:
    return replace(DRIVER, **changed)


def plugin_socket(state: SocketState, **changed: Any) -> HostFacts:
    return facts(driver=driver(socket=PluginSocketFacts(state=state, listener=OTHER, **changed)))


def directory(**changed: Any) -> HostFacts:
    return facts(directory=replace(DIRECTORY, **changed))


def database(**changed: Any) -> HostFacts:
    return facts(database=replace(DATABASE, **changed))


def redis(**changed: Any) -> HostFacts:
    return facts(settings={"store": "redis"}, database=None, redis=replace(REDIS, **changed))


def mismatched(**changed: Any) -> HostFacts:
    net = network(**changed)
    return facts(docker=engine(net), probed=(way(offer(), networks=(net,)),))


def on_bridge(*, other: MacAddress | None = None, has_default_route: bool = True) -> HostFacts:
    """A host whose bridge has the router's address."""
    net = network(driver="bridge", parent="br0", gateway=None)
    here = RouterHere(
        bridge="br0", address=IPv4Interface(f"{ROUTER}/16"), server=SERVER, other=other
    )
    return facts(
        links=(LOOPBACK, link(), link("br0", kind="bridge", addresses=(here.address,))),
        docker=engine(net),
        probed=(way(offer(), parent="br0", networks=(net,)),),
        routers_here=(here,),
        has_default_route=has_default_route,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A host that has an ailment, and words that the finding must have."""

    code: str
    facts: HostFacts
    says: str

    def __str__(self) -> str:
        return self.code


def case(code: str, facts: HostFacts, says: str) -> Case:
    return Case(code=code, facts=facts, says=says)


_PARENTS = (
    case(
        "no-parent",
        facts(links=(LOOPBACK, link(has_carrier=False)), docker=engine(networks=()), probed=()),
        "there are lo, eth0",
    ),
    case("parent-missing", facts(links=(LOOPBACK,)), "no interface eth0 (network lan)"),
    case("parent-down", parent(is_up=False, has_carrier=False), "eth0 (network lan) is down"),
    case("parent-no-carrier", parent(has_carrier=False), "is up, without carrier"),
    case("parent-not-ethernet", parent(mac=None), "eth0 (network lan) has no MAC address"),
    case("parent-wifi", parent(is_wireless=True), "eth0 (network lan) is a Wi-Fi interface"),
    case("parent-enslaved", parent(master="bond0"), "is a port of bond0"),
    case(
        "parent-differs",
        facts(links=(link(), link("eth1")), docker=engine(network(options={"parent": "eth1"}))),
        "lan stands on eth0, and its addresses are asked for on eth1",
    ),
    case("parent-mtu", parent(mtu=500), "has MTU 500"),
)
_DRIVER = (
    case("driver-not-running", facts(driver=driver(process=None, privileges=None)), str(STATE)),
    case(
        "driver-not-ready",
        facts(admin=AdminFacts(version="2.0.0", failing=("store: it is away",))),
        "is not ready: store: it is away",
    ),
    case(
        "driver-outdated",
        facts(admin=AdminFacts(version="1.9.0")),
        "D4D 1.9.0 runs, and 2.0.0 is installed",
    ),
    case("second-driver", facts(driver=driver(others=(OTHER,))), "dnsmasq (pid 800) is a driver"),
    case(
        "capability-missing",
        facts(driver=driver(privileges=Privileges(uid=9, capabilities=~NET_RAW))),
        "runs as user 9 without CAP_NET_RAW",
    ),
    case("plugin-socket-missing", plugin_socket(SocketState.ABSENT), "talkingdata.sock is not"),
    case("plugin-socket-stale", plugin_socket(SocketState.STALE, detail="refused"), "(refused)"),
    case("plugin-socket-denied", plugin_socket(SocketState.DENIED, detail="not you"), "not you"),
    case("plugin-socket-silent", plugin_socket(SocketState.SILENT, detail="late"), "late"),
    case(
        "plugin-socket-foreign",
        plugin_socket(SocketState.ANSWERS, answer=CAPABILITIES),
        "dnsmasq (pid 800) serves /run/docker/plugins/talkingdata.sock, and is not this D4D",
    ),
    case(
        "plugin-socket-elsewhere",
        facts(settings={"plugin_socket": Path("/tmp/d4d.sock")}),
        "does not look for /tmp/d4d.sock",
    ),
    case(
        "plugin-spec-left",
        facts(driver=driver(specs=(Path("/etc/docker/plugins/talkingdata.spec"),))),
        "/etc/docker/plugins/talkingdata.spec names a driver talkingdata, too",
    ),
    case("admin-silent", facts(admin=AdminFacts(error="no driver answers")), "no driver answers"),
    case(
        "port-67-taken",
        facts(driver=driver(port_67=(OTHER,)), probed=(RELAY,)),
        "UDP port 67 is dnsmasq (pid 800)'s",
    ),
)
_DOCKER = (
    case("docker-unreachable", facts(docker=DockerFacts(error="it is away")), "it is away"),
    case("docker-too-old", facts(docker=engine(engine="19.03.15", api=(1, 40))), "19.03.15"),
    case(
        "docker-no-names",
        facts(
            settings={"identity": IdentityPolicy.NAME},
            docker=engine(engine="28.5.0", api=(1, 51)),
        ),
        "28.5.0 tells no container names",
    ),
    case(
        "docker-other-driver",
        facts(docker=engine(others=(("office", "taklingdata"),))),
        "network office takes its addresses from taklingdata, which is not D4D (talkingdata)",
    ),
    case(
        "gateway-mismatch",
        mismatched(gateway=IPv4Address("10.77.0.250")),
        "gateway 10.77.0.250, and DHCP server 10.77.0.3 names the router 10.77.0.1",
    ),
    case(
        "bridge-way-out",
        mismatched(driver="bridge", gateway=HOST),
        "on a bridge, has the gateway 10.77.0.2 and no DefaultGatewayIPv4, and DHCP server "
        "10.77.0.3 names the router 10.77.0.1",
    ),
    case(
        "bridge-took-router",
        on_bridge(other=OTHER_MAC),
        "br0 has the address 10.77.0.1 (Docker's network lan stands on it), and DHCP server "
        "10.77.0.3 names that router, which is another machine: 02:00:00:00:00:02 answers for it",
    ),
    case(
        "bridge-is-router",
        on_bridge(has_default_route=False),
        "nobody else answers for it, and this host has no default route",
    ),
    case("subnet-mismatch", mismatched(subnet="10.77.0.0/18"), "offers 10.77.3.4 of 10.77.0.0/16"),
)
_STORE = (
    case("state-dir-denied", directory(is_writable=False), "can't be written"),
    case("state-dir-open", directory(mode=0o777), "has mode 0777"),
    case("disk-full", directory(free=512 << 10), "512 KiB are free"),
    case("disk-nearly-full", directory(free=32 << 20), "32 MiB are free"),
    case("store-unreadable", database(error="unable to open"), "leases.db: unable to open"),
    case(
        "store-damaged",
        database(complaint="malformed", unread="no page 3, behind 7 rows"),
        "check says: malformed; its rows can't all be read: no page 3, behind 7 rows",
    ),
    case(
        "store-check-complains",
        database(complaint="a NULL", rows=12),
        "check says: a NULL; yet all its 12 rows could be read",
    ),
    case("store-foreign-row", database(foreign="pools: 'x'"), "D4D can't use: pools: 'x'"),
    case(
        "store-empty",
        database(is_empty=True, log_size=4096),
        "leases.db is empty, and 4096 bytes are in the log beside it",
    ),
    case(
        "history-damaged",
        facts(history=replace(HISTORY, complaint="malformed", unread="no page 3")),
        "history.db: its check says: malformed",
    ),
    case(
        "store-too-new",
        database(version=9, known_version=3),
        "has version 9, and this D4D knows versions up to 3",
    ),
    case(
        "store-forgets",
        facts(settings={"store": "memory", "allocator": "range"}, database=None),
        "D4D_STORE=memory",
    ),
    case("redis-unreachable", redis(error="does it run?"), "does it run?"),
    case("redis-forgets", redis(risks=("appendonly is off",)), "appendonly is off"),
    case("redis-clock", redis(ahead=timedelta(seconds=-3)), "is 3.0 s behind this host's"),
)
_DHCP = (
    case("dhcp-not-asked", facts(probed=(way(error="needs CAP_NET_RAW"),)), "CAP_NET_RAW"),
    case("dhcp-silent", facts(probed=(SILENT,)), "no DHCP server answers on eth0"),
    case(
        "dhcp-server-here",
        facts(driver=driver(port_67=(OTHER,)), probed=(SILENT,)),
        "dnsmasq (pid 800) has UDP port 67",
    ),
    case(
        "dhcp-named-silent",
        facts(probed=(way(offer(), servers=("10.77.9.9",)),)),
        "10.77.0.3 answers on eth0, but of 10.77.9.9",
    ),
    case(
        "dhcp-useless",
        facts(probed=(way(useless=("10.77.0.3 answered with a DHCPOFFER that",)),)),
        "eth0: 10.77.0.3 answered with a DHCPOFFER that",
    ),
    case(
        "dhcp-several",
        facts(probed=(way(offer(), offer(ROUTER, address="10.77.3.5")),)),
        "2 DHCP servers answer on eth0",
    ),
    case(
        "dhcp-lease-short",
        facts(probed=(way(offer(lease_time=timedelta(seconds=59))),)),
        "gives leases of 59 s",
    ),
)
_CLOCK = (
    case("clock-unsynchronised", facts(is_synchronised=False), "no time source"),
    case(
        "clock-behind",
        database(newest=NOW + timedelta(minutes=2)),
        "it is 2026-03-01T12:00:00Z here, and a lease was confirmed at 2026-03-01T12:02:00Z",
    ),
)

CASES = (*_PARENTS, *_DRIVER, *_DOCKER, *_STORE, *_DHCP, *_CLOCK)
SETTINGS_CASES = {
    "setting-unknown": "D4D_PARNET=eth0\n",
    "setting-invalid": "D4D_HOLD=soon\n",
    "setting-ignored": "PARENT=eth0\n",
    "settings-unreadable": "D4D_PARENT=\udcff\n",
}
"""What a settings file says; a surrogate is a byte that is no UTF-8."""
