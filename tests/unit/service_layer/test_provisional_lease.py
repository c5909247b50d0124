"""Leases on their way to a server and to the disk at once, over the real DHCP allocator."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from ipaddress import IPv4Address, ip_address

import pytest

from d4d.domain.dhcp.messages import Message, MessageType
from d4d.domain.errors import AddressInUse, NoAddress
from d4d.domain.events import EventKind
from tests.support.dhcp_site import DB, POOL, WEB, A, B, Site
from tests.support.fake_dhcp_server import SERVER
from tests.support.virtual_time import NOON, settle

VIRTUAL_TIME = True

REQUEST = MessageType.REQUEST


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    async with Site() as made:
        yield made


async def test_a_lease_is_stored_while_its_request_is_on_the_way(site: Site) -> None:
    site.server.silent(REQUEST)
    call = asyncio.ensure_future(site.allocate())
    await settle(1.0)
    (ahead,) = await site.stored()
    assert ahead.address == ip_address("10.77.16.1")
    assert ahead.terms is not None and ahead.terms.server == SERVER
    with pytest.raises(NoAddress):
        await call
    await settle(1.0)
    assert await site.stored() == []


async def test_a_lease_that_was_granted_is_stored_once_as_it_is_returned(site: Site) -> None:
    lease = await site.allocate()
    assert lease.generation
    assert await site.stored() == [lease]
    assert site.store.writes.count("add") == 1
    assert "update" not in site.store.writes


async def test_a_lease_whose_ack_says_otherwise_is_stored_as_the_ack_says(site: Site) -> None:
    site.server.latency = 1.0
    call = asyncio.ensure_future(site.allocate())
    await settle(0.5)
    site.server.lease_time = timedelta(minutes=10)
    lease = await call
    assert lease.terms is not None and lease.terms.lease_time == timedelta(minutes=10)
    assert await site.stored() == [lease]


async def test_a_lease_whose_request_was_repeated_runs_from_the_first(site: Site) -> None:
    site.server.silent(REQUEST)
    call = asyncio.ensure_future(site.allocate())
    await settle(1.0)
    site.server.speaks()
    lease = await call
    assert lease.bound_at is not None
    assert lease.bound_at < NOON + timedelta(seconds=1) < site.clock()
    assert await site.stored() == [lease]


async def test_a_lease_is_renewed_when_its_record_says(site: Site) -> None:
    lease = await site.allocate()
    assert await site.stored() == [lease]
    assert lease.renew_at is not None
    heard = len(site.server.heard)
    await settle((lease.renew_at - site.clock()).total_seconds() - 1.0)
    assert len(site.server.heard) == heard
    await settle(2.0)
    assert len(site.server.heard) == heard + 1


async def test_nothing_stays_stored_of_an_offer_that_is_refused(site: Site) -> None:
    site.server.naks()
    with pytest.raises(NoAddress):
        await site.allocate()
    await settle(1.0)
    assert await site.stored() == []


async def test_nothing_stays_stored_of_a_call_that_is_cut_short(site: Site) -> None:
    site.server.silent(REQUEST)
    call = asyncio.ensure_future(site.allocate())
    await settle(1.0)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    await settle(1.0)
    assert await site.stored() == []


async def test_nothing_is_left_of_a_call_that_is_cut_short_while_the_store_hangs(
    site: Site,
) -> None:
    await site.ipam.request_gateway(POOL, ip_address("10.77.0.1"))
    site.store.takes = 10.0
    call = asyncio.ensure_future(site.allocate())
    await settle(5.0)
    assert site.server.said[-1] == "REQUEST"
    call.cancel()
    with pytest.raises(asyncio.CancelledError) as cut:
        await call
    assert "the lease store" in cut.value.__notes__[0]
    await settle(30.0)
    assert site.server.said[-1] == "RELEASE"
    assert await site.stored() == []


async def test_anothers_record_is_not_touched_by_an_offer(site: Site) -> None:
    others = replace(await site.allocate(DB), owner="host-b", generation=0)
    others = await site.store.inner.add(others)
    site.server.bindings.clear()
    site.server.offers("10.77.16.1")
    site.server.silent(REQUEST)
    with pytest.raises(NoAddress):
        await site.allocate()
    await settle(1.0)
    assert list((await site.store.inner.load("host-b")).leases) == [others]


async def test_a_reserved_address_that_the_server_does_not_give_is_reported(site: Site) -> None:
    await site.reserve("10.77.16.5", name="web")
    site.server.bindings[IPv4Address("10.77.16.5")] = b"a stranger"
    lease = await site.allocate(WEB)
    assert lease.address == IPv4Address("10.77.16.1")
    (event,) = (each for each in site.events.all if each.address == ip_address("10.77.16.5"))
    assert event.kind is EventKind.MISMATCH
    assert event.detail == "reserved for it, but the DHCP server gave it 10.77.16.1"


async def test_an_ip_that_is_reserved_for_another_is_refused_before_the_server_is_asked(
    site: Site,
) -> None:
    await site.reserve("10.77.16.1", name="web")
    heard = len(site.server.heard)
    with pytest.raises(AddressInUse, match=r"for container web: .* d4d unreserve"):
        await site.run(POOL, B, "db", ip="10.77.16.1")
    assert len(site.server.heard) == heard
    assert await site.run(POOL, A, "web", ip="10.77.16.1") == "10.77.16.1"


async def test_another_address_than_was_offered_is_stored_in_its_place(site: Site) -> None:
    granted = IPv4Address("10.77.16.7")

    def garble(answer: Message) -> Message:
        is_ack = answer.type is MessageType.ACK
        return answer._replace(yiaddr=granted) if is_ack else answer

    site.server.garbles(garble)
    lease = await site.allocate()
    await settle(1.0)
    assert [each.address for each in await site.stored()] == [granted] == [lease.address]
