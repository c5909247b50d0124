"""One host's watch over the heartbeats in the store: when each was read, by all clocks in sight."""

import asyncio
from datetime import timedelta

from d4d.domain.ports.clock import Clock
from d4d.domain.ports.hosts import Heard, HostRegistry
from d4d.domain.silence import Instant, Silence


class HostWatch:
    """Reads the heartbeats, and knows who is silent."""

    def __init__(self, hosts: HostRegistry, *, clock: Clock, wall: Clock, grace: timedelta) -> None:
        """``wall`` is this host's clock that may be set. It must be looked twice in a ``grace``."""
        self._hosts = hosts
        self._clock = clock
        self._wall = wall
        self._grace = grace
        self._looking = asyncio.Lock()
        self.silence = Silence(gap=grace / 2)
        """What was seen so far."""

    async def look(self) -> Heard:
        """Read the heartbeats; often, for what is between the reads is not seen.

        Raises StoreUnavailable: all that was seen of silence so far proves nothing then.
        """
        async with self._looking:
            began, began_wall = self._clock(), self._wall()
            try:
                heard = await self._hosts.heard(began)
            except BaseException:
                self.silence.reset()
                raise
            self.silence.saw(
                {host: beat.number for host, beat in heard.beats.items()},
                began=Instant(own=began, others=(began_wall, heard.at)),
                ended=Instant(own=self._clock(), others=(self._wall(), heard.at)),
            )
            return heard

    async def forget(self, host: str) -> None:
        """Take away the heartbeats of ``host``, which is no sign that the store lost them."""
        async with self._looking:
            self.silence.forget(host)
            await self._hosts.forget_host(host)

    def is_silent(self, host: str) -> bool:
        """Whether nothing was heard of ``host`` for a grace, under an unbroken watch."""
        return self.silence.of(host) >= self._grace
