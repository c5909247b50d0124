"""Whether the kernel's clock follows a time source: adjtimex(2), which asks and changes nothing."""

import ctypes
import os

_UNSYNCHRONISED = 0x40  # STA_UNSYNC
_ERROR = 5  # TIME_ERROR: nothing disciplines the clock


class _Timex(ctypes.Structure):
    """The beginning of struct timex, with room for the rest."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("rest", ctypes.c_byte * 256),
    )


def is_synchronised() -> bool:
    """What the kernel knows from an NTP client. Raises OSError."""
    library = ctypes.CDLL(None, use_errno=True)
    asked = _Timex()
    state = library.adjtimex(ctypes.byref(asked))
    if state < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return state != _ERROR and not asked.status & _UNSYNCHRONISED
