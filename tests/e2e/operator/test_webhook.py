"""A real driver tells a web server what an operator must hear."""

import os

import pytest

from d4d.entrypoints.admin_api.schemas import WebhookMessage
from lab.d4d_driver import Driver
from lab.lab import Lab
from lab.plugin_calls import call
from lab.processes import eventually
from lab.webhook_receiver import Receiver

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root")

POOL = {
    "AddressSpace": "d4d-local",
    "Pool": "10.79.0.0/29",
    "SubPool": "",
    "Options": {"allocator": "range"},
}


def test_a_pool_that_becomes_nearly_full_is_told() -> None:
    with Lab() as lab:
        host = lab.machine("host", lab.switch(), "10.77.0.2/16")
        with Receiver(host, 9080) as receiver:
            driver = Driver(
                host,
                socket=host.directory / "talkingdata.sock",
                docker_socket=host.directory / "none.sock",
                settings={
                    "D4D_WEBHOOK_URL": f"{receiver.url}/hook",
                    "D4D_WEBHOOK_SECRET": "0123456789abcdef",
                    "D4D_POOL_NEARLY_FULL": "50",
                    "D4D_HOST": "docker1",
                },
            )
            driver.start()
            pool = call(driver.socket, "IpamDriver.RequestPool", POOL).content["PoolID"]
            for number in range(4):
                options = {"com.docker.network.endpoint.macaddress": f"02:42:0a:4f:00:0{number}"}
                asked = {"PoolID": pool, "Address": "", "Options": options}
                assert call(driver.socket, "IpamDriver.RequestAddress", asked).status == 200

            eventually(lambda: receiver.requests, what=driver.log)

            (request,) = receiver.requests
            message = WebhookMessage.model_validate_json(request.body)
            assert (request.path, message.kind) == ("/hook", "pool_nearly_full")
            assert (message.host, message.pool, message.used) == ("docker1", pool, 4)
            assert request.headers["D4D-Signature"].startswith("sha256=")
            config = driver.cli("config")
            assert "127.0.0.1:9080/***" in config
            assert "0123456789abcdef" not in config + driver.log()
            assert driver.stop() == 0
            assert driver.exceptions() == []
