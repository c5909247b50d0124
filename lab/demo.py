"""D4D shown at work, and checked at each step: ``scripts/demo``."""

import argparse
import shlex
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from ipaddress import IPv4Address

from lab.dhcp_servers import SERVERS, Dhcpd, Server, Site
from lab.docker_engine import Attachment
from lab.lab import Host, Lab
from lab.processes import LabError, eventually
from lab.server_lease_files import Binding

_DESCRIPTION = """A switch, a DHCP server, a gateway and a Docker host, all real, in network
namespaces of this machine; containers that lease their addresses; and a look into the server's
own lease file. Exit code 0 says that everything was as it should be."""

_CREATE = (
    "docker network create -d macvlan --subnet={subnet} --gateway={router} "
    "--ipam-driver=talkingdata -o parent=eth0 lan"
)
_NAMES = ("web", "db", "cache")
_SITE = Site(
    lease_time=timedelta(seconds=20),
    renewal_time=timedelta(seconds=4),
    rebinding_time=timedelta(seconds=15),
)
_RENEWAL = timedelta(seconds=8)  # twice the renewal time
_RELEASE = timedelta(seconds=3)  # far less than what is left of a lease: it did not just run out
_ROW = "      {:<9} {:<12} {:<18}  {:<12} {:<18} {:<12} {}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demonstration; answers the exit code."""
    parser = argparse.ArgumentParser(prog="scripts/demo", description=_DESCRIPTION)
    kinds = {kind.name: kind for kind in SERVERS}
    parser.add_argument("--server", choices=kinds, default=Dhcpd.name, help="(default: dhcpd)")
    kind = kinds[parser.parse_args(arguments).server]
    began = time.monotonic()
    try:
        with Lab() as lab:
            _show(*_build(lab, kind))
    except LabError as error:
        print(f"\nNOT as it should be: {error}", file=sys.stderr)
        return 1
    print(f"\nAll as it should be, and all removed again, in {time.monotonic() - began:.1f} s.")
    return 0


def _build(lab: Lab, kind: type[Server]) -> tuple[Server, Host]:
    with _step(f"a switch, {kind.name} at 10.77.0.1 and a gateway at {_SITE.router}"):
        switch = lab.switch()
        lab.machine("gateway", switch, f"{_SITE.router}/16")
        server = lab.server(kind, lab.machine("server", switch, "10.77.0.1/16"), _SITE)
        server.start()
    with _step("d4d server, on a Docker host at 10.77.0.2"):
        host = lab.host("host1", switch, "10.77.0.2/16")
        host.driver.start()
    with _step("a Docker engine there"):
        host.engine.start()
    return server, host


def _show(server: Server, host: Host) -> None:
    engine = host.engine
    command = _CREATE.format(subnet=_SITE.subnet, router=_SITE.router)
    with _step(command):
        engine.docker(*shlex.split(command)[1:])
    containers: dict[str, Attachment] = {}
    for name in _NAMES:
        with _step(f"docker run -d --network lan --name {name} busybox"):
            containers[name] = engine.run(name)
    with _step(f"what Docker says, and what {server.name}'s lease file says"):
        entries = {name: _entry(server, end) for name, end in containers.items()}
    _print_table(containers, entries, server)
    with _step("web pings db"):
        engine.ping("web", containers["db"].address)
    with _step("cache pings the gateway"):
        engine.ping("cache", _SITE.router)
    with _step(f"each lease is renewed ({server.name}'s file shows a later end)"):
        for entry in entries.values():
            renewed = partial(_is_renewed, server, entry)
            eventually(renewed, what=f"{entry.address} was not renewed", timeout=_RENEWAL)
    with _step("docker stop web db cache"):
        engine.stop_container(*_NAMES)
    with _step(f"no lease is left in {server.name}'s file"):
        gone = partial(_are_gone, server, [end.address for end in containers.values()])
        eventually(gone, what=f"leases are left: {server.bindings()}", timeout=_RELEASE)
    with _step("docker rm, docker network rm, stop of d4d"):
        engine.rm(*_NAMES)
        engine.network_rm("lan")
        code = host.driver.stop()
        if code:
            raise LabError(f"d4d ended with exit code {code}:\n{host.driver.log()}")


def _entry(server: Server, end: Attachment) -> Binding:
    """The server's active entry of the container's address. Raises LabError if it has none."""
    found = [entry for entry in server.bindings() if entry.address == end.address]
    if not found or not found[0].active:
        raise LabError(f"{server.name} knows nothing of {end.address}: {server.bindings()}")
    if found[0].mac != end.mac:
        raise LabError(f"{server.name} leased {end.address} to {found[0].mac}, not {end.mac}")
    return found[0]


def _is_renewed(server: Server, before: Binding) -> bool:
    return any(
        entry.address == before.address and entry.active and entry.expires_at > before.expires_at
        for entry in server.bindings()
    )


def _are_gone(server: Server, addresses: list[IPv4Address]) -> bool:
    return not any(entry.active and entry.address in addresses for entry in server.bindings())


def _print_table(
    containers: dict[str, Attachment], entries: dict[str, Binding], server: Server
) -> None:
    print(_ROW.format("", "Docker:", "", f"{server.name}:", "", "", "").rstrip())
    print(_ROW.format("container", "address", "MAC", "address", "MAC", "name", "until"))
    for name, end in containers.items():
        entry = entries[name]
        until = f"{entry.expires_at:%H:%M:%S}"
        both = (str(end.address), end.mac, str(entry.address), entry.mac, entry.hostname or "-")
        print(_ROW.format(name, *both, until))


@contextmanager
def _step(what: str) -> Iterator[None]:
    """Say what is done, do it, and say how long it took: on a terminal in the same line."""
    if sys.stdout.isatty():
        print(f"  ..  {what}", end="\r", flush=True)
    began = time.monotonic()
    try:
        yield
    except LabError:
        print(f"FAIL  {what}", flush=True)
        raise
    print(f"  ok  {what}  ({time.monotonic() - began:.2f} s)", flush=True)


if __name__ == "__main__":
    sys.exit(main())
