"""Each DHCP message that a link sends or takes, in one line of the log at debug level."""

from datetime import timedelta
from ipaddress import IPv4Address
from typing import Any

from d4d.domain.dhcp.messages import INFINITE, Message
from d4d.service_layer import log_messages as log

_DEFAULTS = Message._field_defaults


class PacketLog:
    """One link's. Where packets are not logged a link has none, and each costs it a look."""

    def __init__(self, link: str) -> None:
        """``link`` is the link's name."""
        self._link = link

    def sent(self, message: Message, *, to: IPv4Address, length: int) -> None:
        """``message`` went out in ``length`` bytes."""
        log.dhcp_message_sent(**self._told(message, length), to=str(to))

    def received(self, message: Message, *, length: int) -> None:
        """``message`` came in, and a client waits for it."""
        log.dhcp_message_received(**self._told(message, length))

    def _told(self, message: Message, length: int) -> dict[str, Any]:
        said = {
            field: _in_print(value)
            for field, value in zip(message._fields, message, strict=True)
            if field not in _DEFAULTS or value != _DEFAULTS[field]
        }
        return said | {
            "type": f"DHCP{message.type.name}",
            "xid": f"{message.xid:08x}",
            "link": self._link,
            "length": length,
        }


def _in_print(value: Any) -> Any:
    """As packet dumps have it: numbers are seconds, ids are hexadecimal."""
    if isinstance(value, tuple):
        return [_in_print(each) for each in value]
    if isinstance(value, timedelta):
        return "infinite" if value == INFINITE else int(value.total_seconds())
    if type(value) is bytes:  # a MacAddress prints itself
        return value.hex(":")
    return value if isinstance(value, bool | int) else str(value)
