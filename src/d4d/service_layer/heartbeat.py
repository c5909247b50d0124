"""Whether this host's leases are still its own: known anew whenever it was away.

A host beats, so that others see it alive. One that was not heard of for the grace may be drained:
others take back what it held. So what it believes to hold counts only for a while after each beat;
when that is over, because it was suspended or cut off from the store, it asks before it answers
Docker. A store that lost its contents shows in the same way, and gets back what is held here.

Two machines of one name would each take the other's leases for its own, and give them back. So the
later one to beat gets nothing until it has seen, for a whole grace, that the other is silent.
"""

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta

from d4d.domain.errors import StoreAway, StoreUnavailable
from d4d.domain.ports.clock import Clock
from d4d.domain.ports.hosts import HeartbeatReply, HostRegistry
from d4d.domain.stored import StoreContents
from d4d.service_layer.concurrency.shared_attempt import SharedAttempt
from d4d.service_layer.host_watch import HostWatch

_BEATS = 8
"""So many in a grace: some may get lost."""


class HeartbeatService:
    """This host among those that use its store."""

    def __init__(
        self,
        *,
        load: Callable[[], Awaitable[StoreContents]],
        hosts: HostRegistry,
        owner: str,
        installation: str,
        clock: Clock,
        watch: HostWatch,
        grace: timedelta,
        take_up: Callable[[StoreContents], Awaitable[None]],
        compare: Callable[[StoreContents], Awaitable[None]],
    ) -> None:
        """``installation`` tells this ``owner`` from another of that name, whom ``watch`` watches.

        ``load`` reads what the store holds of it; ``take_up`` gets that once, ``compare`` after
        each absence.
        """
        self._load = load
        self._hosts = hosts
        self._owner = owner
        self._installation = installation
        self._clock = clock
        self._watch = watch
        self._left: int | None = None
        """The last heartbeat of another of our name, once it is known to be silent."""
        self._grace = grace
        self._take_up = take_up
        self._compare = compare
        self._beating = SharedAttempt(
            self._beat, pauses_after=(StoreUnavailable,), name="asking what is ours"
        )
        self._sure_until: datetime | None = None
        self.is_loaded = False
        """Whether the store's contents were taken up."""
        self.trouble = ""
        """Why it is not known what is held here; empty while it is."""

    @property
    def interval(self) -> timedelta:
        """How long after a beat the next one is due."""
        return self._grace / _BEATS

    async def open(self) -> None:
        """Take up what the store holds; where it is away, ``beat`` does that when it is back.

        Raises StoreUnavailable where the store is broken, StoreTooNew.
        """
        try:
            await self.confirm()
        except StoreAway as error:
            self.trouble = str(error)

    async def confirm(self) -> None:
        """See that what is held here is ours; all who ask at a time are answered by one beat.

        Raises StoreUnavailable, StoreTooNew.
        """
        if not self._is_sure:
            await self._beating.outcome()

    async def beat(self) -> None:
        """Be seen alive. Raises StoreUnavailable, StoreTooNew."""
        await self._beating.anew()

    @property
    def _is_sure(self) -> bool:
        return self._sure_until is not None and self._clock() < self._sure_until

    async def _beat(self) -> None:
        try:
            sent, was_sure = self._clock(), self._is_sure
            beat = await self._send(sent)
            if beat is HeartbeatReply.DRAINED:
                self._sure_until = None
                raise StoreAway(
                    f"{self._owner} was not heard of for {self._grace}, and another host takes "
                    f"back what it held: this ends within a minute"
                )
            if beat is HeartbeatReply.NAMESAKE:
                self._sure_until = None
                await self._watch_namesake()
                raise StoreAway(
                    f"another machine uses the store as host {self._owner}: give each its own "
                    f"D4D_HOST, before its first start or with a new state directory; if that "
                    f"machine is gone, this ends when it was silent for {self._grace} while this "
                    f"one watched"
                )
            if not was_sure or beat is HeartbeatReply.NEW:
                self._sure_until = None
                await self._find_out()
            self._sure_until = sent + self._grace * (_BEATS - 1) / _BEATS
        except Exception as error:
            if not self._is_sure:
                self.trouble = str(error)
            raise
        self.trouble = ""

    async def _send(self, sent: datetime) -> HeartbeatReply:
        try:
            return await self._hosts.beat(
                self._owner, self._installation, self._grace, sent, instead_of=self._left
            )
        except BaseException:
            self._watch.silence.reset()
            raise

    async def _watch_namesake(self) -> None:
        """See whether the other is silent: then the next heartbeat takes the place of its last."""
        last = (await self._watch.look()).beats.get(self._owner)
        is_silent = last is not None and self._watch.is_silent(self._owner)
        self._left = last.number if last is not None and is_silent else None

    async def _find_out(self) -> None:
        contents = await self._load()
        if self.is_loaded:
            await self._compare(contents)
        else:
            self.is_loaded = True
            await self._take_up(contents)
