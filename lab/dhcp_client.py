"""A DHCP client that is nobody's invention here: busybox's udhcpc, on a machine of the lab."""

import re
from ipaddress import IPv4Address
from signal import SIGUSR2

from lab.network import Namespace
from lab.processes import LabError, eventually

_SCRIPT = """#!/bin/sh
# $ip has to be the interface's own, or the RELEASE could not be sent from it.
case "$1" in
bound) ip addr add "$ip/$mask" dev "$interface"; echo "bound to $ip" ;;
deconfig) ip addr flush dev "$interface"; echo deconfigured ;;
esac
"""
_BOUND = re.compile(r"^bound to (\S+)$", re.MULTILINE)


class Udhcpc:
    """A client on eth0 of a namespace that has no address there yet."""

    def __init__(self, namespace: Namespace, *, hostname: str) -> None:
        self.namespace = namespace
        script = namespace.directory / "udhcpc.sh"
        script.write_text(_SCRIPT)
        script.chmod(0o755)
        options = ("-f", "-n", "-i", "eth0", "-s", str(script), "-x", f"hostname:{hostname}")
        self.daemon = namespace.daemon("udhcpc", ["busybox", "udhcpc", *options])

    def acquire(self) -> IPv4Address:
        """Start, and answer the address that it was given. Raises LabError with its log."""
        self.daemon.start(ready=lambda log: _BOUND.search(log) is not None)
        match = _BOUND.search(self.daemon.logged())
        if match is None:
            raise LabError("udhcpc's log has shrunk")
        return IPv4Address(match[1])

    def release(self) -> None:
        """Send RELEASE and end."""
        before = self.daemon.logged().count("deconfigured")
        self.daemon.signal(SIGUSR2)
        eventually(
            lambda: self.daemon.logged().count("deconfigured") > before,
            what="udhcpc released nothing",
        )
        self.close()

    def close(self) -> None:
        """End it at once, without RELEASE."""
        self.daemon.kill()
