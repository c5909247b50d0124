"""A cable to a server's TCP port that can be cut: at once, or in the middle of an answer."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

_LINGER = struct.pack("ii", 1, 0)  # close sends RST, as where a machine forgot the connection


class Cable:
    """What is between a client and the server."""

    def __init__(self, far: int) -> None:
        self.port = 0
        """Where clients connect."""
        self.breaks_after: int | None = None
        """So many bytes of the next answers arrive, and the connection ends."""
        self.says: bytes | None = None
        """What arrives in place of the next answers."""
        self._far = far
        self._clients: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def count(self) -> int:
        """How many connections there are."""
        return len(self._clients)

    def reset_all(self) -> None:
        """End all connections, without a word to the server's side."""
        while self._clients:
            writer = self._clients.pop()
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER)
            writer.transport.abort()

    async def join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one client."""
        self._clients.add(writer)
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._far)
        back = asyncio.ensure_future(self._answers(far_reader, writer))
        self._tasks.add(back)
        back.add_done_callback(self._tasks.discard)
        try:
            while data := await reader.read(65536):
                far_writer.write(data)
        except OSError:
            pass
        finally:
            self._clients.discard(writer)
            far_writer.close()
            writer.close()

    async def _answers(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                if self.says is not None:
                    data = self.says
                if self.breaks_after is not None:
                    writer.write(data[: self.breaks_after])
                    await asyncio.sleep(0)
                    self._clients.discard(writer)
                    writer.close()
                    return
                writer.write(data)
        except OSError:
            pass
        writer.close()


@asynccontextmanager
async def cable(far: int) -> AsyncIterator[Cable]:
    """A cable to that port of loopback."""
    between = Cable(far)
    server = await asyncio.start_server(between.join, "127.0.0.1", 0)
    between.port = server.sockets[0].getsockname()[1]
    try:
        yield between
    finally:
        server.close()
        between.reset_all()
