"""Four DHCP servers behind one surface, so that a test runs on each of them."""

import json
import os
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from signal import SIGUSR1
from typing import ClassVar

from lab import server_lease_files
from lab.network import Namespace
from lab.processes import Daemon, eventually
from lab.server_lease_files import Binding, read_steadily

_SUBNET = IPv4Network("10.77.0.0/16")


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """What the server gives out. dnsmasq makes a lease of less than 120 s one of 120 s."""

    subnet: IPv4Network = _SUBNET
    first: IPv4Address = _SUBNET[16 * 256 + 1]
    last: IPv4Address = _SUBNET[95 * 256 + 254]
    router: IPv4Address = _SUBNET[254]
    dns: IPv4Address = _SUBNET[1]
    domain: str = "d4d.test"
    lease_time: timedelta = timedelta(seconds=20)
    renewal_time: timedelta | None = None
    """Option 58; None leaves options 58 and 59 out (Kea sends half and 7/8 of the lease)."""
    rebinding_time: timedelta | None = None
    ping_check: bool = False
    """Whether dhcpd and dnsmasq ping an address before they offer it, as they do by default."""
    fixed: tuple[tuple[str, IPv4Address], ...] = ()
    """MACs, and the address that the server keeps for each: in the configuration, not the range."""
    lines: tuple[str, ...] = ()
    """Lines of dnsmasq's or dhcpd's configuration beside what is said here."""
    insists: bool = True
    """Whether Kea 2.6 offers a client what it gave back, whatever it asks for, as by default."""


class Server(ABC):
    """A DHCP server on eth0 of a machine: a daemon, its configuration and its lease file."""

    name: ClassVar[str]
    _ready: ClassVar[str]
    """What its log says when it serves."""

    def __init__(self, namespace: Namespace, site: Site) -> None:
        self.namespace = namespace
        self.site = site
        self.directory = namespace.directory / self.name
        self.directory.mkdir()
        self.leases = self.directory / "leases"
        self.config = self.directory / "config"
        self.config.write_text(self._configuration())
        self._forget()
        # Kea keeps its files where its package says, unless told otherwise (2.6: in these only).
        places = ("PIDFILE_DIR", "LOCKFILE_DIR", "DHCP_DATA_DIR", "LOG_FILE_DIR")
        kea = {f"KEA_{place}": str(self.directory) for place in places}
        self.daemon: Daemon = namespace.daemon(
            self.name, self._command(), env={**os.environ, **kea}
        )

    @abstractmethod
    def bindings(self) -> list[Binding]:
        """What its own database says now, one for each address, also what is no longer active."""

    def leased(self) -> dict[IPv4Address, Binding]:
        """Its active bindings, by address."""
        return {binding.address: binding for binding in self.bindings() if binding.active}

    def releases(self) -> list[str]:
        """The lines of its log, in lower case, that tell of a RELEASE that it heard."""
        return [line for line in self.log().lower().splitlines() if "release" in line]

    def start(self) -> None:
        """Serve. Raises LabError with its log if it does not come up."""
        self.daemon.start(ready=lambda log: self._ready in log)

    def stop(self) -> None:
        """Stop serving; the database stays."""
        self.daemon.stop()

    def restart(self, *, keep_database: bool = True) -> None:
        """Stop and start, with the leases or having forgotten them."""
        self.stop()
        if not keep_database:
            self._forget()
        self.start()

    def log(self) -> str:
        """What it has printed, over all its starts."""
        return self.daemon.logged()

    def close(self) -> None:
        """End it, whatever it does."""
        self.daemon.kill()

    @property
    def _on_link(self) -> bool:
        return self.namespace.address.ip in self.site.subnet

    def _forget(self) -> None:
        for path in self.directory.glob("leases*"):
            path.unlink()
        self.leases.touch()

    @abstractmethod
    def _configuration(self) -> str: ...

    @abstractmethod
    def _command(self) -> Sequence[str | Path]: ...


