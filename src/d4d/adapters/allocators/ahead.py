"""A lease that is stored while its DHCPREQUEST is on the way: disk and server work side by side.

The OFFER says all that an ACK will. Docker hears of the lease when both have spoken, as always; the
record of one that the server then refuses is removed again. D4D may be killed in between: see
``Leasing.open``.
"""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import structlog

from d4d.adapters.allocators.grants import confirmed
from d4d.domain.beside import beside
from d4d.domain.dhcp.effects import Grant
from d4d.domain.errors import D4DError
from d4d.domain.leases import Lease
from d4d.domain.ports import LeaseStore

_SOON = timedelta(seconds=2)
"""An ACK that comes so soon after its OFFER ends the lease when the OFFER said, or later."""

log = structlog.get_logger()


class Ahead:
    """The record of one allocation."""

    def __init__(
        self,
        store: LeaseStore | None,
        make: Callable[[Grant], Lease],
        tasks: set[asyncio.Task[None]],
    ) -> None:
        """``make`` makes the lease of a grant; ``tasks`` are those that remove records.

        Without a store nothing is stored here.
        """
        self._store = store
        self._make = make
        self._tasks = tasks
        self._adding: tuple[Grant, asyncio.Future[Lease]] | None = None

    def offered(self, grant: Grant) -> None:
        """Begin to store what was offered, in place of what was offered before."""
        if self._store is None:
            return
        if self._adding is not None and self._adding[0].address == grant.address:
            return  # offered once more, after a NAK
        self.discard()
        add = self._store.add(self._make(grant), unless_held=True)
        self._adding = grant, asyncio.ensure_future(add)

    async def stored(self, grant: Grant) -> Lease:
        """The lease of ``grant``: with its generation if it is stored, else still to be stored."""
        adding, self._adding = self._adding, None
        if adding is None or self._store is None:
            return self._make(grant)
        offered, future = adding
        if offered.address != grant.address:
            self._remove(future)
            return self._make(grant)
        try:
            lease = await asyncio.shield(future)
        except D4DError:  # another has it in the store, or that is away: the second try says so
            return self._make(grant)
        except BaseException:
            self._remove(future)
            raise
        if offered.terms == grant.terms and grant.bound_at - offered.bound_at <= _SOON:
            return lease
        try:
            await self._store.update(lease := confirmed(lease, grant))
        except D4DError:
            return replace(lease, generation=0)
        except BaseException:
            self._remove(future)
            raise
        return lease

    def discard(self) -> None:
        """The server refused it, or nobody wants it any more."""
        adding, self._adding = self._adding, None
        if adding is not None:
            self._remove(adding[1])

    def _remove(self, future: asyncio.Future[Lease]) -> None:
        task = beside(self._removed(future), "a lease that was not granted")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _removed(self, future: asyncio.Future[Lease]) -> None:
        try:
            lease = await future
        except D4DError:
            return  # it never was stored
        assert self._store is not None
        try:
            await self._store.remove(lease)
        except D4DError as error:
            log.warning(
                "ungranted lease stays stored", address=str(lease.address), error=str(error)
            )
