"""Messages to bytes and back, with scapy for reference: the only module that imports it.

scapy takes 150 µs to build a message and 1 µs would do, as the messages of a driver differ in
their values and hardly in their layout. So scapy builds each *shape* (which options, how long)
once; later messages of that shape are the same bytes with their values patched in.
Replies are taken apart here, too; ``dissect`` is scapy's reading of them, which tests compare with.
So scapy is needed late, and imported late: that takes longer than all the rest of a start.
"""

import logging
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address
from typing import Any

from d4d.adapters.dhcp.wire.option_fields import HEADER, join, walk
from d4d.adapters.dhcp.wire.options import (
    CLASSFUL,
    CLASSLESS_ROUTES,
    OPTIONS,
    STATIC_ROUTES,
    Option,
)
from d4d.domain.addressing import MacAddress
from d4d.domain.dhcp.messages import Message, MessageType
from d4d.lazy_import import first_of_lazy
from d4d.service_layer import log_messages as log

_LEAST_LENGTH = 300  # RFC 1542 section 2.1: old relays and servers drop shorter ones
_MOST_OPTION = 255
_MOST_SECS = 0xFFFF
_MOST_SHAPES = 1024
_BROADCAST = 0x8000
_COOKIE = b"\x63\x82\x53\x63"
_ETHERNET, _MAC_LENGTH = 1, 6
_REQUEST, _REPLY = 1, 2
_REPLIES = (MessageType.OFFER, MessageType.ACK, MessageType.NAK)
_FIXED = struct.Struct("!4BIHHIIII6s")
_XID = struct.Struct("!4xI")
_CHADDR = slice(28, 34)


class Malformed(ValueError):
    """These bytes are no DHCP message, or the message fits in no bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Template:
    payload: bytes
    offsets: tuple[int, ...]


_ValueOf = Callable[[int, bytes], Any]
_KINDS = {STATIC_ROUTES: CLASSFUL, **{option.code: option.kind for option in OPTIONS}}
_FIELDS = {STATIC_ROUTES: "static_routes", **{option.code: option.field for option in OPTIONS}}
_PLACES = tuple((Message._fields.index(option.field), option) for option in OPTIONS)
"""Where in a Message the value of each option is."""
_EMPTY = ("", b"", ())

_templates: dict[bytes, _Template] = {}  # by the code and the length of each option


@first_of_lazy  # as a container's start needs it
def scapy_layers() -> Any:
    """scapy's module of DHCP, imported by the first who asks."""
    # It warns at import of a host without a default route, which is none of our business.
    logging.getLogger("scapy").setLevel(logging.ERROR)
    from scapy.data import MANUFDB  # noqa: PLC0415 - late, see above
    from scapy.layers import dhcp  # noqa: PLC0415 - as above

    MANUFDB.d.clear()  # 11 MB of who makes which network card
    return dhcp


def _field_name(code: int) -> str:
    """What this release of scapy calls the option. It drops, with a warning, a name it lacks."""
    field = scapy_layers().DHCPOptions[code]
    return field if isinstance(field, str) else str(field.name)


def xid_of(payload: bytes) -> int:
    """The transaction id, from its fixed place. Raises Malformed."""
    if len(payload) < HEADER:
        raise Malformed(f"{len(payload)} bytes are too short for DHCP, which has {HEADER} or more")
    xid: int = _XID.unpack_from(payload)[0]
    return xid


def chaddr_of(payload: bytes) -> MacAddress:
    """Whom it is for, of a payload that ``xid_of`` takes."""
    return MacAddress(payload[_CHADDR])


def encode(message: Message, *, hops: int = 0) -> bytes:
    """The BOOTP payload, 300 bytes or longer. Raises Malformed for a value that fits in no option.

    ``secs`` beyond its 16 bits is sent as their highest value.
    """
    shape: list[int] = []
    values: list[bytes] = []
    for option, value in _present(message):
        packed = option.kind.pack(value)
        length = len(packed)
        if length > _MOST_OPTION:
            raise Malformed(f"{option.field} has {length} bytes; option {option.code} holds 255")
        shape += (option.code, length)
        values.append(packed)
    template = _template(bytes(shape), message)
    payload = bytearray(template.payload)
    _patch_fixed(payload, message, hops)
    for at, packed in zip(template.offsets, values, strict=True):
        payload[at : at + len(packed)] = packed
    return bytes(payload)


def build(message: Message, *, hops: int = 0) -> bytes:
    """What ``encode`` returns, all of it by scapy: for templates, and to check patching by."""
    options: list[Any] = [
        (_field_name(option.code), *option.kind.show(value)) for option, value in _present(message)
    ]
    scapy = scapy_layers()
    head = scapy.BOOTP(
        op=_op(message.type),
        hops=hops,
        xid=message.xid,
        secs=min(message.secs, _MOST_SECS),
        flags=_BROADCAST if message.broadcast else 0,
        ciaddr=str(message.ciaddr),
        yiaddr=str(message.yiaddr),
        siaddr=str(message.siaddr),
        giaddr=str(message.giaddr),
        chaddr=bytes(message.chaddr),
    )
    return bytes(head / scapy.DHCP(options=[*options, "end"])).ljust(_LEAST_LENGTH, b"\0")


