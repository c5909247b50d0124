"""Finds options in a BOOTP payload (RFC 2131 section 3, RFC 3396), values not yet read.

Servers split long options, hide some in the ``file`` and ``sname`` fields, leave out END, and cut
the last one short. scapy knows nothing of the first two and stops at the last two, so what it is
given has been put in order here.
"""

from collections.abc import Iterator

HEADER = 240
"""BOOTP's fixed fields and the magic cookie: the first option starts behind them."""
PAD, OVERLOAD, END = 0, 52, 255
_SNAME, _FILE = slice(44, 108), slice(108, 236)
_FILE_HAS_OPTIONS, _SNAME_HAS_OPTIONS = 1, 2


def walk(area: bytes, start: int = 0) -> Iterator[tuple[int, int, int]]:
    """Code, offset and length of each option's value, up to END or to one that is cut short."""
    at, end = start, len(area)
    while at < end:
        code, begin = area[at], at + 2
        if code == PAD:
            at += 1
            continue
        if code == END or begin > end:
            return
        length = area[at + 1]
        at = begin + length
        if at > end:
            return
        yield code, begin, length


def join(payload: bytes) -> dict[int, bytes]:
    """Each option's whole value by its code: the parts of split options joined, overload undone.

    The order is that of RFC 3396 section 5: options, file, sname.
    """
    options: dict[int, bytes] = {}
    _collect(payload, options, HEADER)
    overload = options.pop(OVERLOAD, b"\0")[:1]
    if overload and overload[0] & _FILE_HAS_OPTIONS:
        _collect(payload[_FILE], options)
    if overload and overload[0] & _SNAME_HAS_OPTIONS:
        _collect(payload[_SNAME], options)
    return options


def _collect(area: bytes, options: dict[int, bytes], start: int = 0) -> None:
    for code, at, length in walk(area, start):
        value = area[at : at + length]
        options[code] = options[code] + value if code in options else value
