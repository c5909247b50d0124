"""D4D as a container of the engine that it serves, as contrib/compose.yaml has it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from lab.dhcp_servers import Dhcpd, Server
from lab.docker_engine import Engine
from lab.lab import Lab
from lab.processes import eventually
from lab.standard_site import SITE
from tests.support.packages import ROOT, build, lacks

pytestmark = [
    pytest.mark.packages,
    pytest.mark.skipif(lacks("mmdebstrap", "dockerd"), reason="needs root, mmdebstrap and Docker"),
]


@pytest.fixture
def site() -> Iterator[tuple[Engine, Server]]:
    with Lab() as lab:
        switch = lab.switch()
        server = lab.server(Dhcpd, lab.machine("server", switch, "10.77.0.1/16"), SITE)
        server.start()
        engine = lab.engine(lab.machine("host", switch, "10.77.0.2/16"))
        engine.start()
        yield engine, server


def options_of_compose(engine: Engine) -> list[str]:
    """The service's options in the words of ``docker run``: there is no compose in Debian 12."""
    service = yaml.safe_load((ROOT / "contrib" / "compose.yaml").read_text())["services"]["d4d"]
    assert (service["restart"], service["network_mode"], service["read_only"]) == (
        "always",
        "host",
        True,
    )
    words = ["--restart=always", "--network=host", "--read-only"]
    words += [f"--cap-drop={each}" for each in service["cap_drop"]]
    words += [f"--cap-add={each}" for each in service["cap_add"]]
    words += [f"--security-opt={each}" for each in service["security_opt"]]
    words += [f"--tmpfs={each}" for each in service["tmpfs"]]
    # the lab's engine has its socket in a folder of its own
    words += [
        f"--volume={each.replace('/run:/host', f'{engine.directory}:/host')}"
        for each in service["volumes"]
    ]
    kept = {"D4D_DOCKER_SOCKET": service["environment"]["D4D_DOCKER_SOCKET"]}  # SQLite, no Redis
    return [*words, *(f"--env={name}={value}" for name, value in kept.items())]


def test_it_leases_for_the_containers_beside_it(
    site: tuple[Engine, Server], tmp_path: Path
) -> None:
    engine, server = site
    start = ("-c", 'ENTRYPOINT ["/usr/bin/d4d"]', "-c", 'CMD ["server"]')
    engine.docker("import", *start, str(build("image", tmp_path)), "d4d:0.1.0")
    engine.docker("run", "--detach", "--name=d4d", *options_of_compose(engine), "d4d:0.1.0")
    socket = engine.plugins / "talkingdata.sock"
    eventually(socket.exists, what=lambda: engine.docker("logs", "d4d"))
    engine.network_create(
        *("lan", "-d", "macvlan", f"--subnet={SITE.subnet}", f"--gateway={SITE.router}"),
        *("--ipam-driver=talkingdata", "-o", "parent=eth0"),
    )
    web = engine.run("web")
    assert server.leased()[web.address].mac == web.mac
    assert str(web.address) in engine.exec("d4d", "/usr/bin/d4d", "leases")
    engine.rm("web")
    eventually(lambda: not server.leased(), what="the server heard of no release")
