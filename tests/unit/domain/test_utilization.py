"""When a pool counts as nearly full, and how often that is told."""

import pytest

from d4d.domain.pools import PoolId
from d4d.domain.utilization import PoolUtilization, UtilizationAlert

POOL, OTHER = PoolId("192.168.59.0/24"), PoolId("192.168.60.0/24")


def taken(percent: int) -> PoolUtilization:
    return PoolUtilization(size=100, used=percent - 1, reserved=1)


def test_a_pool_is_told_once_until_it_has_had_room() -> None:
    watch = UtilizationAlert(90)
    steps = [(89, False), (90, True), (100, False), (85, False), (90, False), (80, False)]
    for percent, is_news in [*steps, (90, True)]:
        assert watch.look({POOL: taken(percent)}) == ([POOL] if is_news else []), percent


def test_each_pool_is_told_for_itself() -> None:
    watch = UtilizationAlert(90)
    assert watch.look({POOL: taken(95), OTHER: taken(10)}) == [POOL]
    assert watch.look({POOL: taken(95), OTHER: taken(95)}) == [OTHER]


def test_a_pool_that_is_made_again_is_told_again() -> None:
    watch = UtilizationAlert(90)
    assert watch.look({POOL: taken(95)}) == [POOL]
    assert watch.look({}) == []
    assert watch.look({POOL: taken(95)}) == [POOL]


@pytest.mark.parametrize(("size", "used", "percent"), [(2, 1, 50), (2, 2, 100), (0, 0, 100)])
def test_what_is_taken_of_a_small_pool(size: int, used: int, percent: float) -> None:
    assert PoolUtilization(size=size, used=used, reserved=0).percent == percent
