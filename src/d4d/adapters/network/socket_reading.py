"""Reads a socket in the event loop, for as long as it is open: an error of a read ends nothing.

libuv, on which uvloop stands, stops to look at a socket at its first error; asyncio's own loop does
not. A parent that goes down is such an error, and nobody would hear of its coming up. So after any
error the reader is added again. An error that stays is looked at less often: it would fill a core.
"""

import asyncio
import contextlib
import socket
from collections.abc import Callable

from d4d.service_layer.concurrency.supervised_task import its_own

AT_ONCE = 64
"""Packets read in one go: other work of the event loop waits a few milliseconds, not seconds."""
_LONGEST = 0xFFFF
_RECEIVE_BUFFER = 4 << 20
_SO_RCVBUFFORCE = 33  # not in Python's socket module
_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 1.0  # seconds after an error that came again at once


def enlarge(sock: socket.socket) -> None:
    """Room for a burst of some thousand replies. Raises OSError."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
    # Beyond net.core.rmem_max with CAP_NET_ADMIN only; without it, what there is must do.
    with contextlib.suppress(PermissionError):
        sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _RECEIVE_BUFFER)


Receive = Callable[[socket.socket], bytes]
"""Reads one packet. Raises OSError."""


def _receive(sock: socket.socket) -> bytes:
    """Without its sender: Python asks the kernel for the name of each one's interface."""
    return sock.recv(_LONGEST)


def drain(sock: socket.socket, receive: Receive = _receive) -> tuple[list[bytes], OSError | None]:
    """Up to 64 packets, and the error that ended the reading, if one did."""
    packets: list[bytes] = []
    try:
        while len(packets) < AT_ONCE:
            packets.append(receive(sock))
    except BlockingIOError:
        return packets, None
    except OSError as error:
        return packets, error
    return packets, None


class SocketReader:
    """The reader of one open, non-blocking socket, until ``close``."""

    def __init__(
        self,
        sock: socket.socket,
        *,
        read: Callable[[list[bytes]], None],
        failed: Callable[[OSError], None],
        receive: Receive = _receive,
    ) -> None:
        """``read`` gets what came in, in order; ``failed`` hears of each error behind it.

        Either may close the reader, and the socket. What they raise is told, and ends nothing.
        """
        self._sock = sock
        self._read = read
        self._failed = failed
        self._receive = receive
        self._pause = _FIRST_PAUSE
        self._timer: asyncio.TimerHandle | None = None
        self._is_open = False

    def open(self) -> None:
        """Read from now on; also before a ``rest`` is over."""
        self._is_open = True
        self._stop()
        asyncio.get_running_loop().add_reader(self._sock, self._readable)

    def rest(self, seconds: float) -> None:
        """Leave what comes in with the kernel for so long."""
        if self._is_open:
            self._stop()
            self._timer = asyncio.get_running_loop().call_later(seconds, self.open)

    def close(self) -> None:
        """Read no more. The socket is its maker's to close."""
        self._is_open = False
        self._stop()

    def _stop(self) -> None:
        asyncio.get_running_loop().remove_reader(self._sock)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _readable(self) -> None:
        packets, error = drain(self._sock, self._receive)
        if error is not None and self._is_open:
            self._read_again(is_new=bool(packets) or self._pause == _FIRST_PAUSE)
        elif error is None:
            self._pause = _FIRST_PAUSE
        with its_own("reading a socket"):
            self._read(packets)
        if error is not None:
            with its_own("an error of a socket"):
                self._failed(error)

    def _read_again(self, *, is_new: bool) -> None:
        """After an error: at once, and after one that came again and again with a pause."""
        if is_new:
            self.open()
            self._pause = 2 * _FIRST_PAUSE
        else:
            self.rest(self._pause)
            self._pause = min(2 * self._pause, _LONGEST_PAUSE)
