"""The package in docs/extending.md, installed as it stands there, and chosen."""

import re
import sys
import tomllib
from collections.abc import AsyncIterator
from ipaddress import ip_network
from pathlib import Path

import pytest

from d4d.adapters.stores.sqlite import SqliteLeaseStore
from d4d.container import Container, compose
from d4d.domain.errors import BadRequest, NoAddress
from d4d.domain.leases import Endpoint, MacAddress
from d4d.domain.pools import PoolOptions, PoolRequest
from d4d.settings import load_settings

GUIDE = Path(__file__).parents[2] / "docs" / "extending.md"
WEB = Endpoint(mac=MacAddress.parse("02:42:0a:09:00:07"), name="web")
STRANGER = Endpoint(mac=MacAddress.parse("02:42:0a:09:00:08"), name="stranger")


def code(language: str) -> str:
    """All that the guide has in a language, one block after the other."""
    return "\n".join(re.findall(rf"^```{language}\n(.*?)^```", GUIDE.read_text(), re.M | re.S))


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the package is installed, as pip does."""
    project = tomllib.loads(code("toml"))["project"]
    (tmp_path / "d4d_table.py").write_text(code("python"))
    metadata = tmp_path / f"d4d_table-{project['version']}.dist-info"
    metadata.mkdir()
    described = {"Metadata-Version": "2.1", "Name": project["name"], "Version": project["version"]}
    (metadata / "METADATA").write_text("".join(f"{k}: {v}\n" for k, v in described.items()))
    groups = project["entry-points"].items()
    (metadata / "entry_points.txt").write_text(
        "\n".join(
            line
            for group, entries in groups
            for line in (f"[{group}]", *(f"{name} = {where}" for name, where in entries.items()))
        )
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "d4d_table", raising=False)
    return tmp_path


@pytest.fixture
async def driver(site: Path) -> AsyncIterator[Container]:
    state_dir = site / "state"
    state_dir.mkdir()
    (state_dir / "table").write_text("web 10.9.0.7\n")
    composed = compose(
        load_settings(
            files=(), state_dir=state_dir, host="host-a", store="shelf", allocator="table"
        )
    )
    await composed.ipam().open()
    yield composed
    await composed.ipam().aclose()
    await composed.store().aclose()


async def test_the_guides_package_serves_a_network_and_a_container(driver: Container) -> None:
    ipam = driver.ipam()
    pool = await ipam.request_pool(PoolRequest(subnet=ip_network("10.9.0.0/24")))
    assert await ipam.request_address(pool.id, WEB, None) == "10.9.0.7/24"
    assert isinstance(driver.store(), SqliteLeaseStore)
    (stored,) = (await driver.store().load("host-a")).leases
    assert (str(stored.address), stored.endpoint) == ("10.9.0.7", WEB)
    await ipam.release_address(pool.id, stored.address)


async def test_its_refusals_are_the_drivers(driver: Container) -> None:
    ipam = driver.ipam()
    pool = await ipam.request_pool(PoolRequest(subnet=ip_network("10.9.0.0/24")))
    with pytest.raises(NoAddress, match=r"table has no such address for stranger .*: add it"):
        await ipam.request_address(pool.id, STRANGER, None)
    with pytest.raises(BadRequest, match="create the network with --subnet"):
        await ipam.request_pool(PoolRequest(subnet=None))


async def test_it_is_a_choice_for_one_network_and_stays_it(driver: Container) -> None:
    options = PoolOptions(allocator="table")
    pool = await driver.ipam().request_pool(
        PoolRequest(subnet=ip_network("10.9.0.0/24"), options=options)
    )
    assert "allocator=table" in pool.id
    with pytest.raises(BadRequest, match="known are dhcp, range, table"):
        await driver.ipam().request_pool(
            PoolRequest(subnet=ip_network("10.8.0.0/24"), options=PoolOptions(allocator="chair"))
        )
