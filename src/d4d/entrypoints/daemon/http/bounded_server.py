"""Serves operators: HTTP within bounds, so that none of them can take what Docker needs.

Anyone who can connect may send anything, as slowly as they like, and read as slowly. So everything
on a connection has a limit of time and of size, and the number of connections is limited; requests
are begun one at a time, in turns with Docker's calls. h11 reads and writes HTTP, on both event
loops; no request of an operator has a body. Docker's side knows no such bounds: see
``uvicorn_server`` and ``hypercorn_server``.
"""

import asyncio
import errno
import json
import socket
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from email.utils import formatdate
from http import HTTPStatus
from typing import Any, cast
from urllib.parse import unquote

import h11
from starlette.types import ASGIApp, Message

from d4d.adapters.system.descriptors import is_of_reserve
from d4d.service_layer import log_messages as log
from d4d.service_layer.concurrency.pace import Pace

_END_OF_HEAD = b"\r\n\r\n"
_AT_ONCE = 4  # connections accepted in one turn of the loop
_PIECE = 65_536  # bytes of an answer that are handed to the kernel at once
_MOST_PARTING = 16  # clients that are turned away, and may still send their request
_LINGER = 1.0  # seconds in which a refused client that still sends may read why
_MOST_DISCARDED = 65_536  # bytes that it may send meanwhile; then no more is read
_REPORT_EVERY = 60.0  # seconds between two lines in the log about clients turned away
_FULL_PAUSE = 0.005  # seconds between two clients that are turned away
_NO_ROOM_PAUSE = 1.0  # seconds until connections are taken again, where the kernel had no room
_NO_ROOM = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
_NO_BODY = (204, 304)
_VERSIONS = (b"1.0", b"1.1")
_SHOWN = 200  # bytes of a path and its query, in the log


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """Limits for operators; times are in seconds, sizes in bytes."""

    connections: int = 100
    head: int = 65_536
    lines: int = 100
    """In a head: each header costs time of its own."""
    target: int = 8192
    """The path and the query, as they are sent."""
    head_time: float = 10.0
    """From the first byte of a request, or from the connection's start, to the head's end."""
    idle: float = 5.0
    """Until the next request begins."""
    reading: float = 30.0
    """In which a client must read what was written for it."""


BOUNDS = Bounds()


async def serve_bounded(
    app: ASGIApp,
    descriptor: int,
    *,
    stop: asyncio.Event,
    grace: Callable[[], float],
    pace: Pace,
    bounds: Bounds = BOUNDS,
) -> None:
    """Serve ``app`` at the listening socket ``descriptor``, which it closes, until ``stop``.

    Requests in flight then have ``grace`` seconds left. Requests are begun in turns of ``pace``.
    """
    server = _Server(app, socket.socket(fileno=descriptor), stop=stop, pace=pace, bounds=bounds)
    try:
        server.start()
        await stop.wait()
    finally:
        await server.end(grace())


