"""Two machines use one Redis by one host's name, as clones of one machine do."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta

import pytest

from lab.d4d_driver import Driver
from lab.lab import Lab
from lab.network import Namespace
from lab.plugin_calls import call
from lab.processes import eventually
from lab.redis_servers import RedisServer

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root")

GRACE = timedelta(seconds=4)
SUBNET = "10.78.0.0/29"
POOL = {
    **{"AddressSpace": "d4d-local", "Pool": SUBNET, "SubPool": "", "V6": False},
    "Options": {"allocator": "range"},
}
FIRST, SECOND = "02:42:0a:4e:00:01", "02:42:0a:4e:00:02"


@dataclass(frozen=True, slots=True, kw_only=True)
class Namesakes:
    """Two drivers whose D4D_HOST is one, not started, and their Redis."""

    one: Driver
    other: Driver
    redis: RedisServer

    def leases(self) -> int:
        """How many Redis has."""
        with self.redis.admin() as client:
            return sum(map(client.hlen, client.scan_iter("d4d:{*}:leases:*")))


@pytest.fixture
def namesakes() -> Iterator[Namesakes]:
    with Lab() as lab:
        switch = lab.switch()
        machine = lab.machine("redis", switch, "10.77.0.4/16")
        redis = RedisServer(machine.directory, namespace=machine).start()
        one, other = (
            driver_on(lab.machine(f"clone{number}", switch, f"10.77.0.{number}/16"), redis)
            for number in (2, 3)
        )
        try:
            yield Namesakes(one=one, other=other, redis=redis)
        finally:
            one.kill()
            other.kill()
            redis.stop()


def driver_on(machine: Namespace, redis: RedisServer) -> Driver:
    home = machine.directory
    settings = {
        "D4D_HOST": "docker1",
        "D4D_STORE": "redis",
        "D4D_REDIS_URL": f"redis://10.77.0.4:{redis.port}/0",
        "D4D_HOST_GRACE": f"{GRACE.total_seconds():.0f}s",
    }
    return Driver(
        machine,
        socket=home / "plugins" / "talkingdata.sock",
        docker_socket=home / "no-docker.sock",
        settings=settings,
    )


def address(driver: Driver, mac: str) -> str:
    """What it answers to Docker, whose container has ``mac``."""
    pool = call(driver.socket, "IpamDriver.RequestPool", POOL)
    assert pool.status == 200, pool
    options = {"com.docker.network.endpoint.macaddress": mac}
    asked = {"PoolID": pool.content["PoolID"], "Address": "", "Options": options}
    answer = call(driver.socket, "IpamDriver.RequestAddress", asked)
    assert answer.status == 200, answer
    return str(answer.content["Address"])


def test_the_second_gets_nothing_until_the_first_is_gone(namesakes: Namesakes) -> None:
    one, other = namesakes.one, namesakes.other
    one.start()
    leased = address(one, FIRST)

    other.start()
    refused = call(other.socket, "IpamDriver.RequestPool", POOL)

    assert refused.status == 503
    assert "another machine uses the store as host docker1" in refused.content["Err"]
    assert namesakes.leases() == 1, "it took the other's lease for its own"

    one.kill()
    one.start()
    assert address(one, FIRST) == leased, "a crash made it a stranger to its own name"
    assert address(one, SECOND) != leased
    assert namesakes.leases() == 2

    one.stop()
    eventually(
        lambda: call(other.socket, "IpamDriver.RequestPool", POOL).status == 200,
        what="the name is never free again",
    )