class Dhcpd(Server):
    """ISC dhcpd."""

    name = "dhcpd"
    _ready = "Server starting service"

    def bindings(self) -> list[Binding]:
        return server_lease_files.dhcpd(read_steadily(self.leases).decode(), datetime.now(UTC))

    def _command(self) -> Sequence[str | Path]:
        options = ["-4", "-f", "-d", "-user", "root", "-group", "root", "--no-pid"]
        return ["dhcpd", *options, "-cf", self.config, "-lf", self.leases, "eth0"]

    def _configuration(self) -> str:
        site, seconds = self.site, _seconds(self.site.lease_time)
        lines = [
            "authoritative; ddns-update-style none; dhcp-cache-threshold 0;",
            f"ping-check {'true' if site.ping_check else 'false'};",
            # Its minimum is 300 s by default.
            f"default-lease-time {seconds}; min-lease-time 5; max-lease-time {max(7200, seconds)};",
            f'option domain-name-servers {site.dns}; option domain-name "{site.domain}";',
        ]
        if site.renewal_time is not None:
            lines.append(f"option dhcp-renewal-time {_seconds(site.renewal_time)};")
        if site.rebinding_time is not None:
            lines.append(f"option dhcp-rebinding-time {_seconds(site.rebinding_time)};")
        if not self._on_link:  # it wants to know its own subnet, to serve nothing there
            own = self.namespace.address.network
            lines.append(f"subnet {own.network_address} netmask {own.netmask} {{ }}")
        lines.append(
            f"subnet {site.subnet.network_address} netmask {site.subnet.netmask} "
            f"{{ range {site.first} {site.last}; option routers {site.router}; }}"
        )
        lines += [
            f"host h{number} {{ hardware ethernet {mac}; fixed-address {address}; }}"
            for number, (mac, address) in enumerate(site.fixed)
        ]
        return "\n".join([*lines, *site.lines, ""])


class Kea(Server):
    """ISC Kea, 2.2 and later."""

    name = "kea"
    _ready = "DHCP4_STARTED"

    def bindings(self) -> list[Binding]:
        return server_lease_files.kea(read_steadily(self.leases).decode(), datetime.now(UTC))

    def _command(self) -> Sequence[str | Path]:
        return ["kea-dhcp4", "-c", self.config]

    def _configuration(self) -> str:
        site = self.site
        subnet: dict[str, object] = {
            "id": 1,
            "subnet": str(site.subnet),
            "pools": [{"pool": f"{site.first}-{site.last}"}],
            "option-data": [
                {"name": "routers", "data": str(site.router)},
                {"name": "domain-name-servers", "data": str(site.dns)},
                {"name": "domain-name", "data": site.domain},
            ],
        }
        if site.fixed:
            fixed = [{"hw-address": mac, "ip-address": str(at)} for mac, at in site.fixed]
            subnet["reservations"] = fixed
        if self._on_link:
            subnet["interface"] = "eth0"
        timers = {
            "renew-timer": site.renewal_time,
            "rebind-timer": site.rebinding_time,
            "valid-lifetime": site.lease_time,
        }
        dhcp4: dict[str, object] = {
            "interfaces-config": {"interfaces": ["eth0"], "dhcp-socket-type": "raw"},
            "lease-database": {
                "type": "memfile",
                "persist": True,
                "name": str(self.leases),
                "lfc-interval": 0,
            },
            "authoritative": True,
            "calculate-tee-times": True,
            "subnet4": [subnet],
            "loggers": [
                {
                    "name": "kea-dhcp4",
                    "output_options": [{"output": "stdout"}],
                    "severity": "INFO",
                }
            ],
        }
        dhcp4 |= {name: _seconds(time) for name, time in timers.items() if time is not None}
        if not site.insists:
            dhcp4["expired-leases-processing"] = {"hold-reclaimed-time": 0}
        return json.dumps({"Dhcp4": dhcp4}, indent=1)


