"""What every adapter of Hosts must do, by whatever clock it goes."""

from datetime import UTC, datetime, timedelta

import pytest

from d4d.adapters.stores.memory.hosts import MemoryHosts
from d4d.domain.ports.hosts import DRAIN, HeartbeatReply, HostRegistry

LONG, NO_TIME = timedelta(hours=1), timedelta(0)


@pytest.fixture
def hosts() -> HostRegistry:
    return MemoryHosts()


def now() -> datetime:
    return datetime.now(UTC)


async def beat(hosts: HostRegistry, host: str, at: datetime) -> HeartbeatReply:
    return await hosts.beat(host, "installation-1", LONG, at)


async def test_a_host_is_new_once(hosts: HostRegistry) -> None:
    assert await beat(hosts, "host-a", now()) is HeartbeatReply.NEW
    assert await beat(hosts, "host-a", now()) is HeartbeatReply.KNOWN
    assert await beat(hosts, "host-b", now()) is HeartbeatReply.NEW


async def number(hosts: HostRegistry, host: str) -> int | None:
    """Of the last heartbeat."""
    last = (await hosts.heard(now())).beats.get(host)
    return last.number if last is not None else None


async def other_beat(hosts: HostRegistry, age: timedelta, instead_of: int | None) -> HeartbeatReply:
    """Another installation beats by the name of host-a."""
    return await hosts.beat("host-a", "installation-2", age, now(), instead_of=instead_of)


async def drained(hosts: HostRegistry, host: str, by: str) -> bool:
    """Whether ``by``, who has just looked, may begin."""
    return await hosts.begin_drain(host, by, await number(hosts, host), now())


async def test_another_installation_has_the_name_when_the_first_was_silent(
    hosts: HostRegistry,
) -> None:
    await beat(hosts, "host-a", now())
    assert await hosts.beat("host-a", "installation-2", LONG, now()) is HeartbeatReply.NAMESAKE
    assert await beat(hosts, "host-a", now()) is HeartbeatReply.KNOWN, (
        "what does not count was counted"
    )
    seen = await number(hosts, "host-a")
    assert await other_beat(hosts, LONG, seen) is HeartbeatReply.NAMESAKE, (
        "it is not old by any clock"
    )
    assert await other_beat(hosts, NO_TIME, None) is HeartbeatReply.NAMESAKE, (
        "a clock alone says nothing"
    )
    await beat(hosts, "host-a", now())
    assert await other_beat(hosts, NO_TIME, seen) is HeartbeatReply.NAMESAKE, "it beat meanwhile"
    seen = await number(hosts, "host-a")
    assert await other_beat(hosts, NO_TIME, seen) is HeartbeatReply.KNOWN
    assert await beat(hosts, "host-a", now()) is HeartbeatReply.NAMESAKE
    assert [*(await hosts.heard(now())).beats] == ["host-a"]


async def test_another_installation_has_the_name_of_a_host_that_was_drained(
    hosts: HostRegistry,
) -> None:
    await beat(hosts, "host-a", now())
    assert await drained(hosts, "host-a", "host-b")
    await hosts.forget_host("host-a")
    assert await hosts.beat("host-a", "installation-2", LONG, now()) is HeartbeatReply.NEW


async def test_it_is_told_what_each_was_last_heard_of(hosts: HostRegistry) -> None:
    assert (await hosts.heard(now())).beats == {}
    await beat(hosts, "host a/ü", now())
    await beat(hosts, "host-b", now())
    heard = await hosts.heard(now())
    assert set(heard.beats) == {"host a/ü", "host-b"}
    ages = [heard.age(host) for host in heard.beats]
    assert all(age is not None and NO_TIME <= age < LONG for age in ages)
    assert heard.age("host-c") is None


async def test_each_heartbeat_has_a_higher_number(hosts: HostRegistry) -> None:
    numbers, then = [], now()
    for _ in range(20):
        await beat(hosts, "host-a", then)  # whatever a clock says: it may stand still
        numbers.append(await number(hosts, "host-a") or 0)
    assert numbers == sorted({*numbers})
    assert await number(hosts, "host-a") == numbers[-1], "to look changed it"


async def test_a_host_that_beat_since_it_was_looked_at_is_not_drained(hosts: HostRegistry) -> None:
    await beat(hosts, "host-a", now())
    seen = await number(hosts, "host-a")
    await beat(hosts, "host-a", now())
    assert not await hosts.begin_drain("host-a", "host-b", seen, now())
    assert not await hosts.begin_drain("host-a", "host-b", None, now())
    assert await beat(hosts, "host-a", now()) is HeartbeatReply.KNOWN


