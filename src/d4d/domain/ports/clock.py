"""What time it is."""

from collections.abc import Callable
from datetime import datetime

Clock = Callable[[], datetime]
"""The present instant, aware, in UTC; it never runs backwards while the process lives."""
