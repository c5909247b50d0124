"""What the tests of a lease's life share: worlds that live side by side, and looks into them.

A lease's life takes a minute, whatever the machine. So the tests of a module are scenarios that
begin together, each in a lab of its own, and each test waits for the end of its scenario.
"""

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from typing import Any, cast

import httpx
import pytest

from lab.d4d_driver import NAME, Driver
from lab.dhcp_servers import Server, Site
from lab.docker_engine import FOR_EVER, IMAGE, Attachment
from lab.lab import Lab
from lab.network import Namespace
from lab.packet_gate import Gate
from lab.plugin_calls import call
from lab.processes import LabError, eventually
from lab.server_lease_files import Binding

Scenario = Callable[[Lab, type[Server]], None]
Test = Callable[[pytest.FixtureRequest, type[Server]], None]

LONG = timedelta(seconds=120)
"""A lease that nobody renews, and that does not run out, while a test looks."""
SOON = timedelta(seconds=30)
"""What D4D does at once has been done by then, on a machine with many other things to do."""

_LOOK_EVERY = 0.3  # seconds
_BUILDING = threading.Semaphore(2)  # the processors: more at once would only be later together


class SideBySide:
    """The scenarios of a module: the first test that is run starts those of all selected tests."""

    def __init__(self) -> None:
        self._scenarios: dict[str, Scenario] = {}
        self._outcomes: dict[str, Future[None]] = {}

    def __call__(self, *kinds: type[Server]) -> Callable[[Scenario], Test]:
        """Make a test of a scenario, for each of these servers."""

        def decorate(scenario: Scenario) -> Test:
            def test(request: pytest.FixtureRequest, kind: type[Server]) -> None:
                self._outcome(request).result()

            test.__name__, test.__doc__ = scenario.__name__, scenario.__doc__
            self._scenarios[scenario.__name__] = scenario
            return pytest.mark.parametrize("kind", kinds, ids=lambda kind: kind.name)(test)

        return decorate

    def _outcome(self, request: pytest.FixtureRequest) -> Future[None]:
        if request.node.nodeid not in self._outcomes:
            self._begin([each for each in request.session.items if each.path == request.path])
        return self._outcomes[request.node.nodeid]

    def _begin(self, items: Sequence[pytest.Item]) -> None:
        executor = ThreadPoolExecutor(len(items))
        for item in items:
            if isinstance(item, pytest.Function) and item.originalname in self._scenarios:
                kind = cast(type[Server], item.callspec.params["kind"])
                scenario = self._scenarios[item.originalname]
                self._outcomes[item.nodeid] = executor.submit(_live, scenario, kind)
        executor.shutdown(wait=False)


def _live(scenario: Scenario, kind: type[Server]) -> None:
    with Lab() as lab:
        scenario(lab, kind)