def decode(payload: bytes, *, source: IPv4Address | None = None) -> Message:
    """Read a BOOTP payload that came from ``source``.

    Raises Malformed; an unreadable option alone is left out.
    """
    xid_of(payload)
    op, htype, hlen, _, xid, secs, flags, ciaddr, yiaddr, siaddr, giaddr, chaddr = (
        _FIXED.unpack_from(payload)
    )
    if payload[HEADER - len(_COOKIE) : HEADER] != _COOKIE:
        raise Malformed("the magic cookie is absent: BOOTP without DHCP, or no BOOTP at all")
    if (htype, hlen) != (_ETHERNET, _MAC_LENGTH):
        raise Malformed(f"hardware type {htype} with {hlen} bytes is not Ethernet")
    fields = _read_options(join(payload), _value)
    return Message(
        type=_type_of(fields, op),
        xid=xid,
        chaddr=MacAddress(chaddr),
        secs=secs,
        broadcast=bool(flags & _BROADCAST),
        ciaddr=_address(ciaddr),
        yiaddr=_address(yiaddr),
        siaddr=_address(siaddr),
        giaddr=_address(giaddr),
        source=source,
        **fields,
    )


def dissect(payload: bytes) -> Message:
    """What ``decode`` returns or raises, all of it by scapy, to check that by."""
    xid_of(payload)
    head = _read_head(payload[:HEADER])
    fields = _read_options(join(payload), _value_by_scapy)
    return Message(
        type=_type_of(fields, head.op),
        xid=head.xid,
        chaddr=MacAddress(head.chaddr[:_MAC_LENGTH]),
        secs=head.secs,
        broadcast=bool(int(head.flags) & _BROADCAST),
        ciaddr=IPv4Address(head.ciaddr),
        yiaddr=IPv4Address(head.yiaddr),
        siaddr=IPv4Address(head.siaddr),
        giaddr=IPv4Address(head.giaddr),
        **fields,
    )


def _type_of(fields: dict[str, Any], op: int) -> MessageType:
    """The message type, taken out of ``fields``. Raises Malformed."""
    type_: MessageType | None = fields.pop("type", None)
    if type_ is None:
        raise Malformed("no message type (option 53), or one that RFC 2132 does not know")
    if op != _op(type_):
        raise Malformed(f"a {type_.name} with the op code {op} is neither request nor reply")
    return type_


def _op(type_: MessageType) -> int:
    return _REPLY if type_ in _REPLIES else _REQUEST


def _present(message: Message) -> list[tuple[Option, Any]]:
    return [
        (option, value)
        for place, option in _PLACES
        # a time of 0 s is no empty one
        if (value := message[place]) is not None and (value or value not in _EMPTY)
    ]


def _template(shape: bytes, message: Message) -> _Template:
    template = _templates.get(shape)
    if template is not None:
        return template
    payload = build(message)
    found = list(walk(payload, HEADER))
    if b"".join(bytes((code, length)) for code, _, length in found) != shape:
        raise AssertionError(f"scapy built {found} of {shape.hex(' ', 2)}")
    template = _Template(payload=payload, offsets=tuple(at for _, at, _ in found))
    if len(_templates) >= _MOST_SHAPES:
        # Shapes are as many as lengths of host names; only an odd host ever comes here.
        _templates.clear()
    _templates[shape] = template
    return template


def _patch_fixed(payload: bytearray, message: Message, hops: int) -> None:
    _FIXED.pack_into(
        payload,
        0,
        _op(message.type),
        _ETHERNET,
        _MAC_LENGTH,
        hops,
        message.xid,
        min(message.secs, _MOST_SECS),
        _BROADCAST if message.broadcast else 0,
        int(message.ciaddr),
        int(message.yiaddr),
        int(message.siaddr),
        int(message.giaddr),
        message.chaddr,
    )


def _read_head(fixed: bytes) -> Any:
    try:
        head = scapy_layers().BOOTP(fixed)
    except Exception as error:  # scapy documents no exceptions: struct.error, OSError, its own
        raise Malformed(f"scapy can't read the header: {error!r}") from error
    if fixed[-len(_COOKIE) :] != _COOKIE:
        raise Malformed("the magic cookie is absent: BOOTP without DHCP, or no BOOTP at all")
    if (head.htype, head.hlen) != (_ETHERNET, _MAC_LENGTH):
        raise Malformed(f"hardware type {head.htype} with {head.hlen} bytes is not Ethernet")
    return head


def _read_options(options: dict[int, bytes], value_of: _ValueOf) -> dict[str, Any]:
    if CLASSLESS_ROUTES in options:  # RFC 3442: 121 hides 33
        options.pop(STATIC_ROUTES, None)
    fields: dict[str, Any] = {}
    for code, raw in options.items():
        field = _FIELDS.get(code)
        if field is None:
            continue
        try:
            fields[field] = value_of(code, _KINDS[code].value(raw))
        except ValueError as error:
            log.dhcp_option_left_out(option=code, value=raw.hex(), error=str(error))
    return fields


@lru_cache(maxsize=1024)  # 0.0.0.0 mostly, and what was offered comes again with the ACK
def _address(number: int) -> IPv4Address:
    return IPv4Address(number)


@lru_cache(maxsize=4096)  # a server says the same with most of its leases
def _value(code: int, raw: bytes) -> Any:
    """What the option holds, which no one can change. Raises ValueError."""
    kind = _KINDS[code]
    return kind.read(kind.split(raw))


def _value_by_scapy(code: int, raw: bytes) -> Any:
    return _KINDS[code].read(_values(code, raw))


def _values(code: int, raw: bytes) -> Sequence[Any]:
    """scapy's reading of one option's value, which may be longer than an option that is not split.

    So the field reads it, not scapy's list of options. A list's items are read one by one, as
    scapy would read no more than 100. Raises Malformed.
    """
    field = scapy_layers().DHCPOptions[code]
    if isinstance(field, str):
        return [raw]
    item = getattr(field, "field", field)
    values = []
    try:
        while raw:
            raw, value = item.getfield(None, raw)
            values.append(value)
    except Exception as error:  # scapy documents no exceptions: struct.error, OSError, its own
        raise Malformed(f"scapy can't read it: {error!r}") from error
    return values
