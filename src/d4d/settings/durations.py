"""Durations as operators write them, which is Go's way, as Docker's: 50ms, 25s, 1h30m."""

from datetime import timedelta

from durationpy import DurationError, from_str, to_str


def parse_duration(text: str) -> timedelta:
    """The duration that ``text`` names. Raises ValueError."""
    try:
        duration: timedelta = from_str(text.strip())
    except DurationError as error:
        raise ValueError(f"{text!r} is no duration: write it as 50ms, 25s or 1h30m") from error
    return duration


def format_duration(duration: timedelta) -> str:
    """``duration`` as ``parse_duration`` reads it."""
    return str(to_str(duration)) if duration else "0s"