async def test_whether_a_host_may_be_drained_is_not_said_by_a_clock(hosts: HostRegistry) -> None:
    """Who asks has watched. A clock that was set makes a host neither dead nor alive."""
    await beat(hosts, "host-a", now())
    seen = await number(hosts, "host-a") or 0
    assert not await hosts.begin_drain("host-a", "host-b", seen - 1, now() + 100 * LONG)
    assert await hosts.begin_drain("host-a", "host-b", seen, now() - 100 * LONG)


async def test_a_host_that_never_beat_may_be_drained(hosts: HostRegistry) -> None:
    assert not await hosts.begin_drain("host-a", "host-b", 1, now())
    assert await hosts.begin_drain("host-a", "host-b", None, now())
    assert await hosts.begin_drain("host-a", "host-b", None, now()), "it may go on"
    assert await beat(hosts, "host-a", now()) is HeartbeatReply.DRAINED


async def test_one_host_drains_another_until_it_is_forgotten(hosts: HostRegistry) -> None:
    await beat(hosts, "host-a", now())
    assert await drained(hosts, "host-a", "host-b")
    assert await drained(hosts, "host-a", "host-b"), "it may go on"
    assert not await drained(hosts, "host-a", "host-c")
    assert "host-a" in (await hosts.heard(now())).beats
    await hosts.forget_host("host-a")
    assert (await hosts.heard(now())).beats == {}
    assert await beat(hosts, "host-a", now()) is HeartbeatReply.NEW


async def test_a_host_that_beats_while_it_is_drained_is_told_and_ends_that(
    hosts: HostRegistry,
) -> None:
    await beat(hosts, "host-a", now())
    seen = await number(hosts, "host-a")
    assert await hosts.begin_drain("host-a", "host-b", seen, now())
    assert await beat(hosts, "host-a", now()) is HeartbeatReply.DRAINED
    assert await beat(hosts, "host-a", now()) is HeartbeatReply.DRAINED
    assert await number(hosts, "host-a") != seen, "others must see that it lives"
    assert not await hosts.begin_drain("host-a", "host-b", seen, now())
    assert await beat(hosts, "host-a", now()) is HeartbeatReply.NEW, "it must look what it lost"
    assert await beat(hosts, "host-a", now()) is HeartbeatReply.KNOWN


async def test_a_host_whose_drain_was_ended_before_all_was_taken_back(hosts: HostRegistry) -> None:
    await beat(hosts, "host-a", now())
    seen = await number(hosts, "host-a")
    assert await hosts.begin_drain("host-a", "host-b", seen, now())
    await hosts.end_drain("host-a", "host-c")
    assert not await hosts.begin_drain("host-a", "host-c", seen, now()), "it is not his drain"
    await hosts.end_drain("host-a", "host-b")
    assert await number(hosts, "host-a") == seen, "it is as silent as before"
    assert await hosts.begin_drain("host-a", "host-c", seen, now())
    await hosts.end_drain("host-a", "host-c")
    assert await beat(hosts, "host-a", now()) is HeartbeatReply.NEW, "it must look what it lost"
    assert await beat(hosts, "host-a", now()) is HeartbeatReply.KNOWN


async def test_to_end_a_drain_that_is_none_changes_nothing(hosts: HostRegistry) -> None:
    await hosts.end_drain("host-a", "host-b")
    assert (await hosts.heard(now())).beats == {}
    await beat(hosts, "host-a", now())
    await hosts.end_drain("host-a", "host-b")
    assert await beat(hosts, "host-a", now()) is HeartbeatReply.KNOWN


async def test_a_drain_that_was_left_half_way_ends_by_itself() -> None:
    hosts, then = MemoryHosts(), now()
    await beat(hosts, "host-a", then)
    assert await drained(hosts, "host-a", "host-b")
    assert await beat(hosts, "host-a", then + DRAIN / 2) is HeartbeatReply.DRAINED
    assert await beat(hosts, "host-a", then + 2 * DRAIN) is HeartbeatReply.NEW, (
        "it must look what it lost"
    )
    assert await beat(hosts, "host-a", then + 2 * DRAIN) is HeartbeatReply.KNOWN


async def test_a_drain_does_not_last_for_as_long_as_a_clock_was_set_back() -> None:
    hosts, then = MemoryHosts(), now()
    await beat(hosts, "host-a", then)
    assert await drained(hosts, "host-a", "host-b")
    assert await beat(hosts, "host-a", then - LONG) is HeartbeatReply.NEW


async def test_another_host_takes_up_a_drain_that_was_left_half_way() -> None:
    hosts, then = MemoryHosts(), now()
    assert await hosts.begin_drain("host-a", "host-b", None, then)
    assert not await hosts.begin_drain("host-a", "host-c", None, then + DRAIN / 2)
    assert await hosts.begin_drain("host-a", "host-c", None, then + DRAIN)
