"""Drives the DHCP clients of one link: one table of awaited xids, one timer for all deadlines."""

import asyncio
import heapq
import itertools
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta

from d4d.adapters.dhcp.link.base import Deliver, Link, Wants
from d4d.domain.dhcp.client import Client
from d4d.domain.dhcp.effects import Bound, Effect, Effects, Offered, Send
from d4d.domain.dhcp.messages import Message, Unreadable
from d4d.domain.dhcp.states import State
from d4d.domain.errors import LinkDown
from d4d.domain.ports.clock import Clock
from d4d.service_layer import log_messages as log
from d4d.service_layer.concurrency.supervised_task import its_own, report_failure

Listener = Callable[[Effect], None]
"""Hears what its client came to: Bound, Lost and the like; never Send."""

Begin = Callable[[datetime], Effects]
"""What sets a client going: ``start`` or ``resume``, but for the instant."""

_AT_ONCE = 16  # clients woken in one go,
_BREATH = 0.05  # and the seconds until the next: 320/s, which the slowest server stands

_AFTER_A_BUG = timedelta(seconds=5)
"""Until a client whose waking failed is woken again."""


class Session:
    """The clients of one link. A client costs an entry in the timer's heap, and no more."""

    def __init__(self, link: Callable[[Wants, Deliver], Link], *, clock: Clock) -> None:
        self._clock = clock
        self._link = link(self._wants, self._deliver)
        self._listeners: dict[Client, Listener] = {}
        self._awaited: dict[int, Client] = {}
        self._xids: dict[Client, int] = {}
        self._wakes: dict[Client, datetime] = {}
        self._begins: dict[Client, Begin] = {}
        self._heap: list[tuple[datetime, int, Client]] = []
        self._order = itertools.count()
        self._timer: asyncio.TimerHandle | None = None
        self._rings_at: datetime | None = None
        self._link_error = ""

    @property
    def name(self) -> str:
        """The link's name, for errors."""
        return self._link.name

    @property
    def silence(self) -> str:
        """What is known where the link's requests go unheard; empty where they don't."""
        return self._link.silence

    def __len__(self) -> int:
        return len(self._listeners)

    def follow(self, client: Client, listener: Listener) -> None:
        """Drive ``client`` from now on, or let another listener hear of it."""
        self._listeners[client] = listener

    def drop(self, client: Client) -> None:
        """Drive ``client`` no longer. Nothing is sent."""
        self._listeners.pop(client, None)
        self._wakes.pop(client, None)
        self._begins.pop(client, None)
        self._forget_xid(client)

    def begin_in_turn(self, client: Client, begin: Begin) -> None:
        """Set ``client`` going when its turn comes: a restart with many leases is no burst."""
        self._begins[client] = begin
        self._wake_at(client, self._clock())

    def disturbed(self, now: datetime) -> None:
        """A clock jumped: all clients confirm in turn what they hold, and wait by the new time."""
        for client in tuple(self._listeners):
            self._begins.setdefault(client, client.disturbed)  # who never began yet just begins
            self._wake_at(client, now)
        self._schedule()

    def perform(self, client: Client, effects: Iterable[Effect]) -> None:
        """Do what ``client`` asked for. Raises LinkDown; the client sends again when it is due."""
        error: Exception | None = None
        heard = []
        for effect in effects:
            if isinstance(effect, Send):
                try:
                    self._send(effect)
                except Exception as failed:  # whatever it is, the client wakes and sends again
                    error = failed
            else:
                heard.append(effect)
        self._await(client)
        self._arm(client)
        for effect in heard:
            if (listener := self._listeners.get(client)) is not None:
                with its_own(f"listener of {client!r}"):
                    listener(effect)
        if error is not None:
            raise error

    def close(self) -> None:
        """Stop, without a word to any server."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = self._rings_at = None
        self._listeners.clear()
        self._awaited.clear()
        self._link.close()

    def _send(self, effect: Send) -> None:
        if effect.to is None:
            self._link.broadcast(effect.message)
        else:
            self._link.unicast(effect.message, effect.to)

    # What comes in

    def _wants(self, xid: int) -> bool:
        return xid in self._awaited

    def _deliver(self, message: Message | Unreadable) -> bool:
        client = self._awaited.get(message.xid)
        if client is None:
            return False
        effects: Effects = []
        what = message.type.name if isinstance(message, Message) else "a reply that can't be read"
        with its_own(f"{client!r}, on {what}"):
            effects = client.receive(message, self._clock())
            self._perform_unasked(client, effects)
        return any(isinstance(effect, Offered | Bound) for effect in effects)

    def _perform_unasked(self, client: Client, effects: Iterable[Effect]) -> None:
        """As ``perform``, where nobody waits who could be told that the link is down."""
        try:
            self.perform(client, effects)
        except LinkDown as error:
            if str(error) != self._link_error:
                log.dhcp_send_failed(link=self._link.name, error=str(error))
            self._link_error = str(error)
        else:
            self._link_error = ""

    # What is awaited, and when to wake

    def _await(self, client: Client) -> None:
        if self._xids.get(client) == client.xid and client.is_waiting:
            return
        self._forget_xid(client)
        if client.is_waiting and client in self._listeners:
            self._awaited[client.xid] = client
            self._xids[client] = client.xid

    def _forget_xid(self, client: Client) -> None:
        xid = self._xids.pop(client, None)
        if xid is not None and self._awaited.get(xid) is client:
            del self._awaited[xid]

    def _arm(self, client: Client) -> None:
        wake_at = client.wake_at
        if client not in self._listeners or wake_at is None:
            self._wakes.pop(client, None)
            return
        if self._wakes.get(client) != wake_at:
            self._wake_at(client, wake_at)

    def _wake_at(self, client: Client, wake_at: datetime) -> None:
        self._wakes[client] = wake_at
        heapq.heappush(self._heap, (wake_at, next(self._order), client))
        if len(self._heap) > 2 * len(self._wakes) + 64:
            self._sweep()
        # What was answered meanwhile keeps its place, and the timer: one idle waking costs less
        # than a timer for each exchange.
        if self._rings_at is None or wake_at < self._rings_at:
            self._schedule()

    def _sweep(self) -> None:
        """Drop entries that another deadline replaced: exchanges leave theirs behind."""
        self._heap = [entry for entry in self._heap if self._is_due_then(entry)]
        heapq.heapify(self._heap)

    def _is_due_then(self, entry: tuple[datetime, int, Client]) -> bool:
        """Whether no other deadline replaced this one."""
        return self._wakes.get(entry[2]) == entry[0]

    def _schedule(self, *, breath: float = 0.0) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._heap and not self._is_due_then(self._heap[0]):
            heapq.heappop(self._heap)  # answered meanwhile: nobody is to be woken for it
        self._rings_at = None
        if self._heap:
            self._rings_at = self._heap[0][0]
            wait = (self._rings_at - self._clock()).total_seconds()
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(max(wait, breath), self._wake)

    def _wake(self) -> None:
        self._timer = None
        now, woken = self._clock(), 0
        try:
            while self._heap and self._heap[0][0] <= now and woken < _AT_ONCE:
                entry = heapq.heappop(self._heap)
                if not self._is_due_then(entry):
                    continue
                client = entry[2]
                del self._wakes[client]
                woken += 1
                self._wake_one(client, now)
        finally:
            self._schedule(breath=_BREATH if woken == _AT_ONCE else 0.0)

    def _wake_one(self, client: Client, now: datetime) -> None:
        """An exception is this client's: it is told, and the client is woken again a bit later."""
        begin = self._begins.pop(client, client.tick)
        try:
            self._perform_unasked(client, begin(now))
        except Exception as error:
            report_failure(error, repr(client))
            if client in self._listeners and client not in self._wakes:
                if client.state is State.INIT:
                    self._begins[client] = begin
                self._wake_at(client, now + _AFTER_A_BUG)
