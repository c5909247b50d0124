"""Leases that a real DHCP server gave come back from a backup, also into another kind of store."""

import os
import shutil
from contextlib import aclosing
from datetime import UTC, datetime
from ipaddress import ip_address
from pathlib import Path

import pytest

from d4d.adapters.stores.redis.store import RedisLeaseStore
from d4d.adapters.system.state_directory import StateDirectory
from d4d.bootstrap import compose
from d4d.domain.addressing import MacAddress
from d4d.domain.errors import AddressInUse
from d4d.domain.leases import Endpoint, Lease
from d4d.domain.pools import PoolId
from d4d.operations.backup import back_up, restore
from d4d.settings.loading import load_settings
from lab.dhcp_servers import Dhcpd, Site
from lab.lab import Lab
from lab.processes import LabError
from lab.redis_servers import RedisServer
from tests.support.scenarios import LONG, NewEngine, World, events

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root")

WEB_MAC, DB_MAC = "0e:a2:bc:e5:f4:01", "0e:a2:bc:e5:f4:02"
DRIVERS_USER = 4711
WEB = Lease(
    pool=PoolId("10.0.0.0/24?allocator=range"),
    address=ip_address("10.0.0.10"),
    endpoint=Endpoint(mac=MacAddress.parse(WEB_MAC), name="web"),
    owner="host-a",
    acquired_at=datetime(2026, 3, 1, tzinfo=UTC),
)


async def test_names_that_hosts_share_are_claimed_again(tmp_path: Path) -> None:
    redis = RedisServer(tmp_path / "redis").start()
    try:
        settings = load_settings(
            files=(),
            store="redis",
            redis_url=redis.url,
            state_dir=tmp_path / "d4d",
            host="host-a",
            identity="cluster-name",
        )
        state_dir = StateDirectory(settings.state_dir)
        state_dir.lock()
        state_dir.host("host-a")
        state_dir.close()
        async with aclosing(RedisLeaseStore(redis.url)) as store:
            lease = await store.add(WEB)
            await store.names.settle_name(lease)
            backup = await back_up(compose(settings), everyone=False)
            assert redis.command("FLUSHALL") == b"+OK"

            restored = await restore(
                compose(settings), backup, replacing=False, agree=lambda _: None
            )

            assert (restored.leases, restored.refused) == (1, [])
            with pytest.raises(AddressInUse, match=r"web has 10\.0\.0\.10 on host host-a"):
                await store.names.claim_name(WEB.pool, "web", "host-b")
    finally:
        redis.stop()


def test_lost_leases_come_back_from_a_backup_and_move_to_redis(tmp_path: Path) -> None:
    file = tmp_path / "backup"
    redis = RedisServer(tmp_path / "redis").start()
    try:
        with Lab() as lab:
            world = World(lab, Dhcpd, site=Site(lease_time=LONG), docker=False)
            driver, engine = world.driver, NewEngine(world)
            web, db = engine.run("web", WEB_MAC), engine.run("db", DB_MAC)
            for end in (web, db):
                world.await_lease(end)
            assert "1 pools, 2 leases" in driver.cli("backup", str(file))
            with pytest.raises(LabError, match="another D4D"):
                driver.cli("restore", str(file), "--replace", "--yes")

            assert driver.stop() == 0
            name = (driver.state_dir / "host").read_text()
            shutil.rmtree(driver.state_dir)
            driver.state_dir.mkdir(mode=0o700)
            os.chown(driver.state_dir, DRIVERS_USER, DRIVERS_USER)
            assert "2 leases" in driver.cli("restore", str(file), "--yes")
            assert (driver.state_dir / "host").read_text() == name
            made = {path.name: path.stat().st_uid for path in driver.state_dir.iterdir()}
            assert {"leases.db", "lock", "host"} <= made.keys()
            assert set(made.values()) == {DRIVERS_USER}
            driver.start()
            assert (engine.run("web", WEB_MAC), engine.run("db", DB_MAC)) == (web, db)
            assert world.has(web)
            assert world.has(db)

            driver.cli("backup", str(file))
            assert driver.stop() == 0
            driver.environment |= {"D4D_STORE": "redis", "D4D_REDIS_URL": redis.url}
            (driver.state_dir / "leases.db").unlink()
            driver.cli("restore", str(file), "--yes")
            driver.start()
            assert (engine.run("web", WEB_MAC), engine.run("db", DB_MAC)) == (web, db)
            assert events(driver, "released") == []
            assert world.has(web)

            # The server takes it back from the client that it gave it to only. Docker was answered
            # with it three times, so its release alone would wait for a look at its containers.
            driver.cli("release", str(db.address), "--yes")
            world.await_release(db.address)
            assert world.has(web)
            assert driver.exceptions() == []
            assert not (driver.state_dir / "leases.db").exists()
    finally:
        redis.stop()