class World:
    """A DHCP server, and a Docker host beside it or behind a router; started."""

    def __init__(
        self,
        lab: Lab,
        kind: type[Server],
        *,
        site: Site,
        settings: Mapping[str, str] | None = None,
        engine_flags: Sequence[str] = (),
        relayed: bool = False,
        gated: bool = False,
        docker: bool = True,
        plain: bool = False,
    ) -> None:
        """Without ``docker`` only D4D is started: its callers speak as an engine does.

        ``plain`` is D4D under hypercorn, on asyncio's event loop; else it is as users run it.

        ``gated`` puts a gate between the server and all others.
        """
        self.lab = lab
        self.site = site
        self.switch = lab.switch()
        with _BUILDING:
            settings = dict(settings or {})
            self.gate: Gate | None = None
            self.machine = self._behind_router() if relayed else self._beside(gated=gated)
            if relayed:
                settings["DHCP_SERVER"] = str(self.machine.address.ip)
            self.server = lab.server(kind, self.machine, site)
            self.host = lab.host(
                "host1",
                self.switch,
                f"{site.subnet[2]}/{site.subnet.prefixlen}",
                engine_flags=engine_flags,
                settings=settings,
                plain=plain,
            )
            if relayed:
                self.host.namespace.route("default", via=site.subnet[3])
            self.engine, self.driver = self.host.engine, self.host.driver
            self.server.start()
            self.driver.start()
            if docker:
                self.engine.start()

    def _beside(self, *, gated: bool) -> Namespace:
        subnet, switch = self.site.subnet, self.switch
        if gated:
            switch = self.lab.switch("far")
            self.gate = self.lab.gate(self.switch, switch)
        return self.lab.machine("server", switch, f"{subnet[1]}/{subnet.prefixlen}")

    def _behind_router(self) -> Namespace:
        subnet, far = self.site.subnet, self.lab.switch("far")
        self.lab.router(self.switch, f"{subnet[3]}/{subnet.prefixlen}", far, "10.88.0.254/24")
        machine = self.lab.machine("server", far, "10.88.0.1/24")
        machine.route("default", via=IPv4Address("10.88.0.254"))
        return machine

    def create_network(self, *options: str) -> None:
        """The macvlan network ``lan`` with the site's subnet and gateway."""
        addresses = (f"--subnet={self.site.subnet}", f"--gateway={self.site.router}")
        driver = ("-d", "macvlan", f"--ipam-driver={NAME}", "-o", "parent=eth0")
        self.engine.network_create("lan", *driver, *addresses, *options)

    def run_with_mac(self, name: str, mac: str) -> Attachment:
        """Run a container with ``--mac-address``, which new docker commands deny old engines."""
        body = {
            "Image": IMAGE,
            "Cmd": FOR_EVER,
            "StopSignal": "KILL",
            "MacAddress": mac,
            "HostConfig": {"NetworkMode": "lan"},
        }
        transport = httpx.HTTPTransport(uds=str(self.engine.socket))
        with httpx.Client(transport=transport, base_url="http://docker/v1.41", timeout=60) as api:
            created = api.post("/containers/create", params={"name": name}, json=body)
            started = api.post(f"/containers/{name}/start")
            if started.is_error:
                said = f"{created.text.strip()} {started.text.strip()}"
                raise LabError(f"{name} can't be run: {said}\n{self.driver.log()}")
        return self.engine.inspect(name)

    def has(self, end: Attachment) -> bool:
        """Whether the server's database says that the address is this container's, now."""
        entry = self.server.leased().get(end.address)
        return entry is not None and entry.mac == end.mac

    def await_lease(self, end: Attachment, *, within: timedelta = SOON) -> Binding:
        """The server's active binding of the container. Raises LabError if none comes."""
        what = f"{self.server.name} leases {end.address} to {end.mac}"
        eventually(
            lambda: self.has(end),
            what=lambda: f"not so: {what}: {self.server.bindings()}\n{self.driver.log()}",
            timeout=within,
        )
        return self.server.leased()[end.address]

    def await_release(self, address: IPv4Address, *, within: timedelta = SOON) -> None:
        """Wait until D4D released it, and the server has no lease of it.

        Without the former a lease that ran out by itself would do.
        """
        eventually(
            lambda: (
                events(self.driver, "released", address) and address not in self.server.leased()
            ),
            what=lambda: f"{address} is still leased: {self.server.leased()}\n{self.driver.log()}",
            timeout=within,
        )

    def await_event(
        self, kind: str, address: IPv4Address | None = None, *, within: timedelta = SOON
    ) -> dict[str, Any]:
        """The first event of this kind in D4D's log. Raises LabError if none comes."""
        return eventually(
            lambda: events(self.driver, kind, address),
            what=lambda: f"no event {kind!r} of {address}:\n{self.driver.log()}",
            timeout=within,
        )[0]

    def check_kept(self, *ends: Attachment, names: Sequence[str]) -> None:
        """Raises LabError unless Docker says that the containers have the same addresses still."""
        for name, end in zip(names, ends, strict=True):
            now = self.engine.inspect(name)
            if now != end:
                raise LabError(f"{name} had {end}, and has {now}")


def events(driver: Driver, kind: str, address: IPv4Address | None = None) -> list[dict[str, Any]]:
    """The events of a kind in D4D's log, all its starts together, of one address if given."""
    lines = driver.log().splitlines(keepends=True)
    entries = [json.loads(line) for line in lines if line.startswith("{") and line.endswith("\n")]
    return [
        entry
        for entry in entries
        if entry["event"] == kind and (address is None or entry.get("address") == str(address))
    ]


