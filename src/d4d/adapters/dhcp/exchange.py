"""One acquisition, from DHCPDISCOVER to DHCPACK, as something to await."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from ipaddress import IPv4Address

from d4d.adapters.dhcp.session import Begin, Session
from d4d.domain.dhcp.client import Client
from d4d.domain.dhcp.effects import Bound, Effect, Grant, Ignored, Offered, Refused
from d4d.domain.errors import LinkDown
from d4d.domain.ports.clock import Clock

_MOST_REFUSED, _MOST_IGNORED = 32, 8
"""Answers that are remembered: whoever forges them must not fill the memory."""


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
        self.on_ignored: Callable[[Ignored], None] | None = None
        """Hears of each answer that can't be used, once, and of so many at most."""
        self.patience: Callable[[Refused], float | None] = lambda _: None
        """Seconds for a better offer after this one, if they are others than ``run`` was told."""
        self._done: asyncio.Future[Grant | None] | None = None
        self._linger: float | None = None
        self._giving_up: asyncio.TimerHandle | None = None
        self.refused: list[Refused] = []
        """Offers of no use so far, each once, and so many at most."""
        self.ignored: list[Ignored] = []
        """Answers that can't be used, each once, and so many at most."""
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
        self._stop_giving_up()
        self._session.follow(self._client, self._hear)
        self._session.perform(self._client, begin(self._now()))
        try:
            return await self._done
        finally:
            self._stop_giving_up()

    def decline(self) -> None:
        """Give back what was granted: somebody else has it."""
        self._session.perform(self._client, self._client.decline(self._now()))

    def give_back(self) -> None:
        """Release what was granted; another try may follow."""
        self._session.perform(self._client, self._client.release(self._now()))

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
            if len(self.refused) < _MOST_REFUSED and effect not in self.refused:
                self.refused.append(effect)
            patience = self.patience(effect)
            linger = self._linger if patience is None else patience
            if linger is not None:
                self._give_up_in(linger)

        elif isinstance(effect, Ignored):
            self._ignore(effect)

    def _ignore(self, ignored: Ignored) -> None:
        if ignored in self.ignored or len(self.ignored) >= _MOST_IGNORED:
            return
        self.ignored.append(ignored)
        if self.on_ignored is not None:
            self.on_ignored(ignored)

    def _give_up_in(self, seconds: float) -> None:
        """Await a better offer no longer than that, however many useless ones come in."""
        loop = asyncio.get_running_loop()
        at = loop.time() + seconds
        if self._giving_up is None or at < self._giving_up.when():
            self._stop_giving_up()
            self._giving_up = loop.call_at(at, self._give_up)

    def _stop_giving_up(self) -> None:
        if self._giving_up is not None:
            self._giving_up.cancel()
            self._giving_up = None

    def _give_up(self) -> None:
        self._giving_up = None
        if self._client.grant is None and not self._client.has_chosen:
            self._finish(None)

    def _finish(self, grant: Grant | None) -> None:
        if self._done is not None and not self._done.done():
            self._done.set_result(grant)
