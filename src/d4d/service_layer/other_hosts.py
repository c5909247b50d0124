"""What other hosts have in the store that they share, for operators who ask for all leases."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial

from d4d.domain.leases import Lease

_LASTS = 10.0  # seconds in which who asked for the first page may ask for the next

Read = Callable[[], Awaitable[list[Lease]]]


class OtherHosts:
    """Reads it once for all who ask meanwhile, and keeps it for their next pages."""

    def __init__(self) -> None:
        self._reading: asyncio.Task[list[Lease]] | None = None
        self._known: list[Lease] | None = None
        self._forgetting: asyncio.TimerHandle | None = None

    async def leases(self, read: Read, *, goes_on: bool) -> list[Lease]:
        """As ``read`` tells, or as it did for the page before. Raises what ``read`` does."""
        if goes_on and self._known is not None:
            return self._known
        if self._reading is None:
            self._reading = asyncio.ensure_future(self._read(read))
            self._reading.add_done_callback(self._done)
        return await asyncio.shield(self._reading)

    async def _read(self, read: Read) -> list[Lease]:
        return await read()

    def _done(self, reading: "asyncio.Task[list[Lease]]") -> None:
        self._reading = None
        if reading.cancelled() or reading.exception() is not None:
            return
        self._known = reading.result()
        if self._forgetting is not None:
            self._forgetting.cancel()
        loop = asyncio.get_running_loop()
        self._forgetting = loop.call_later(_LASTS, partial(setattr, self, "_known", None))
