"""One acquisition, from DHCPDISCOVER to DHCPACK, as something to await."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from ipaddress import IPv4Address

from d4d.adapters.dhcp.session import Begin, Session
from d4d.domain.dhcp.client import Client
from d4d.domain.dhcp.effects import Bound, Effect, Grant, Offered, Refused
from d4d.domain.errors import LinkDown
from d4d.domain.ports.allocator import Clock


class Exchange:
    """What one client came to, over as many tries as its caller makes."""

    def __init__(
        self,
        session: Session,
        client: Client,
        *,
        now: Clock,
    ) -> None:
        self._session = session
        self._client = client
        self._now = now
        self.on_offer: Callable[[IPv4Address], None] | None = None
        """Hears of each address that is asked for, before the server's last word."""
        self.passes_over: Callable[[IPv4Address], bool] = lambda _: False
        """Which offers end a try at once: the server has a free address, and must name another."""
        self._done: asyncio.Future[Grant | None] | None = None
        self._linger: float | None = None
        self.refused: list[Refused] = []
        """Offers of no use so far."""
        self.offered: Offered | None = None
        """The offer that we took last."""

    @property
    def link(self) -> str:
        """The name of the link, for errors."""
        return self._session.name

    async def run(self, begin: Begin, *, linger: float | None) -> Grant | None:
        """What the server granted; None where all that was offered was refused.

        ``linger`` is how many seconds to wait for a better offer after a useless one; None is for
        ever. The caller sets the deadline. Raises LinkDown where nothing can be sent.
        """
        self._done = asyncio.get_running_loop().create_future()
        self._linger = linger
        self._session.follow(self._client, self._hear)
        self._session.perform(self._client, begin(self._now()))
        return await self._done

    def decline(self) -> None:
        """Give back what was granted: somebody else has it."""
        self._session.perform(self._client, self._client.decline(self._now()))

    def abandon(self) -> None:
        """Give up. An offer that we asked for is released: the server may have committed it."""
        with suppress(LinkDown):  # then the server takes its offer back by itself
            self._session.perform(self._client, self._client.release(self._now()))
        self._session.drop(self._client)

    def _hear(self, effect: Effect) -> None:
        """Whoever waits for the exchange hears of a bug, too: nobody else could answer Docker."""
        try:
            self._take(effect)
        except Exception as error:
            if self._done is None or self._done.done():
                raise
            self._done.set_exception(error)

    def _take(self, effect: Effect) -> None:
        if isinstance(effect, Bound):
            self._finish(effect.grant)
        elif isinstance(effect, Offered):
            self.offered = effect
            if self.on_offer is not None:
                self.on_offer(effect.address)
        elif isinstance(effect, Refused):
            self.refused.append(effect)
            linger = 0.0 if self.passes_over(effect.address) else self._linger
            if linger is not None:
                loop = asyncio.get_running_loop()
                loop.call_later(linger, self._give_up, self._done)

    def _give_up(self, done: asyncio.Future[Grant | None] | None) -> None:
        if done is self._done and self._client.grant is None and not self._client.has_chosen:
            self._finish(None)

    def _finish(self, grant: Grant | None) -> None:
        if self._done is not None and not self._done.done():
            self._done.set_result(grant)