def running_end(world: World, name: str) -> Attachment | None:
    """The container's end on the network; None where it has no address now."""
    try:
        return world.engine.inspect(name)
    except LabError:
        return None


@contextmanager
def never_without_lease(world: World, *ends: Attachment) -> Iterator[None]:
    """Look into the server's database all the while. Raises LabError if a lease ever lapses."""
    lapses: list[str] = []
    looks = 0
    over = threading.Event()

    def watch() -> None:
        nonlocal looks
        while not over.wait(_LOOK_EVERY):
            leased, looks = world.server.leased(), looks + 1
            for end in ends:
                entry = leased.get(end.address)
                if entry is None:  # dnsmasq writes its file anew: it may be half there
                    time.sleep(0.05)
                    entry = world.server.leased().get(end.address)
                if entry is None or entry.mac != end.mac:
                    lapses.append(f"{datetime.now(UTC):%H:%M:%S.%f} {end}: {entry}")

    with ThreadPoolExecutor(1) as executor:
        watcher = executor.submit(watch)
        try:
            yield
        finally:
            over.set()
        watcher.result()
    if lapses:
        shown = "\n".join(lapses[:5])
        raise LabError(f"{len(lapses)} lapses in {looks} looks:\n{shown}\n{world.driver.log()}")
    if not looks:
        raise LabError("nobody looked")


@contextmanager
def paused(world: World, name: str) -> Iterator[None]:
    """``docker pause`` for a while: a frozen process can't even be killed when the lab goes."""
    world.engine.docker("pause", name)
    try:
        yield
    finally:
        world.engine.docker("unpause", name)


class Wire:
    """The DHCP messages that pass a machine's eth0, whoever sends them."""

    def __init__(self, machine: Namespace) -> None:
        words = ["tcpdump", "-i", "eth0", "-n", "-l", "-v", "--immediate-mode"]
        self._daemon = machine.daemon("tcpdump", [*words, "udp port 67 or udp port 68"])
        self._daemon.start(ready=lambda log: "listening on" in log)

    def messages(self) -> list[str]:
        """Their types, such as ``Discover``, in order."""
        lines = self._daemon.logged().splitlines()
        marks = ("DHCP-Message (53), length 1:", "DHCP-Message Option 53, length 1:")
        return [line.split(": ")[-1].strip() for line in lines if any(m in line for m in marks)]

    def await_messages(self, *types: str) -> None:
        """Raises LabError unless these, and no others, have passed: tcpdump may be a bit late."""
        eventually(
            lambda: self.messages() == list(types),
            what=lambda: f"{self.messages()} passed, not {types}",
        )

    def close(self) -> None:
        """Listen no longer."""
        self._daemon.kill()


class NewEngine:
    """Engine 29's calls, as captured: they name the container, whose MAC differs at each start."""

    def __init__(self, world: World) -> None:
        self._driver = world.driver
        subnet = str(world.site.subnet)
        options = {"parent": "eth0"}
        answer = self._call(
            "RequestPool",
            {"AddressSpace": "d4d-local", "Pool": subnet, "SubPool": "", "Options": options}
            | {"V6": False},
        )
        self.pool_id = answer["PoolID"]

    def run(self, name: str, mac: str) -> Attachment:
        """What the engine asks when a container starts."""
        options = {
            "com.docker.network.endpoint.macaddress": mac,
            "com.docker.network.endpoint.name": name,
        }
        body = {"PoolID": self.pool_id, "Address": "", "Options": options}
        address = self._call("RequestAddress", body)["Address"].partition("/")[0]
        return Attachment(address=IPv4Address(address), mac=mac)

    def rm(self, end: Attachment) -> None:
        """What the engine says when a container has ended."""
        self._call("ReleaseAddress", {"PoolID": self.pool_id, "Address": str(end.address)})

    def _call(self, verb: str, body: dict[str, Any]) -> dict[str, Any]:
        reply = call(self._driver.socket, f"IpamDriver.{verb}", body)
        if reply.status != 200:
            raise LabError(f"{verb} {body}: {reply}")
        answer: dict[str, Any] = reply.content
        return answer
