"""The example of docs/extend/allocators-and-stores.md, installed and chosen."""

import ast
import re
import sys
from collections.abc import AsyncIterator, Iterator
from ipaddress import ip_network
from pathlib import Path
from subprocess import run

import pytest

from d4d.adapters.stores.sqlite.store import SqliteLeaseStore
from d4d.bootstrap import DriverParts, compose
from d4d.domain.addressing import MacAddress
from d4d.domain.errors import BadRequest, NoAddress
from d4d.domain.leases import Endpoint
from d4d.domain.pools import PoolOptions, PoolRequest
from d4d.settings.loading import load_settings

ROOT = Path(__file__).parents[2]
GUIDE = ROOT / "docs" / "extend/allocators-and-stores.md"
EXAMPLE = ROOT / "examples" / "d4d-table"
WEB = Endpoint(mac=MacAddress.parse("02:42:0a:09:00:07"), name="web")
STRANGER = Endpoint(mac=MacAddress.parse("02:42:0a:09:00:08"), name="stranger")


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where pip has put the example."""
    target = tmp_path_factory.mktemp("site-packages")
    command = (sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", target)
    run([*command, EXAMPLE], check=True)
    return target


@pytest.fixture
def site(installed: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.syspath_prepend(installed)
    yield
    sys.modules.pop("d4d_table", None)


@pytest.fixture
async def driver(site: None, tmp_path: Path) -> AsyncIterator[DriverParts]:
    state_dir = tmp_path / "state"
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


async def test_the_example_serves_a_network_and_a_container(driver: DriverParts) -> None:
    ipam = driver.ipam()
    pool = await ipam.request_pool(PoolRequest(subnet=ip_network("10.9.0.0/24")))
    assert await ipam.request_address(pool.id, WEB, None) == "10.9.0.7/24"
    assert isinstance(driver.store(), SqliteLeaseStore)
    (stored,) = (await driver.store().load("host-a")).leases
    assert (str(stored.address), stored.endpoint) == ("10.9.0.7", WEB)
    await ipam.release_address(pool.id, stored.address)


async def test_its_refusals_are_the_drivers(driver: DriverParts) -> None:
    ipam = driver.ipam()
    pool = await ipam.request_pool(PoolRequest(subnet=ip_network("10.9.0.0/24")))
    with pytest.raises(NoAddress, match=r"table has no such address for stranger .*: add it"):
        await ipam.request_address(pool.id, STRANGER, None)
    with pytest.raises(BadRequest, match="create the network with --subnet"):
        await ipam.request_pool(PoolRequest(subnet=None))


async def test_it_is_a_choice_for_one_network_and_stays_it(driver: DriverParts) -> None:
    options = PoolOptions(allocator="table")
    pool = await driver.ipam().request_pool(
        PoolRequest(subnet=ip_network("10.9.0.0/24"), options=options)
    )
    assert "allocator=table" in pool.id
    with pytest.raises(BadRequest, match="known are dhcp, range, table"):
        await driver.ipam().request_pool(
            PoolRequest(subnet=ip_network("10.8.0.0/24"), options=PoolOptions(allocator="chair"))
        )


@pytest.mark.parametrize("file", ["d4d_table.py", "pyproject.toml"])
def test_the_guide_shows_the_example_as_it_is(file: str) -> None:
    blocks = re.findall(r"^```(?:python|toml)\n(.*?)^```", GUIDE.read_text(), re.M | re.S)
    source = (EXAMPLE / file).read_text()
    shown = [block for block in blocks if block in source]
    assert re.sub(r"\s+", "", "".join(shown)) == re.sub(r"\s+", "", source)


def test_the_example_needs_nothing_of_d4d_but_its_extension_api() -> None:
    tree = ast.parse((EXAMPLE / "d4d_table.py").read_text())
    imported = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {name for name in imported if name and name.startswith("d4d")} == {"d4d.extension_api"}
