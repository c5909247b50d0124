"""Pages of long lists, and other hosts' leases behind them."""

import asyncio
from random import Random
from urllib.parse import urlencode

import pytest
from starlette.requests import Request

from d4d.domain.errors import BadRequest, StoreUnavailable
from d4d.domain.leases import Lease
from d4d.entrypoints.admin_api.queries import Key, paged
from d4d.service_layer.concurrency.pace import Pace
from d4d.service_layer.other_hosts import OtherHosts
from tests.support.virtual_time import settle

VIRTUAL_TIME = True


def request(**query: str) -> Request:
    return Request({"type": "http", "query_string": urlencode(query).encode(), "headers": []})


def key(item: int) -> Key:
    return ("10.77.0.0/16?parent=eth 0&x=%20", f"{item:06}")


async def pages(items: list[int], **query: str) -> list[list[int]]:
    """All of them, as they come."""
    found = []
    following: str | None = ""
    while following is not None:
        asked = {**query, **({"after": following} if following else {})}
        page, following = await paged(request(**asked), items, key, pace=Pace())
        found.append(page)
    return found


@pytest.mark.parametrize("amount", [0, 1, 499, 500, 501, 1000, 5000])
@pytest.mark.parametrize("limit", ["", "10000", "500", "100"])
async def test_each_item_comes_once_and_in_its_order(amount: int, limit: str) -> None:
    items = list(range(amount))
    Random(amount).shuffle(items)
    found = await pages(items, **({"limit": limit} if limit else {}))
    assert [item for page in found for item in page] == list(range(amount))
    most = 100 if limit == "100" else 500
    assert len(found) == max(1, -(-amount // most))
    assert all(len(page) == most for page in found[:-1])


async def test_only_what_fits_counts() -> None:
    def is_even(item: int) -> bool:
        return item % 2 == 0

    page, following = await paged(request(limit="5"), range(100), key, pace=Pace(), fits=is_even)
    assert page == [0, 2, 4, 6, 8]
    assert following is not None
    rest, following = await paged(
        request(after=following), range(100), key, pace=Pace(), fits=is_even
    )
    assert (rest[0], len(rest), following) == (10, 45, None)


@pytest.mark.parametrize("limit", ["0", "-1", "x", "1.5", "10001", "9" * 1000])
async def test_a_limit_that_is_none_is_refused(limit: str) -> None:
    with pytest.raises(BadRequest, match="is none: give a number up to 10000"):
        await paged(request(limit=limit), range(3), key, pace=Pace())


# Other hosts


class Store:
    """Reads slowly, and counts."""

    def __init__(self) -> None:
        self.reads = 0
        self.is_away = False

    async def read(self) -> list[Lease]:
        self.reads += 1
        await asyncio.sleep(1)
        if self.is_away:
            raise StoreUnavailable("the store is away")
        return []


async def test_who_asks_together_is_answered_by_one_look_at_the_store() -> None:
    store, others = Store(), OtherHosts()
    await asyncio.gather(*(others.leases(store.read, goes_on=False) for _ in range(50)))
    assert store.reads == 1
    await others.leases(store.read, goes_on=False)
    assert store.reads == 2  # whoever begins anew hears what is there now


async def test_the_next_pages_are_of_what_the_first_was_of_for_a_while() -> None:
    store, others = Store(), OtherHosts()
    await others.leases(store.read, goes_on=False)
    for _ in range(3):
        await others.leases(store.read, goes_on=True)
    assert store.reads == 1
    await settle(11)
    await others.leases(store.read, goes_on=True)
    assert store.reads == 2


async def test_a_store_that_is_away_is_told_to_all_who_asked_and_asked_again() -> None:
    store, others = Store(), OtherHosts()
    store.is_away = True
    asked = [others.leases(store.read, goes_on=False) for _ in range(3)]
    told = await asyncio.gather(*asked, return_exceptions=True)
    assert [type(each) for each in told] == [StoreUnavailable] * 3
    store.is_away = False
    assert await others.leases(store.read, goes_on=True) == []


async def test_who_goes_while_it_waits_takes_nothing_from_others() -> None:
    store, others = Store(), OtherHosts()
    going = asyncio.create_task(others.leases(store.read, goes_on=False))
    staying = asyncio.create_task(others.leases(store.read, goes_on=False))
    await asyncio.sleep(0)
    going.cancel()
    assert await staying == []
    assert store.reads == 1
