"""Judges the driver: whether it runs, may do its work, and is found by Docker."""

from collections.abc import Iterator
from pathlib import Path

from d4d.adapters.docker.plugin_protocol import CAPABILITIES
from d4d.doctor import catalogue
from d4d.doctor.collectors.plugin_socket import SocketState
from d4d.doctor.collectors.processes import NET_BIND_SERVICE, NET_RAW
from d4d.doctor.facts import DriverFacts, HostFacts
from d4d.doctor.findings import Finding

_PLUGINS = (Path("/run/docker/plugins"), Path("/var/run/docker/plugins"))
_INIT = 1


def summary(facts: HostFacts) -> str:
    """Which driver runs."""
    if facts.driver is None:
        return "not known"
    if facts.driver.process is None:
        return "does not run"
    version = f" {facts.admin.version}" if facts.admin and facts.admin.version else ""
    return f"D4D{version} runs as pid {facts.driver.process.pid}"


def judge(facts: HostFacts) -> Iterator[Finding]:
    """What keeps the driver from serving Docker and its operator."""
    driver = facts.driver
    if driver is None:
        return
    if driver.process is None:
        yield catalogue.DRIVER_NOT_RUNNING.found(_absence(facts, driver))
    for other in driver.others:
        yield catalogue.SECOND_DRIVER.found(f"{other} is a driver too, in this network namespace")
    yield from _judge_capabilities(facts, driver)
    yield from _judge_socket(facts, driver)
    yield from _judge_places(facts, driver)
    if driver.process is not None:
        yield from _judge_admin(facts)


def _absence(facts: HostFacts, driver: DriverFacts) -> str:
    text = f"no D4D has the state directory {facts.settings.state_dir}"
    if driver.socket.state is SocketState.WAITING:
        text += "; systemd listens at the plugin socket, and starts it at Docker's next call"
    return text


def _judge_capabilities(facts: HostFacts, driver: DriverFacts) -> Iterator[Finding]:
    if driver.privileges is None or driver.process is None:
        return
    needed = [("CAP_NET_RAW", NET_RAW, "speaks no DHCP on a parent, and asks nobody by ARP")]
    if facts.is_relaying:
        needed.append(("CAP_NET_BIND_SERVICE", NET_BIND_SERVICE, "can't have port 67 as a relay"))
    for name, number, consequence in needed:
        if not driver.privileges.has(number):
            yield catalogue.CAPABILITY_MISSING.found(
                f"{driver.process} runs as user {driver.privileges.uid} without {name}: it "
                f"{consequence}",
                capability=name,
            )


def _judge_socket(facts: HostFacts, driver: DriverFacts) -> Iterator[Finding]:
    path, at = facts.settings.plugin_socket, driver.socket
    match at.state:
        case SocketState.ABSENT if driver.process is not None:
            yield catalogue.PLUGIN_SOCKET_MISSING.found(
                f"{driver.process} runs, and {path} is not there"
            )
        case SocketState.STALE:
            yield catalogue.PLUGIN_SOCKET_STALE.found(f"nobody listens at {path} ({at.detail})")
        case SocketState.DENIED:
            yield catalogue.PLUGIN_SOCKET_DENIED.found(f"{path}: {at.detail}")
        case SocketState.NO_SOCKET:
            yield catalogue.PLUGIN_SOCKET_FOREIGN.found(f"{path} is no socket")
        case SocketState.SILENT:
            yield catalogue.PLUGIN_SOCKET_SILENT.found(
                f"{at.listener} listens at {path}, and did not answer "
                f"IpamDriver.GetCapabilities: {at.detail}"
            )
        case SocketState.ANSWERS if not _is_ours(driver):
            yield catalogue.PLUGIN_SOCKET_FOREIGN.found(
                f"{at.listener} serves {path}, and is not this D4D: it answers "
                f"IpamDriver.GetCapabilities with {at.answer}"
            )
        case _:
            pass


def _is_ours(driver: DriverFacts) -> bool:
    """Whether the driver answers at its socket, made by itself or by systemd."""
    if driver.socket.answer != CAPABILITIES or driver.process is None:
        return False
    listener = driver.socket.listener
    return listener is None or listener.pid in (driver.process.pid, _INIT)


def _judge_places(facts: HostFacts, driver: DriverFacts) -> Iterator[Finding]:
    path = facts.settings.plugin_socket
    if path.parent not in _PLUGINS:
        yield catalogue.PLUGIN_SOCKET_ELSEWHERE.found(f"Docker does not look for {path}")
    for spec in driver.specs:
        yield catalogue.PLUGIN_SPEC_LEFT.found(f"{spec} names a driver {path.stem}, too")
    if driver.port_67 and facts.is_relaying:
        owners = ", ".join(map(str, driver.port_67))
        yield catalogue.PORT_67_TAKEN.found(f"UDP port 67 is {owners}'s, and D4D is to relay")


def _judge_admin(facts: HostFacts) -> Iterator[Finding]:
    if facts.admin is None:
        return
    if facts.admin.error is not None:
        yield catalogue.ADMIN_SILENT.found(facts.admin.error)
    elif facts.admin.version != facts.version:
        yield catalogue.DRIVER_OUTDATED.found(
            f"D4D {facts.admin.version} runs, and {facts.version} is installed"
        )
    for text in facts.admin.failing:
        yield catalogue.DRIVER_NOT_READY.found(f"the driver is not ready: {text}")
