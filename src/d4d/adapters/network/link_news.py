"""What becomes of the host's links, their IPv4 addresses and routes, as the kernel tells of it.

One netlink socket hears all. What comes within a moment is told as one; a link that flaps on is
told of every two seconds, routes, of which a router has many, every five. Where the kernel had more
to tell than the socket had room for (ENOBUFS), all is asked for anew and compared.
"""

import asyncio
import errno
import socket
from collections.abc import Callable

from d4d.adapters.network.link_table import LinkTable
from d4d.adapters.network.rtnetlink import (
    ADDRESSES4,
    LINKS,
    ROUTES4,
    AddressTold,
    DumpEnded,
    LinkGone,
    LinkTold,
    News,
    RouteTold,
    ask_for_addresses,
    ask_for_links,
    open_netlink,
    read_news,
)
from d4d.adapters.network.socket_reading import SocketReader, enlarge
from d4d.domain.ports.disturbances import Notify, RoutesChanged

_MOMENT = 0.2  # seconds in which what comes is one disturbance
_LINK_PAUSE, _ROUTES_PAUSE = 2.0, 5.0  # seconds between two of the same


class LinkNews:
    """A source of disturbances. What it knows of the links outlives a socket that failed."""

    name = "link news"

    def __init__(self, *, moment: float = _MOMENT) -> None:
        """``moment`` is how many seconds make one burst."""
        self._moment = moment
        self._table = LinkTable()
        self._was_synced = False

    async def watch(self, notify: Notify) -> None:
        """See ``DisturbanceSource``. Raises OSError."""
        listening = _Listening(self._table, notify, self._moment, again=self._was_synced)
        try:
            listening.open()
            self._was_synced = True
            await listening.ended
        finally:
            listening.close()


class _Listening:
    """One socket, from its opening until it fails."""

    def __init__(self, table: LinkTable, notify: Notify, moment: float, *, again: bool) -> None:
        self._table = table
        self._notify = notify
        self._moment = moment
        self._loop = asyncio.get_running_loop()
        self.ended: asyncio.Future[None] = self._loop.create_future()
        self._socket: socket.socket | None = None
        self._reader: SocketReader | None = None
        self._telling: asyncio.TimerHandle | None = None
        self._syncing: asyncio.TimerHandle | None = None
        self._is_dumping = False
        self._has_links = False
        self._lost_news = False
        """Whether what is being dumped may be older than what was lost."""
        self._routes_changed = again
        self._next_at: dict[str | None, float] = {}
        """When each name may be told of again; None is of the routes."""

    def open(self) -> None:
        """Listen, and ask what there is. Raises OSError."""
        self._socket = open_netlink(LINKS | ADDRESSES4 | ROUTES4)
        enlarge(self._socket)
        self._reader = SocketReader(self._socket, read=self._read, failed=self._failed)
        self._reader.open()
        self._sync()
        self._tell_soon()

    def close(self) -> None:
        """Hear no more."""
        for timer in (self._telling, self._syncing):
            if timer is not None:
                timer.cancel()
        if self._reader is not None:
            self._reader.close()
        if self._socket is not None:
            self._socket.close()
        if not self.ended.cancel() and not self.ended.cancelled():
            self.ended.exception()  # it was heard of, or nobody waits for it any more

    def _sync(self) -> None:
        assert self._socket is not None
        self._syncing = None
        self._is_dumping, self._has_links, self._lost_news = True, False, False
        self._table.begin()
        ask_for_links(self._socket)

    def _sync_soon(self) -> None:
        if self._syncing is None:
            self._syncing = self._loop.call_later(self._moment, self._try, self._sync)

    def _read(self, datagrams: list[bytes]) -> None:
        self._try(self._take_all, datagrams)

    def _take_all(self, datagrams: list[bytes]) -> None:
        for datagram in datagrams:
            for news in read_news(datagram):
                self._take(news)
        if self._table.changed or self._routes_changed:
            self._tell_soon()

    def _take(self, news: News) -> None:
        match news:
            case LinkTold():
                self._table.add(news)
            case LinkGone():
                self._table.remove(news)
            case AddressTold():
                self._table.address(news)
            case RouteTold():
                self._routes_changed = True
            case DumpEnded():
                self._dumped(news)

    def _dumped(self, ended: DumpEnded) -> None:
        assert self._socket is not None
        if self._lost_news or not ended.is_whole:
            self._is_dumping = False
            self._sync_soon()
        elif not self._has_links:
            self._has_links = True
            self._table.links_ended()
            ask_for_addresses(self._socket)
        else:
            self._is_dumping = False
            self._table.addresses_ended()

    def _failed(self, error: OSError) -> None:
        if error.errno != errno.ENOBUFS:
            self._end(error)
            return
        self._lost_news = self._routes_changed = True
        if not self._is_dumping:
            self._sync_soon()
        self._tell_soon()

    def _try(self, action: Callable[..., None], *arguments: object) -> None:
        """A bug in reading the kernel's words ends this socket, too: the next one asks anew."""
        try:
            action(*arguments)
        except Exception as error:
            self._end(error)

    def _end(self, error: Exception) -> None:
        if not self.ended.done():
            self.ended.set_exception(error)

    def _tell_soon(self) -> None:
        if self._telling is None:
            self._telling = self._loop.call_later(self._moment, self._tell)

    def _tell(self) -> None:
        """Tell of all that is due, and come back for the rest."""
        self._telling = None
        now = self._loop.time()
        self._next_at = {key: at for key, at in self._next_at.items() if at > now}
        for name in self._table.changed:
            if name not in self._next_at and (changed := self._table.pop(name)) is not None:
                self._next_at[name] = now + _LINK_PAUSE
                self._notify(changed)
        if self._routes_changed and None not in self._next_at:
            self._routes_changed = False
            self._next_at[None] = now + _ROUTES_PAUSE
            self._notify(RoutesChanged())
        waiting: list[str | None] = [*self._table.changed]
        waiting += [None] if self._routes_changed else []
        if waiting:
            due = min(self._next_at[key] for key in waiting)
            self._telling = self._loop.call_at(due, self._tell)
