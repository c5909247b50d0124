"""What every adapter of Hosts must do, by whatever clock it goes."""

from datetime import UTC, datetime, timedelta

import pytest

from d4d.adapters.stores.memory.hosts import MemoryHosts
from d4d.domain.ports.allocator import DRAIN, Beat, Hosts

LONG, NO_TIME = timedelta(hours=1), timedelta(0)


@pytest.fixture
def hosts() -> Hosts:
    return MemoryHosts()


def now() -> datetime:
    return datetime.now(UTC)


async def beat(hosts: Hosts, host: str, at: datetime) -> Beat:
    return await hosts.beat(host, "installation-1", LONG, at)


async def test_a_host_is_new_once(hosts: Hosts) -> None:
    assert await beat(hosts, "host-a", now()) is Beat.NEW
    assert await beat(hosts, "host-a", now()) is Beat.KNOWN
    assert await beat(hosts, "host-b", now()) is Beat.NEW


async def test_another_installation_has_the_name_when_the_first_was_silent(hosts: Hosts) -> None:
    await beat(hosts, "host-a", now())
    assert await hosts.beat("host-a", "installation-2", LONG, now()) is Beat.NAMESAKE
    assert await beat(hosts, "host-a", now()) is Beat.KNOWN, "what does not count was counted"
    assert await hosts.beat("host-a", "installation-2", NO_TIME, now()) is Beat.KNOWN
    assert await beat(hosts, "host-a", now()) is Beat.NAMESAKE
    assert [*await hosts.ages(now())] == ["host-a"]


async def test_another_installation_has_the_name_of_a_host_that_was_drained(hosts: Hosts) -> None:
    await beat(hosts, "host-a", now())
    assert await hosts.begin_drain("host-a", "host-b", NO_TIME, now())
    await hosts.forget_host("host-a")
    assert await hosts.beat("host-a", "installation-2", LONG, now()) is Beat.NEW


async def test_it_is_told_how_long_ago_each_was_heard_of(hosts: Hosts) -> None:
    assert await hosts.ages(now()) == {}
    await beat(hosts, "host a/ü", now())
    await beat(hosts, "host-b", now())
    ages = await hosts.ages(now())
    assert set(ages) == {"host a/ü", "host-b"}
    assert all(NO_TIME <= age < LONG for age in ages.values())


async def test_a_host_that_was_heard_of_is_not_drained(hosts: Hosts) -> None:
    await beat(hosts, "host-a", now())
    assert not await hosts.begin_drain("host-a", "host-b", LONG, now())
    assert await beat(hosts, "host-a", now()) is Beat.KNOWN


async def test_a_host_that_never_beat_may_be_drained(hosts: Hosts) -> None:
    assert await hosts.begin_drain("host-a", "host-b", LONG, now())
    assert await beat(hosts, "host-a", now()) is Beat.DRAINED


async def test_one_host_drains_another_until_it_is_forgotten(hosts: Hosts) -> None:
    await beat(hosts, "host-a", now())
    assert await hosts.begin_drain("host-a", "host-b", NO_TIME, now())
    assert await hosts.begin_drain("host-a", "host-b", NO_TIME, now()), "it may go on"
    assert not await hosts.begin_drain("host-a", "host-c", NO_TIME, now())
    assert await beat(hosts, "host-a", now()) is Beat.DRAINED
    assert "host-a" in await hosts.ages(now())
    await hosts.forget_host("host-a")
    assert await hosts.ages(now()) == {}
    assert await beat(hosts, "host-a", now()) is Beat.NEW


async def test_a_drain_that_was_left_half_way_ends_by_itself() -> None:
    hosts, then = MemoryHosts(), now()
    await beat(hosts, "host-a", then)
    assert await hosts.begin_drain("host-a", "host-b", NO_TIME, then)
    assert await beat(hosts, "host-a", then + DRAIN / 2) is Beat.DRAINED
    assert await beat(hosts, "host-a", then + DRAIN) is Beat.NEW, "it must look what it lost"
    assert await beat(hosts, "host-a", then + DRAIN) is Beat.KNOWN


async def test_another_host_takes_up_a_drain_that_was_left_half_way() -> None:
    hosts, then = MemoryHosts(), now()
    assert await hosts.begin_drain("host-a", "host-b", NO_TIME, then)
    assert await hosts.begin_drain("host-a", "host-c", NO_TIME, then + DRAIN)