class _Refused(Exception):
    """A request that is refused before the app sees it."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class _Server:
    """The listening socket, and the connections that it accepted."""

    def __init__(
        self,
        app: ASGIApp,
        listening: socket.socket,
        *,
        stop: asyncio.Event,
        pace: Pace,
        bounds: Bounds,
    ) -> None:
        self.app = app
        self.pace = pace
        self.bounds = bounds
        self.ends = stop.is_set
        self.loop = asyncio.get_running_loop()
        self.connections: set[_Connection] = set()
        self.calls: set[asyncio.Task[None]] = set()
        self._listening = listening
        self._opening: set[asyncio.Task[None]] = set()
        self._parting: dict[socket.socket, asyncio.TimerHandle] = {}
        self._pausing: asyncio.TimerHandle | None = None
        self._turned_away = 0
        self._reported_at = -_REPORT_EVERY

    def start(self) -> None:
        """Accept connections from now on."""
        self._listening.setblocking(False)
        self.loop.add_reader(self._listening, self._accept)

    async def end(self, grace: float) -> None:
        """Accept no more; answer the requests in flight within ``grace`` seconds."""
        if self._pausing is not None:
            self._pausing.cancel()
        self.loop.remove_reader(self._listening)
        self._listening.close()
        for accepted in tuple(self._parting):
            self._part(accepted)
        await asyncio.gather(*self._opening, return_exceptions=True)
        for connection in tuple(self.connections):
            connection.close_if_idle()
        if self.calls:
            await asyncio.wait(self.calls, timeout=grace)
        for call in tuple(self.calls):
            call.cancel()
        await asyncio.gather(*self.calls, return_exceptions=True)
        for connection in tuple(self.connections):
            connection.abort()

    def _accept(self) -> None:
        for _ in range(_AT_ONCE):
            try:
                accepted, _ = self._listening.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                if error.errno not in _NO_ROOM:
                    raise
                self._report(f"no connection can be taken: {error.strerror}")
                self._pause(_NO_ROOM_PAUSE)
                return
            accepted.setblocking(False)
            if not self._take(accepted):
                self._pause(_FULL_PAUSE)
                return

    def _pause(self, seconds: float) -> None:
        """Accept nobody for a while: who waits at the socket would wake us again and again."""
        self.loop.remove_reader(self._listening)
        self._pausing = self.loop.call_later(seconds, self.start)

    def _take(self, accepted: socket.socket) -> bool:
        """Serve the client; False says that it was turned away."""
        taken = len(self.connections)
        if is_of_reserve(accepted.fileno()):
            self._turn_away(accepted, "this process has too many files open", waits=False)
            return False
        if taken >= self.bounds.connections:
            why = f"{taken} connections are open, and no more are served"
            self._turn_away(accepted, why, waits=True)
            return False
        connection = _Connection(self)
        self.connections.add(connection)
        opening = self.loop.create_task(self._open(accepted, connection))
        self._opening.add(opening)
        opening.add_done_callback(self._opening.discard)
        return True

    async def _open(self, accepted: socket.socket, connection: "_Connection") -> None:
        try:
            await self.loop.connect_accepted_socket(lambda: connection, accepted)
        except OSError:  # it went away
            self.connections.discard(connection)
            accepted.close()

    def _turn_away(self, accepted: socket.socket, why: str, *, waits: bool) -> None:
        """Refuse without a transport. A few may still send their request, and read the reason."""
        self._report(why)
        try:
            accepted.send(_refusal(503, f"{why}: try again"))
            accepted.shutdown(socket.SHUT_WR)
        except OSError:  # it went away
            accepted.close()
            return
        if not waits or len(self._parting) >= _MOST_PARTING:
            accepted.close()
            return
        self.loop.add_reader(accepted, self._part, accepted)
        self._parting[accepted] = self.loop.call_later(_LINGER, self._part, accepted)

    def _part(self, accepted: socket.socket) -> None:
        self._parting.pop(accepted).cancel()
        self.loop.remove_reader(accepted)
        with accepted, suppress(OSError):
            accepted.recv(_PIECE)  # closing with unread bytes would discard the answer

    def _report(self, why: str) -> None:
        self._turned_away += 1
        if self.loop.time() - self._reported_at >= _REPORT_EVERY:
            log.admin_connections_refused(reason=why, connections=self._turned_away)
            self._reported_at = self.loop.time()
            self._turned_away = 0


class _Connection(asyncio.Protocol):
    """One connection: a request's head is gathered, checked and answered; then the next one."""

    def __init__(self, server: _Server) -> None:
        self._server = server
        self._bounds = server.bounds
        self._loop = server.loop
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=self._bounds.head)
        self._buffer = bytearray()
        self._searched = 0
        self._call: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._slow: asyncio.TimerHandle | None = None
        self._discarded: int | None = None
        self._gone = asyncio.Event()
        self._writable = asyncio.Event()
        self._writable.set()

    # The transport's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See ``asyncio.Protocol``."""
        self._transport = cast("asyncio.Transport", transport)
        self._wait(self._bounds.head_time, self._too_late)
        if self._server.ends():
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """See ``asyncio.Protocol``."""
        self._server.connections.discard(self)
        for timer in (self._timer, self._slow):
            if timer is not None:
                timer.cancel()
        self._gone.set()
        self._writable.set()

    def data_received(self, data: bytes) -> None:
        """See ``asyncio.Protocol``."""
        if self._discarded is not None:
            self._discarded += len(data)
            if self._discarded > _MOST_DISCARDED:
                self._transport.pause_reading()
            return
        self._buffer += data
        if self._call is None:
            if len(self._buffer) == len(data):
                self._wait(self._bounds.head_time, self._too_late)
            self._look()
        elif len(self._buffer) > self._bounds.head:
            self._transport.pause_reading()

    def pause_writing(self) -> None:
        """See ``asyncio.Protocol``."""
        self._writable.clear()
        self._slow = self._loop.call_later(self._bounds.reading, self._transport.abort)

    def resume_writing(self) -> None:
        """See ``asyncio.Protocol``."""
        if self._slow is not None:
            self._slow.cancel()
        self._writable.set()

    # The server's side

    def close_if_idle(self) -> None:
        """No further request is taken; one that is being answered is finished."""
        if self._call is None:
            self._close()

    def abort(self) -> None:
        """Drop it at once."""
        self._transport.abort()

    # Requests

    def _look(self) -> None:
        """Begin the request, once its head has arrived in full."""
        end = self._buffer.find(_END_OF_HEAD, self._searched)
        length = end + len(_END_OF_HEAD) if end >= 0 else len(self._buffer)
        if length > self._bounds.head:
            self._refuse(431, f"a request's head has {self._bounds.head} bytes at most")
        elif end < 0:
            self._searched = max(0, length - len(_END_OF_HEAD) + 1)
        else:
            head = bytes(self._buffer[:length])
            del self._buffer[:length]
            self._searched = 0
            self._wait(None)
            self._call = self._loop.create_task(self._answer(head))
            self._server.calls.add(self._call)
            self._call.add_done_callback(self._answered)

    async def _answer(self, head: bytes) -> None:
        await self._server.pace.turn()
        if self._is_over():
            return
        try:
            request = self._checked(head)
        except _Refused as error:
            self._refuse(error.status, str(error))
            return
        answer = _Answer(self, request)
        try:
            await self._server.app(self._scope(request), answer.receive, answer.send)
        except Exception as error:
            if not self._is_over():
                target = request.target[:_SHOWN].decode("ascii")
                log.admin_request_failed(exc_info=error, method=answer.method, target=target)
        if not answer.is_whole:
            self._fail(begun=answer.is_begun)

    def _checked(self, head: bytes) -> h11.Request:
        """The request. Raises _Refused."""
        bounds = self._bounds
        if head.count(b"\n") > bounds.lines:
            raise _Refused(431, f"a request has {bounds.lines} lines at most")
        try:
            self._http.receive_data(head)
            request = self._http.next_event()
        except h11.RemoteProtocolError as error:
            raise _Refused(error.error_status_hint, f"that is no request: {error}") from error
        if not isinstance(request, h11.Request):
            raise _Refused(400, "that is no request of HTTP/1.1")
        if request.http_version not in _VERSIONS:
            raise _Refused(505, "HTTP/1.1 is served here")
        if len(request.target) > bounds.target:
            raise _Refused(414, f"a path and its query have {bounds.target} bytes at most")
        if _has_body(request.headers):
            raise _Refused(413, "no body is expected: what is asked for stands in the query")
        self._http.next_event()  # its end
        return request

    def _scope(self, request: h11.Request) -> dict[str, Any]:
        path, _, query = request.target.partition(b"?")
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": request.http_version.decode("ascii"),
            "method": request.method.decode("ascii"),
            "scheme": "http",
            "path": unquote(path.decode("ascii")),
            "raw_path": path,
            "query_string": query,
            "root_path": "",
            "headers": list(request.headers),
            "client": _name(self._transport.get_extra_info("peername")),
            "server": _name(self._transport.get_extra_info("sockname")),
            "state": {},
        }

    def _answered(self, call: asyncio.Task[None]) -> None:
        """Go on with the next request, where there may be one."""
        self._server.calls.discard(call)
        self._call = None
        if call.cancelled() or call.exception() is not None:
            self._transport.abort()
        if self._transport.is_closing() or self._discarded is not None:
            return
        if self._server.ends() or self._http.our_state is not h11.DONE:
            self._close()
            return
        self._http.start_next_cycle()
        if len(self._buffer) <= self._bounds.head:
            self._transport.resume_reading()
        if self._buffer:
            self._wait(self._bounds.head_time, self._too_late)
            self._look()
        else:
            self._wait(self._bounds.idle, self._close)

    # What is sent

    async def write(self, event: h11.Event) -> None:
        """Send it, and wait while too much is unread. Raises OSError if the client has gone."""
        data = self._http.send(event) or b""
        for start in range(0, len(data), _PIECE):
            if self._is_over():
                raise ConnectionResetError("the operator went away")
            self._transport.write(data[start : start + _PIECE])
            await self._writable.wait()

    def _is_over(self) -> bool:
        return self._gone.is_set() or self._transport.is_closing()

    @property
    def gone(self) -> asyncio.Event:
        """Set when the client has gone."""
        return self._gone

    def closes(self) -> bool:
        """Whether this answer is the last."""
        return self._server.ends()

    def _refuse(self, status: int, text: str) -> None:
        """Refuse, and read no more requests."""
        self._buffer.clear()
        self._discarded = 0
        if self._transport.is_closing():
            return
        self._transport.write(_refusal(status, text))
        if self._transport.can_write_eof():
            with suppress(OSError):
                self._transport.write_eof()
        self._transport.resume_reading()
        self._wait(_LINGER, self._transport.abort)

    def _fail(self, *, begun: bool) -> None:
        if begun:
            self._transport.abort()
        else:
            self._refuse(500, "D4D failed, see its log")

    def _too_late(self) -> None:
        self._refuse(408, f"a request's head has {self._bounds.head_time:.0f} s to arrive")

    def _close(self) -> None:
        """Close once what was written has been read, or its time is up."""
        self._transport.close()
        self._wait(self._bounds.reading, self._transport.abort)

    def _wait(self, seconds: float | None, late: Callable[[], None] | None = None) -> None:
        """Have ``late`` called after ``seconds``, unless another wait begins before."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if seconds is not None and late is not None and not self._gone.is_set():
            self._timer = self._loop.call_later(seconds, late)


class _Answer:
    """An app's side of one request: ``receive`` and ``send`` (ASGI)."""

    def __init__(self, connection: _Connection, request: h11.Request) -> None:
        self.method = request.method.decode("ascii")
        self.is_begun = False
        self.is_whole = False
        self._connection = connection
        self._head: h11.Response | None = None
        self._is_received = False
        self._has_body = self.method != "HEAD"

    async def receive(self) -> Message:
        """The request, which has no body; then that the client has gone."""
        if not self._is_received:
            self._is_received = True
            return {"type": "http.request", "body": b"", "more_body": False}
        await self._connection.gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        """Send a part of the answer. Raises OSError where the client has gone."""
        if message["type"] == "http.response.start":
            headers = [*message.get("headers", ()), (b"date", _date(int(time.time())))]
            if self._connection.closes():
                headers.append((b"connection", b"close"))
            self._head = h11.Response(status_code=message["status"], headers=headers)
            self._has_body = self._has_body and message["status"] not in _NO_BODY
            return
        if self._head is not None:
            self.is_begun = True
            head, self._head = self._head, None
            await self._connection.write(head)
        body = message.get("body", b"")
        if body and self._has_body:
            await self._connection.write(h11.Data(data=body))
        if not message.get("more_body", False):
            await self._connection.write(h11.EndOfMessage())
            self.is_whole = True


_dates: dict[int, bytes] = {}


def _date(second: int) -> bytes:
    """As HTTP writes it: the page sets its clock by it."""
    if second not in _dates:
        _dates.clear()
        _dates[second] = formatdate(second, usegmt=True).encode()
    return _dates[second]


def _has_body(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    return any(
        name == b"transfer-encoding" or (name == b"content-length" and value.strip(b"0"))
        for name, value in headers
    )


def _name(name: object) -> tuple[str, int] | None:
    """The name of a peer, or our own, if it has an address."""
    return (str(name[0]), int(name[1])) if isinstance(name, tuple) else None


def _refusal(status: int, text: str) -> bytes:
    """A whole answer, after which the connection closes."""
    body = json.dumps({"error": text}).encode()
    phrase = HTTPStatus(status).phrase
    head = (
        f"HTTP/1.1 {status} {phrase}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + body
