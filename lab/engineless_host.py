"""A host without an engine: a driver, and what Docker would ask of it."""

from collections.abc import Mapping

from lab.d4d_driver import Driver
from lab.network import Namespace
from lab.plugin_calls import Reply, call

_MACS = (f"02:42:0a:4d:{2 + n // 256:02x}:{n % 256:02x}" for n in range(128 * 256))


def next_mac() -> str:
    """One that no container of this run has had."""
    return next(_MACS)


class PluginHost:
    """Calls the plugin as engine 29 does: with the names of containers."""

    def __init__(self, machine: Namespace, settings: Mapping[str, str] | None = None) -> None:
        self.driver = Driver(
            machine,
            socket=machine.directory / "talkingdata.sock",
            docker_socket=machine.directory / "none.sock",
            settings=settings,
        )
        self.d4d, self.json = self.driver.d4d, self.driver.json

    def start(self) -> None:
        """Start the driver."""
        self.driver.start()

    def create(self, subnet: str, **options: str) -> str:
        """The id of the pool of a new network."""
        body = {"AddressSpace": "d4d-local", "Pool": subnet, "SubPool": "", "Options": options}
        reply = call(self.driver.socket, "IpamDriver.RequestPool", body)
        assert reply.status == 200, reply
        return str(reply.content["PoolID"])

    def ask(self, pool: str, name: str, mac: str = "", *, address: str = "") -> Reply:
        """What comes back where a container starts; ``address`` is that of ``--ip``."""
        options = {
            "com.docker.network.endpoint.macaddress": mac or next_mac(),
            "com.docker.network.endpoint.name": name,
        }
        body = {"PoolID": pool, "Address": address, "Options": options}
        return call(self.driver.socket, "IpamDriver.RequestAddress", body)

    def run(self, pool: str, name: str, mac: str = "", *, address: str = "") -> str:
        """The address of a container that starts."""
        reply = self.ask(pool, name, mac, address=address)
        assert reply.status == 200, reply
        return str(reply.content["Address"]).partition("/")[0]

    def remove(self, pool: str, address: str) -> None:
        """End the container that has the address."""
        body = {"PoolID": pool, "Address": address}
        assert call(self.driver.socket, "IpamDriver.ReleaseAddress", body).status == 200
