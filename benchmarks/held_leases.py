"""Leases that are held by the ten thousand: who has them, when they renew, and what is stored."""

import re
import sqlite3
import time
from contextlib import closing
from datetime import timedelta

from benchmarks.plugin_load import new_mac
from benchmarks.rig import SITE, SUBNET
from lab.d4d_driver import Driver
from lab.dhcp_servers import Dhcpd, Server
from lab.plugin_calls import call

LEASE_TIME = timedelta(seconds=600)
EAGER = "some renew sooner"
"""What stands for the renewals of all: minutes pass until the first of those."""

_EAGER_OCTET = 0x06
_T1 = re.compile(r"(?P<option>option dhcp-renewal-time \d+;)")
_NOBODYS = {"PoolID": SUBNET, "Address": str(SITE.subnet[-2])}
_INSTANTS = ("acquired_at", "bound_at", "renew_at", "rebind_at", "expires_at")


class HasteningDhcpd(Dhcpd):
    """dhcpd that tells option 58 to the eager ones only; the others renew at half of the lease."""

    def _configuration(self) -> str:
        first_octet = f"substring(hardware, 1, 1) = {_EAGER_OCTET:02x}"
        return _T1.sub(rf"if {first_octet} {{ \g<option> }}", super()._configuration())


def macs(amount: int, *, eager: float) -> list[bytes]:
    """So many clients, of whom ``eager`` ones, evenly strewn, renew early."""
    share, made, owed = max(1, eager) / amount, [], 0.0
    for _ in range(amount):
        owed += share
        mac = new_mac()
        if owed >= 1:
            owed -= 1
            mac = bytes([_EAGER_OCTET]) + mac[1:]
        made.append(mac)
    return made


def renewals(server: Server) -> int:
    """How many REQUESTs without an OFFER the server has acknowledged so far."""
    log = server.log()
    return log.count("DHCPACK on") - log.count("DHCPOFFER on")


def start(driver: Driver) -> float:
    """Start the driver; answers the seconds until it answers a call that needs what is stored."""
    began = time.perf_counter()
    driver.start()
    assert call(driver.socket, "IpamDriver.ReleaseAddress", _NOBODYS).status == 200
    return time.perf_counter() - began


def stored_before(driver: Driver, ago: timedelta) -> None:
    """Make what a stopped driver has stored so much older than it is."""
    changes = ", ".join(f"{name} = {name} - :ago" for name in _INSTANTS)
    with closing(sqlite3.connect(driver.state_dir / "leases.db")) as database, database:
        database.execute(f"UPDATE leases SET {changes}", {"ago": ago // timedelta(microseconds=1)})
