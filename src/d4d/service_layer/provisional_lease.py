"""A lease that is stored while its DHCPREQUEST is on the way: disk and server work side by side.

The OFFER says all that an ACK will. Docker hears of the lease when both have spoken, as always; the
record of one that the server then refuses is removed again. D4D may be killed in between: see
``LeaseService.open``.
"""

import asyncio
from collections.abc import Callable

import structlog

from d4d.domain.dhcp.effects import Grant
from d4d.domain.dhcp.lease_mapping import confirmed
from d4d.domain.errors import D4DError
from d4d.domain.leases import Lease
from d4d.domain.ports.stores import LeaseStore
from d4d.service_layer.concurrency.supervised_task import spawn

log = structlog.get_logger()


class ProvisionalLease:
    """The record of one allocation."""

    def __init__(
        self,
        store: LeaseStore,
        make: Callable[[Grant], Lease],
        tasks: set[asyncio.Task[None]],
    ) -> None:
        """``make`` makes the lease of a grant; ``tasks`` are those that remove records."""
        self._store = store
        self._make = make
        self._tasks = tasks
        self._adding: tuple[Grant, asyncio.Future[Lease]] | None = None

    def offered(self, grant: Grant) -> None:
        """Begin to store what was offered, in place of what was offered before."""
        if self._adding is not None and self._adding[0].address == grant.address:
            return  # offered once more, after a NAK
        self.discard()
        add = self._store.add(self._make(grant), unless_held=True)
        self._adding = grant, asyncio.ensure_future(add)

    async def stored(self, grant: Grant) -> Lease:
        """The lease of ``grant``: with its generation if it is stored, else still to be stored."""
        if self._adding is None or self._adding[0].address != grant.address:
            return self._make(grant)
        offered, adding = self._adding
        try:
            lease = await (adding if adding.done() else asyncio.shield(adding))
            if grant != offered:
                lease = confirmed(lease, grant)
                await self._store.update(lease)
        except D4DError:  # another has it in the store, or that is away: the second try says so
            return self._make(grant)
        except asyncio.CancelledError as error:
            error.add_note(f"the lease store, {self._store!r}: see what holds it up")
            raise
        self._adding = None
        return lease

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
            await self._store.remove(lease)
        except D4DError as error:
            log.warning(
                "ungranted lease stays stored", address=str(lease.address), error=str(error)
            )