class Dnsmasq(Server):
    """dnsmasq, as a DHCP server only."""

    name = "dnsmasq"
    _ready = "DHCP, IP range"

    def bindings(self) -> list[Binding]:
        return server_lease_files.dnsmasq(read_steadily(self.leases).decode(), datetime.now(UTC))

    def _command(self) -> Sequence[str | Path]:
        pid_file = f"--pid-file={self.directory / 'pid'}"
        return ["dnsmasq", "-k", "-C", self.config, pid_file, "--log-facility=-"]

    def _configuration(self) -> str:
        site = self.site
        pool = f"{site.first},{site.last},{site.subnet.netmask},{_seconds(site.lease_time)}"
        lines = ["port=0", "interface=eth0", "except-interface=lo", "bind-interfaces"]
        lines += ["user=root", "group=root", "dhcp-authoritative", "log-dhcp"]
        lines += [f"dhcp-leasefile={self.leases}", "dhcp-lease-max=20000", f"dhcp-range={pool}"]
        lines += [f"dhcp-option=option:router,{site.router}"]
        lines += [f"dhcp-option=option:dns-server,{site.dns}", f"domain={site.domain}"]
        if site.renewal_time is not None:
            lines.append(f"dhcp-option-force=option:T1,{_seconds(site.renewal_time)}")
        if site.rebinding_time is not None:
            lines.append(f"dhcp-option-force=option:T2,{_seconds(site.rebinding_time)}")
        lines += [f"dhcp-host={mac},{address}" for mac, address in site.fixed]
        if not site.ping_check:
            lines.append("no-ping")
        return "\n".join([*lines, *site.lines, ""])


class Udhcpd(Server):
    """busybox's udhcpd: it stores no client ids and takes leases of a few seconds."""

    name = "udhcpd"
    _ready = "started"

    def bindings(self) -> list[Binding]:
        if self.daemon.running:
            self._snapshot.unlink(missing_ok=True)
            self.daemon.signal(SIGUSR1)  # write the lease file, then call notify_file
            eventually(self._snapshot.exists, what="udhcpd wrote no lease file")
            return server_lease_files.udhcpd(self._snapshot.read_bytes(), datetime.now(UTC))
        content = self.leases.read_bytes()  # complete: it was written when udhcpd ended
        return server_lease_files.udhcpd(content, datetime.now(UTC)) if content else []

    @property
    def _snapshot(self) -> Path:
        return self.directory / "snapshot"

    def _command(self) -> Sequence[str | Path]:
        return ["busybox", "udhcpd", "-f", self.config]

    def _configuration(self) -> str:
        site = self.site
        notify = self.directory / "notify"
        copy = self.directory / "copy"
        notify.write_text(f'#!/bin/sh\ncp "$1" {copy} && mv {copy} {self._snapshot}\n')
        notify.chmod(0o755)
        lines = [
            f"start {site.first}",
            f"end {site.last}",
            "interface eth0",
            "max_leases 20000",
            "auto_time 0",
            "min_lease 5",
            "conflict_time 5",
            f"lease_file {self.leases}",
            f"pidfile {self.directory / 'pid'}",
            f"notify_file {notify}",
            f"option subnet {site.subnet.netmask}",
            f"option router {site.router}",
            f"option dns {site.dns}",
            f"option domain {site.domain}",
            f"option lease {_seconds(site.lease_time)}",
        ]
        if site.renewal_time is not None:
            lines.append(f"option 0x3a {_seconds(site.renewal_time):08x}")
        if site.rebinding_time is not None:
            lines.append(f"option 0x3b {_seconds(site.rebinding_time):08x}")
        return "\n".join([*lines, ""])


def _seconds(time: timedelta) -> int:
    return round(time.total_seconds())


SERVERS: tuple[type[Server], ...] = (Dhcpd, Kea, Dnsmasq, Udhcpd)
"""For ``pytest.mark.parametrize``."""
