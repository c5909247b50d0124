"""A lease that is stored while its DHCPREQUEST is on the way: disk and server work side by side.

The OFFER says all that an ACK will. Docker hears of the lease when both have spoken, as always; the
record of one that the server then refuses is removed again. D4D may be killed in between: every
lease is confirmed at a start.
"""

import asyncio
from dataclasses import replace

from d4d.domain.errors import D4DError
from d4d.domain.leases import Lease
from d4d.service_layer import log_messages as log
from d4d.service_layer.concurrency.supervised_task import spawn
from d4d.service_layer.ledger import Ledger


class ProvisionalLease:
    """The record of one allocation."""

    def __init__(self, ledger: Ledger, tasks: set[asyncio.Task[None]]) -> None:
        """``tasks`` are those that remove records."""
        self._ledger = ledger
        self._tasks = tasks
        self._adding: tuple[Lease, asyncio.Future[Lease]] | None = None

    def offered(self, lease: Lease) -> None:
        """Begin to store what was offered, in place of what was offered before."""
        if self._adding is not None and self._adding[0].address == lease.address:
            return  # offered once more, after a NAK
        self.discard()
        self._adding = lease, asyncio.ensure_future(self._ledger.add(lease, unless_held=True))

    async def stored(self, lease: Lease) -> Lease:
        """``lease`` as it was granted: with its generation if it is stored, else without one."""
        if self._adding is None or self._adding[0].address != lease.address:
            return lease
        offered, adding = self._adding
        try:
            stored = await (adding if adding.done() else asyncio.shield(adding))
            granted = replace(lease, generation=stored.generation)
            if lease != offered:
                await self._ledger.save(granted)
        except D4DError:  # another has it in the store, or that is away: the second try says so
            return lease
        except asyncio.CancelledError as error:
            error.add_note(f"the lease store, {self._ledger!r}: see what holds it up")
            raise
        self._adding = None
        return granted

    async def add(self, lease: Lease) -> Lease:
        """``lease``, stored in place of whatever had its address. Raises StoreUnavailable."""
        self.discard()
        adding = asyncio.ensure_future(self._ledger.add(lease))
        self._adding = lease, adding
        try:
            stored = await asyncio.shield(adding)
        except asyncio.CancelledError as error:
            error.add_note(f"the lease store, {self._ledger!r}: see what holds it up")
            raise
        self._adding = None
        return stored

    def discard(self) -> None:
        """Remove what was stored and is not ``stored`` by now: it is not granted, or not wanted."""
        adding, self._adding = self._adding, None
        if adding is not None:
            task = spawn(self._remove(adding[1]), "a lease that was not granted")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _remove(self, adding: asyncio.Future[Lease]) -> None:
        try:
            lease = await adding
        except D4DError:
            return  # it never was stored
        try:
            await self._ledger.remove(lease)
        except D4DError as error:
            log.ungranted_lease_not_removed(address=str(lease.address), error=str(error))
