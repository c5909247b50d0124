"""A bridge of this host that a network may stand on, and what Docker would do to its address.

An IPAM driver is not told which network driver asks. Docker's bridge driver makes what it hears as
the network's gateway the bridge's own address, and takes away the one that was there: with the
site's router as the gateway the host loses its address and its default route, and answers for the
router. To macvlan the gateway is what it says. So on a bridge no gateway is made up: who creates
the network says which it is.
"""

from dataclasses import dataclass
from ipaddress import IPv4Interface, IPv6Interface, IPv6Network
from typing import NoReturn

from d4d.domain.addressing import Address
from d4d.domain.errors import BadRequest
from d4d.domain.pools import Pool

_ROUTER, _HOST = "ROUTER", "HOST"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bridge:
    """One bridge of the host's."""

    name: str
    address: IPv4Interface | IPv6Interface | None = None
    """The host's own on it, in the pool's subnet if it has one there."""

    def refuse(self, pool: Pool, *, router: Address | None, driver: str) -> NoReturn:
        """Raises BadRequest: a network of ``pool`` needs a gateway; with the commands that do.

        ``router`` is what would have been the gateway, if it is known; ``driver`` our name.
        """
        host = self.address.ip if self.address is not None else None
        own = f"this host's {host}" if host else "what address it has"
        would_be = f"the gateway {router}" if router else "the gateway"
        harm = (
            f"would put {would_be} on {self.name} in place of {own}, and the host would lose its "
            f"network"
        )
        if router is not None and router == host:
            harm = f"makes it the address of {self.name}, where only {own} may be"
        unknown = [
            text
            for text, value in (
                (f"{_ROUTER} is the site's router", router),
                (f"{_HOST} is this host's own address on {self.name}", host),
            )
            if value is None
        ]
        if isinstance(pool.subnet, IPv6Network):
            unknown.append("beside what the network has of IPv4")
        hint = f" ({', '.join(unknown)})" if unknown else ""
        raise BadRequest(
            f"no --gateway is given, and {self.name} is a bridge of this host: Docker's bridge "
            f"driver {harm}. Give the gateway{hint}: for macvlan "
            f"`{self._macvlan(pool, router, driver)}`, or for the bridge driver "
            f"`{self._bridged(pool, router, driver)}`"
        )

    def _macvlan(self, pool: Pool, router: Address | None, driver: str) -> str:
        parent = pool.options.parent or self.name
        words = ("-d macvlan", f"-o parent={parent}", *_asked(pool, pool.options.as_text()))
        return _command(*words, f"--gateway={router or _ROUTER}", driver=driver)

    def _bridged(self, pool: Pool, router: Address | None, driver: str) -> str:
        options = pool.options.as_text()
        if "parent" in options:
            options["parent"] = self.name
        host = self.address.ip if self.address is not None else _HOST
        way_out = f"--aux-address=DefaultGatewayIPv{pool.subnet.version}={router or _ROUTER}"
        return _command(
            *("-d bridge", f"-o com.docker.network.bridge.name={self.name}"),
            *(*_asked(pool, options), f"--gateway={host}"),
            *([] if router == host else [way_out]),
            driver=driver,
        )


def _asked(pool: Pool, options: dict[str, str]) -> list[str]:
    """What was asked for."""
    ranged = [f"--ip-range={pool.range}"] if pool.range else []
    told = [f"--ipam-opt {name}={text}" for name, text in options.items()]
    ipv6 = ["--ipv6"] if isinstance(pool.subnet, IPv6Network) else []
    return [*ipv6, f"--subnet={pool.subnet}", *ranged, *told]


def _command(*words: str, driver: str) -> str:
    return " ".join(("docker network create", *words, f"--ipam-driver={driver}", "NAME"))
