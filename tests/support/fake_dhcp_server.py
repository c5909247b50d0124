"""A DHCP server in memory, and the links to it: what it does is said in verbs."""

import asyncio
from collections.abc import Callable, Iterable
from datetime import timedelta
from ipaddress import IPv4Address, IPv4Interface, IPv4Network

from d4d.adapters.dhcp.link.base import Deliver, Wants
from d4d.adapters.dhcp.routes import Route
from d4d.adapters.network.interfaces import Interface, Interfaces
from d4d.domain.addressing import MacAddress
from d4d.domain.dhcp.messages import Message, MessageType, Unreadable
from d4d.domain.errors import LinkDown

SERVER = IPv4Address("10.77.0.1")
SUBNET = IPv4Network("10.77.0.0/16")
ROUTER = IPv4Address("10.77.0.254")


class FakeDhcpServer:
    """Serves 10.77.16.1 to .8, the same address to the same client, a wished one if it is free.

    What it has offered to one it offers to another last, as servers do: clients that ask at once
    would fight for one address otherwise.
    """

    def __init__(self) -> None:
        self.free = [IPv4Address(f"10.77.16.{n}") for n in range(1, 9)]
        self.lease_time = timedelta(hours=1)
        self.bindings: dict[IPv4Address, bytes] = {}
        self.declined: list[IPv4Address] = []
        self._offered: dict[IPv4Address, bytes] = {}
        self.latency = 0.001
        self.link_error: LinkDown | None = None
        self.links: list[FakeLink] = []
        self.heard: list[Message] = []
        self._is_silent: Callable[[Message], bool] = lambda _: False
        self._naks = False
        self._garble: Callable[[Message], Message] = lambda answer: answer
        self._loses: Callable[[], bool] = lambda: False
        self._offers: list[IPv4Address] | None = None

    # Verbs

    def silent(self, *types: MessageType) -> None:
        """Say nothing any more, or nothing to messages of these types."""
        self._is_silent = lambda message: not types or message.type in types

    def speaks(self) -> None:
        self._is_silent, self._naks = (lambda _: False), False

    def naks(self) -> None:
        """Refuse every REQUEST."""
        self._naks = True

    def offers(self, *addresses: str) -> None:
        """Offer these, one DISCOVER after the other and the last for ever, whoever asks."""
        self._offers = [IPv4Address(address) for address in addresses]

    def forgets(self) -> None:
        """It is started anew, with an empty file."""
        self.bindings.clear()
        self._offered.clear()

    def garbles(self, garble: Callable[[Message], Message]) -> None:
        """Answer with what this makes of each answer."""
        self._garble = garble

    def loses(self, loses: Callable[[], bool]) -> None:
        """Each message, in either direction, gets lost where this says so."""
        self._loses = loses

    def goes_down(self) -> None:
        self.link_error = LinkDown("eth0: can't send: Network is down (ENETDOWN)")

    def comes_up(self) -> None:
        self.link_error = None

    # The wire

    def link(self, route: Route, wants: Wants, deliver: Deliver) -> "FakeLink":
        link = FakeLink(self, str(route), wants, deliver)
        self.links.append(link)
        return link

    def of_type(self, type_: MessageType) -> list[Message]:
        return [message for message in self.heard if message.type is type_]

    def loses_it(self) -> bool:
        """Whether what goes out next gets lost."""
        return self._loses()

    def garbled(self, answer: Message) -> Message:
        """What goes out in place of ``answer``."""
        return self._garble(answer)

    @property
    def said(self) -> list[str]:
        """What was heard, in short."""
        return [message.type.name for message in self.heard]

    def hear(self, message: Message) -> Message | None:
        if self.link_error is not None:
            raise self.link_error
        if self._loses():
            return None
        self.heard.append(message)
        if self._is_silent(message):
            return None
        client = message.client_id or bytes(message.chaddr)
        if message.type is MessageType.DISCOVER:
            return self._offer(message, client)
        if message.type is MessageType.REQUEST:
            return self._answer_request(message, client)
        if message.type is MessageType.RELEASE and self.bindings.get(message.ciaddr) == client:
            del self.bindings[message.ciaddr]
        if message.type is MessageType.DECLINE and message.requested is not None:
            self.bindings.pop(message.requested, None)
            self.declined.append(message.requested)
        return None

    def _offer(self, message: Message, client: bytes) -> Message | None:
        address = self._choose(message.requested, client)
        if address is not None:
            self._offered[address] = client
        return self._answer(MessageType.OFFER, message, address) if address else None

    def _choose(self, wish: IPv4Address | None, client: bytes) -> IPv4Address | None:
        if self._offers is not None:
            return self._offers.pop(0) if len(self._offers) > 1 else self._offers[0]
        usable = [
            address
            for address in self.free
            if self.bindings.get(address, client) == client and address not in self.declined
        ]
        if wish in usable:
            return wish
        own = (address for address in usable if address in self.bindings)
        unoffered = (each for each in usable if self._offered.get(each, client) == client)
        return next(own, None) or next(unoffered, usable[0] if usable else None)

    def _answer_request(self, message: Message, client: bytes) -> Message | None:
        if message.server_id not in (None, SERVER):
            return None
        address = message.requested or message.ciaddr
        if self._naks or self.bindings.get(address, client) != client:
            return self._answer(MessageType.NAK, message)
        self.bindings[address] = client
        return self._answer(MessageType.ACK, message, address)

    def _answer(
        self, type_: MessageType, to: Message, address: IPv4Address | None = None
    ) -> Message:
        answer = Message(type=type_, xid=to.xid, chaddr=to.chaddr, server_id=SERVER)
        if address is None:
            return answer
        return answer._replace(
            yiaddr=address,
            lease_time=self.lease_time,
            subnet_mask=SUBNET.netmask,
            routers=(ROUTER,),
        )


class FakeLink:
    """A link whose other end is the server."""

    def __init__(self, server: FakeDhcpServer, name: str, wants: Wants, deliver: Deliver) -> None:
        self.name = name
        self.silence = ""
        self.is_closed = False
        self._server = server
        self._wants = wants
        self._deliver = deliver

    def broadcast(self, message: Message) -> None:
        answer = self._server.hear(message)
        if answer is not None and not self._server.loses_it():
            loop = asyncio.get_running_loop()
            loop.call_later(self._server.latency, self.arrive, self._server.garbled(answer))

    def unicast(self, message: Message, server: IPv4Address) -> None:
        assert server == SERVER
        self.broadcast(message)

    def mac_of(self, server: IPv4Address) -> MacAddress | None:
        return MacAddress.parse("02:00:00:00:00:01") if server == SERVER else None

    def close(self) -> None:
        self.is_closed = True

    def arrive(self, message: Message | Unreadable) -> None:
        """It came in, be it from the server or from somebody else."""
        if self._wants(message.xid):
            self._deliver(message)


def interface(
    name: str,
    *addresses: str,
    index: int = 1,
    mac: str | None = "02:00:00:00:00:0e",
    is_bridge: bool = False,
) -> Interface:
    return Interface(
        name=name,
        index=index,
        mac=MacAddress.parse(mac) if mac else None,
        addresses=tuple(map(IPv4Interface, addresses)),
        is_up=True,
        is_bridge=is_bridge,
    )


class FakeInterfaces(Interfaces):
    """A host with these interfaces."""

    def __init__(self, interfaces: Iterable[Interface]) -> None:
        self.there = list(interfaces)

    def all(self) -> list[Interface]:
        return self.there

    def source_towards(self, address: IPv4Address) -> IPv4Address:
        return IPv4Address("192.0.2.9")
