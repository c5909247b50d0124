"""As much of Go's gob and net/rpc as it takes to call CNI's DHCP daemon at its own socket.

A message is its length and its content; a type is told, under a negative number, before its first
value; a struct's fields are told by how many were left out before (https://pkg.go.dev/encoding/gob).
"""

import socket
from collections.abc import Mapping
from itertools import count
from pathlib import Path

_BYTES, _STRING, _UINT = 5, 6, 3
_KINDS: Mapping[type, int] = {bytes: _BYTES, str: _STRING, int: _UINT}
_STRUCT = 2  # the field of a type's description that describes a struct
_FIRST_TYPE = 65
_GREETING = b"CONNECT /_goRPC_ HTTP/1.0\n\n"
_PATIENCE = 60.0  # seconds

Struct = Mapping[str, str | bytes | int]


class RpcError(Exception):
    """The daemon's answer is an error, or none."""


def request(method: str, arguments: Struct, *, name: str) -> bytes:
    """One call with a struct called ``name``."""
    types = count(_FIRST_TYPE)
    head = _described(next(types), "Request", {"ServiceMethod": method, "Seq": 0})
    return head + _described(next(types), name, arguments)


def call(path: Path, sent: bytes) -> None:
    """Make the call, and wait for the end of its result. Raises RpcError."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(_PATIENCE)
        connection.connect(str(path))
        received = _Received(connection)
        connection.sendall(_GREETING)
        received.until(b"\n\n")  # what is sent before it is lost
        connection.sendall(sent)
        error = _error(received.value())
        if error is not None:
            raise RpcError(error)
        received.value()


def _described(number: int, name: str, struct: Struct) -> bytes:
    fields = b"".join(
        _uint(1) + _text(field) + _uint(1) + _int(_KINDS[type(value)]) + _uint(0)
        for field, value in struct.items()
    )
    common = _uint(1) + _uint(1) + _text(name) + _uint(1) + _int(number) + _uint(0)
    description = _uint(1 + _STRUCT) + common
    description += _uint(1) + _uint(len(struct)) + fields + _uint(0) + _uint(0)
    return _message(_int(-number) + description) + _message(_int(number) + _values(struct))


def _values(struct: Struct) -> bytes:
    encoded, last = b"", -1
    for at, value in enumerate(struct.values()):
        if not value:
            continue  # a zero is left out
        encoded += _uint(at - last) + (_uint(value) if isinstance(value, int) else _text(value))
        last = at
    return encoded + _uint(0)


def _message(content: bytes) -> bytes:
    return _uint(len(content)) + content


def _text(text: str | bytes) -> bytes:
    octets = text.encode() if isinstance(text, str) else text
    return _uint(len(octets)) + octets


def _uint(number: int) -> bytes:
    if number < 0x80:
        return bytes([number])
    octets = number.to_bytes((number.bit_length() + 7) // 8, "big")
    return bytes([256 - len(octets)]) + octets


def _int(number: int) -> bytes:
    return _uint(number << 1 if number >= 0 else (~number << 1) | 1)


def _read_uint(octets: bytes, at: int) -> tuple[int, int]:
    """The number at ``at``, and where it ends."""
    if octets[at] < 0x80:
        return octets[at], at + 1
    end = at + 1 + 256 - octets[at]
    return int.from_bytes(octets[at + 1 : end], "big"), end


def _error(answer: bytes) -> str | None:
    """The third field of net/rpc's Response, its Error, behind ServiceMethod and Seq."""
    at, field = 0, -1
    while (read := _read_uint(answer, at))[0]:
        field, at = field + read[0], read[1]
        length, at = _read_uint(answer, at)
        if field == 2:
            return answer[at : at + length].decode(errors="replace")
        at += length if field == 0 else 0
    return None


class _Received:
    """What has come in, and more when it is wanted."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._octets = b""

    def until(self, end: bytes) -> None:
        """Drop everything up to ``end``."""
        while end not in self._octets:
            self._more()
        self._octets = self._octets.partition(end)[2]

    def value(self) -> bytes:
        """The next value behind its type's number; descriptions of types are passed by."""
        while True:
            message = self._message()
            number, at = _read_uint(message, 0)
            if not number & 1:
                return message[at:]

    def _message(self) -> bytes:
        while True:
            try:
                length, at = _read_uint(self._octets, 0)
            except IndexError:
                length, at = 1, len(self._octets)
            if len(self._octets) >= at + length:
                content, self._octets = self._octets[at : at + length], self._octets[at + length :]
                return content
            self._more()

    def _more(self) -> None:
        chunk = self._connection.recv(65536)
        if not chunk:
            raise RpcError("the daemon closed the connection")
        self._octets += chunk
