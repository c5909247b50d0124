"""Durations are read as operators write them, and printed so that they can be read again."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from d4d.settings.durations import format_duration, parse_duration


@pytest.mark.parametrize(
    ("text", "seconds"), [("50ms", 0.05), (" 25s ", 25), ("1h30m", 5400), ("0s", 0), ("0", 0)]
)
def test_durations_are_read(text: str, seconds: float) -> None:
    assert parse_duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["", "soon", "5", "1 h"])
def test_what_is_none_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match="is no duration: write it as 50ms, 25s or 1h30m"):
        parse_duration(text)


@given(st.integers(min_value=0, max_value=10 * 365 * 86400).map(lambda n: timedelta(seconds=n)))
def test_what_is_printed_can_be_read_again(duration: timedelta) -> None:
    assert parse_duration(format_duration(duration)) == duration
