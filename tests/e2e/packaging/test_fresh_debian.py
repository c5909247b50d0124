"""A fresh Debian with its own docker.io, D4D's package, and the commands that README shows."""

import json
import shlex
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from lab.dhcp_servers import Dhcpd
from lab.lab import Lab
from lab.processes import eventually, run
from lab.standard_site import SITE
from tests.support.packages import ROOT, PackagedDriver, Root, RootedEngine, build, lacks

pytestmark = [
    pytest.mark.packages,
    pytest.mark.skipif(lacks("mmdebstrap", "dpkg-deb"), reason="needs root and mmdebstrap"),
]

DEBIANS = {"bookworm": ["docker.io"], "trixie": ["docker.io", "docker-cli"]}


def shown_in_readme() -> tuple[list[str], list[str]]:
    """The commands that make a network and run a container."""
    text = (ROOT / "README.md").read_text().replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line.startswith("docker ")]
    (network,) = (line for line in lines if line.startswith("docker network create"))
    (container,) = (line for line in lines if line.startswith("docker run -d"))
    return shlex.split(network), shlex.split(container)


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("deb", tmp_path_factory.mktemp("deb"), "--quick")


@pytest.mark.parametrize("suite", DEBIANS)
def test_readmes_commands_give_a_container_a_lease(suite: str, package: Path) -> None:
    here = {"192.168.59.0/24": str(SITE.subnet), "192.168.59.1": str(SITE.router)}
    here |= {"parent=enp0s8": "parent=eth0", "nginx": "lab:busybox sleep 1000000"}
    network, container = (
        shlex.split(" ".join(_replaced(word, here) for word in words))
        for words in shown_in_readme()
    )
    with Lab() as lab, Root(suite, lab.directory, *DEBIANS[suite]) as root:
        switch = lab.switch()
        server = lab.server(Dhcpd, lab.machine("server", switch, "10.77.0.1/16"), SITE)
        server.start()
        host = lab.machine("host", switch, "10.77.0.2/16")
        root.install(package)
        driver = PackagedDriver(root, host)
        driver.start()
        engine = RootedEngine(root, host)
        try:
            engine.start()
            run(engine.command(network))
            run(engine.command(container))
            (web,) = json.loads(run(engine.command(["docker", "inspect", "web"])))
            end = web["NetworkSettings"]["Networks"]["lan"]
            binding = server.leased()[IPv4Address(end["IPAddress"])]
            assert binding.mac == end["MacAddress"]
            run(engine.command(["docker", "rm", "--force", "web"]))
            eventually(lambda: not server.leased(), what="the server heard of no release")
        finally:
            engine.close()
            driver.kill()


def _replaced(word: str, by: dict[str, str]) -> str:
    for old, new in by.items():
        word = word.replace(old, new)
    return word
