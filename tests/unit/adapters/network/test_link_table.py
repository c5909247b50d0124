"""What became of links, told from the kernel's news of them."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from d4d.adapters.network.link_table import LinkTable
from d4d.adapters.network.rtnetlink import AddressTold, Link, LinkGone, LinkTold
from d4d.domain.addressing import MacAddress
from d4d.domain.ports.disturbances import LinkChange, LinkChanged

MAC, OTHER_MAC = MacAddress.parse("02:00:00:00:00:0e"), MacAddress.parse("02:00:00:00:00:0f")
ETH0 = Link(index=2, name="eth0", mac=MAC, is_up=True)
ETH1 = Link(index=3, name="eth1", mac=OTHER_MAC, is_up=True)
ADDRESS = b"\x10\x0a\x4d\x00\x09"
CAME, WENT, RENAMED, REPLACED = (
    LinkChange.CAME,
    LinkChange.WENT,
    LinkChange.RENAMED,
    LinkChange.REPLACED,
)


def dump(table: LinkTable, *links: Link, addresses: dict[int, bytes] | None = None) -> None:
    """All links that there are, as the kernel tells of them."""
    table.begin()
    for link in links:
        table.add(LinkTold(link=link))
    table.links_ended()
    for index, address in (addresses or {}).items():
        table.address(AddressTold(index=index, address=address, is_there=True))
    table.addresses_ended()


@pytest.fixture
def table() -> LinkTable:
    made = LinkTable()
    dump(made, ETH0, ETH1, addresses={2: ADDRESS})
    assert made.changed == []
    return made


def told(table: LinkTable) -> list[LinkChanged]:
    """All that there is to tell, by name."""
    return [each for name in sorted(table.changed) if (each := table.pop(name)) is not None]


def of(name: str, *changes: LinkChange, former_name: str | None = None) -> LinkChanged:
    return LinkChanged(name=name, changes=frozenset(changes), former_name=former_name)


def test_what_is_told_again_is_no_change(table: LinkTable) -> None:
    table.add(LinkTold(link=ETH0))
    table.address(AddressTold(index=2, address=ADDRESS, is_there=True))  # its DHCP client renewed
    dump(table, ETH0, ETH1, addresses={2: ADDRESS})
    assert told(table) == []


def test_down_and_up_again_is_told_though_it_is_up(table: LinkTable) -> None:
    for is_up in (False, True):
        table.add(LinkTold(link=replace(ETH0, is_up=is_up)))
    assert told(table) == [of("eth0", LinkChange.DOWN, LinkChange.UP)]


def test_another_mac(table: LinkTable) -> None:
    table.add(LinkTold(link=replace(ETH0, mac=OTHER_MAC)))
    assert told(table) == [of("eth0", LinkChange.MAC)]


@pytest.mark.parametrize("address", [ADDRESS, b"\x10\x0a\x4d\x00\x0a"])
def test_an_address_that_came_or_went(table: LinkTable, address: bytes) -> None:
    table.address(AddressTold(index=2, address=address, is_there=address != ADDRESS))
    assert told(table) == [of("eth0", LinkChange.ADDRESSES)]


def test_one_that_was_renamed(table: LinkTable) -> None:
    table.add(LinkTold(link=replace(ETH0, name="wan")))
    assert told(table) == [of("eth0", WENT), of("wan", CAME, RENAMED, former_name="eth0")]


def test_a_name_that_another_took(table: LinkTable) -> None:
    table.add(LinkTold(link=replace(ETH0, name="wan")))
    table.add(LinkTold(link=replace(ETH1, name="eth0")))
    assert told(table) == [
        of("eth0", REPLACED, RENAMED, former_name="eth1"),
        of("eth1", WENT),
        of("wan", CAME, RENAMED, former_name="eth0"),
    ]


def test_one_that_was_made_anew(table: LinkTable) -> None:
    table.remove(LinkGone(index=2))
    table.add(LinkTold(link=replace(ETH0, index=7)))
    assert told(table) == [of("eth0", REPLACED, LinkChange.ADDRESSES)]


def test_one_that_went_and_came_later(table: LinkTable) -> None:
    table.remove(LinkGone(index=2))
    assert told(table) == [of("eth0", WENT, LinkChange.ADDRESSES)]
    table.add(LinkTold(link=replace(ETH0, index=7)))
    assert told(table) == [of("eth0", CAME)]


def test_one_that_came_and_went_is_nobodys(table: LinkTable) -> None:
    """As each link that becomes a container's."""
    table.add(LinkTold(link=Link(index=9, name="veth9", mac=MAC, is_up=False)))
    table.address(AddressTold(index=9, address=ADDRESS, is_there=True))
    table.remove(LinkGone(index=9))
    assert told(table) == []


def test_what_was_missed_is_told_after_the_next_dump(table: LinkTable) -> None:
    dump(table, replace(ETH0, mac=OTHER_MAC), replace(ETH1, index=8), addresses={8: ADDRESS})
    assert told(table) == [
        of("eth0", LinkChange.MAC, LinkChange.ADDRESSES),
        of("eth1", REPLACED, LinkChange.ADDRESSES),
    ]


def test_what_happens_during_a_dump_is_not_undone_by_it(table: LinkTable) -> None:
    table.begin()
    table.add(LinkTold(link=ETH0))
    table.add(LinkTold(link=ETH1))
    table.remove(LinkGone(index=3))  # behind its line of the dump
    table.links_ended()
    table.address(AddressTold(index=2, address=ADDRESS, is_there=True))
    table.address(AddressTold(index=2, address=ADDRESS, is_there=False))
    table.addresses_ended()
    assert told(table) == [of("eth0", LinkChange.ADDRESSES), of("eth1", WENT)]


NAMES = st.sampled_from(["eth0", "eth1", "wan"])
STEPS = st.lists(
    st.tuples(st.sampled_from(["add", "remove", "tell"]), st.integers(1, 4), NAMES), max_size=40
)


@given(STEPS)
def test_who_hears_all_knows_who_has_which_name(steps: list[tuple[str, int, str]]) -> None:
    """The kernel has one link of a name; whatever comes, and whenever somebody is told."""
    table, there = LinkTable(), dict[int, str]()
    dump(table)
    known = dict[str, int]()

    def tell() -> None:
        for each in told(table):
            now = next((index for index, name in there.items() if name == each.name), None)
            assert (now is None) == (WENT in each.changes)
            assert (CAME in each.changes) == (each.name not in known and now is not None)
            known.pop(each.name, None)
            if now is not None:
                known[each.name] = now

    for what, index, name in steps:
        if what == "tell":
            tell()
        elif what == "remove":
            if there.pop(index, None) is not None:
                table.remove(LinkGone(index=index))
        elif name not in there.values():
            there[index] = name
            table.add(LinkTold(link=Link(index=index, name=name, mac=MAC, is_up=True)))
    tell()
    assert known == {name: index for index, name in there.items()}
