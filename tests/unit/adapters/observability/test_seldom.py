"""A log line that a stranger can cause is written once in a while."""

from d4d.adapters.observability.seldom import Seldom


def test_a_key_is_told_once_in_a_pause_and_of_many_only_some() -> None:
    seldom = Seldom(pause=60.0, at_most=4)
    assert [seldom.may_tell("eth0", now) for now in (0.0, 1.0, 59.0, 60.0)] == [
        True,
        False,
        False,
        True,
    ]  # fmt: skip - an instant and its answer stand in one order
    assert seldom.untold() == 2
    assert sum(seldom.may_tell(number, 61.0) for number in range(1000)) == 3
    assert seldom.untold() == 997
    assert seldom.untold() == 0
