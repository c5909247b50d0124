"""What uvicorn's answers look like on the way."""

import asyncio
from typing import cast

from d4d.entrypoints.daemon.http.uvicorn_server import Gathering

HEAD, BODY = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n", b"{}"


class Wire:
    """A transport that remembers."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.is_closed = False

    def write(self, data: bytes) -> None:
        assert not self.is_closed
        self.sent.append(data)

    def close(self) -> None:
        self.is_closed = True

    def is_closing(self) -> bool:
        return self.is_closed


def gathering(wire: Wire) -> Gathering:
    return Gathering(cast("asyncio.Transport", wire))


async def test_a_head_goes_out_with_its_body() -> None:
    transport = gathering(wire := Wire())
    for _ in range(2):
        transport.write(HEAD)
        transport.write(BODY)
    await asyncio.sleep(0)
    assert wire.sent == [HEAD + BODY] * 2


async def test_a_head_whose_body_is_late_goes_out_without() -> None:
    transport = gathering(wire := Wire())
    transport.write(HEAD)
    assert wire.sent == []
    await asyncio.sleep(0)
    assert wire.sent == [HEAD]
    transport.write(BODY)
    assert wire.sent == [HEAD, BODY]


async def test_what_looks_like_a_head_is_not_lost() -> None:
    transport = gathering(wire := Wire())
    transport.write(HEAD)
    transport.write(b"5\r\n\r\n\r\n")
    transport.write(b"0\r\n\r\n")
    await asyncio.sleep(0)
    assert b"".join(wire.sent) == HEAD + b"5\r\n\r\n\r\n" + b"0\r\n\r\n"


async def test_closing_sends_what_waits_and_nothing_after() -> None:
    transport = gathering(wire := Wire())
    transport.write(HEAD)
    assert not transport.is_closing()
    transport.close()
    await asyncio.sleep(0)
    assert (wire.sent, transport.is_closing()) == ([HEAD], True)
