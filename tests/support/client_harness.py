"""A client on a bench: a server that speaks when told to, and a clock that tests move."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from random import Random

from d4d.domain.addressing import MacAddress
from d4d.domain.dhcp.client import Client
from d4d.domain.dhcp.effects import Effect, Effects, Grant, Ignored, Send
from d4d.domain.dhcp.messages import (
    INFINITE,
    NO_ADDRESS,
    Identity,
    Message,
    MessageType,
    Unreadable,
)
from d4d.domain.dhcp.states import State
from d4d.domain.leases import RenewalForm, Terms

MAC = MacAddress.parse("02:42:0a:4d:10:01")
IDENTITY = Identity(chaddr=MAC, client_id=b"\x00host/web", hostname="web")
ADDRESS = IPv4Address("10.77.16.1")
ELSEWHERE = IPv4Address("10.77.16.2")
OURS = IPv4Address("10.77.0.1")
STRANGER = IPv4Address("10.77.0.66")
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
SECOND = timedelta(seconds=1)


class Server:
    """What a DHCP server would answer to a request."""

    def __init__(self, address: IPv4Address = OURS) -> None:
        self.address = address

    def offer(self, to: Message, address: IPv4Address = ADDRESS) -> Message:
        return self._answer(MessageType.OFFER, to, yiaddr=address, lease_time=HOUR)

    def ack(
        self,
        to: Message,
        address: IPv4Address = ADDRESS,
        *,
        lease_time: timedelta | None = HOUR,
        t1: timedelta | None = None,
        t2: timedelta | None = None,
    ) -> Message:
        ack = self._answer(MessageType.ACK, to, yiaddr=address, lease_time=lease_time)
        return ack._replace(renewal_time=t1, rebinding_time=t2)

    def nak(self, to: Message, text: str | None = None) -> Message:
        return self._answer(MessageType.NAK, to)._replace(text=text)

    def _answer(
        self,
        type_: MessageType,
        to: Message,
        yiaddr: IPv4Address = NO_ADDRESS,
        lease_time: timedelta | None = None,
    ) -> Message:
        return Message(
            type=type_,
            xid=to.xid,
            chaddr=to.chaddr,
            server_id=self.address,
            yiaddr=yiaddr,
            lease_time=lease_time,
        )


ours, stranger = Server(OURS), Server(STRANGER)


class Bench:
    """One client, the present instant, and all that the client said."""

    def __init__(
        self,
        *,
        servers: tuple[IPv4Address, ...] = (),
        forms: tuple[RenewalForm, ...] = (RenewalForm.SELECTING, RenewalForm.RENEWING),
        random: Callable[[], float] | None = None,
    ) -> None:
        self.now = NOON
        self.client = Client(
            IDENTITY, random=random or Random(26).random, servers=servers, forms=forms
        )
        self.sent: list[Message] = []
        self.effects: Effects = []

    @property
    def asked(self) -> Message:
        """What the client sent last."""
        return self.sent[-1]

    @property
    def grant(self) -> Grant:
        assert self.client.grant is not None
        return self.client.grant

    @property
    def wake_at(self) -> datetime:
        assert self.client.wake_at is not None
        return self.client.wake_at

    def note(self, effects: Effects) -> Effects:
        self.sent += [effect.message for effect in effects if isinstance(effect, Send)]
        self.effects += effects
        return effects

    def hear(self, message: Message | Unreadable) -> Effects:
        return self.note(self.client.receive(message, self.now))

    def tick(self) -> Effects:
        return self.note(self.client.tick(self.now))

    def wake(self) -> Effects:
        """Sleep until the client wants to be woken, and wake it."""
        self.now = max(self.now, self.wake_at)
        return self.tick()

    def wake_until(self, state: State) -> Effects:
        """Answer nothing until ``state`` comes; the effects of the last waking."""
        for _ in range(1000):
            effects = self.wake()
            if self.client.state is state:
                return effects
        raise AssertionError(f"{self.client!r} never came to {state}")

    def oversleep(self, duration: timedelta) -> Effects:
        """Wake the client once, after ``duration``, whatever it wanted."""
        self.now += duration
        return self.tick()

    def live(self, duration: timedelta) -> Effects:
        """Let ``duration`` pass, waking the client whenever it wants to be."""
        end, effects = self.now + duration, Effects()
        while (wake_at := self.client.wake_at) is not None and wake_at <= end:
            effects += self.wake()
        self.now = end
        return effects

    # The way to each state

    def start(self, requested: IPv4Address | None = None) -> Effects:
        return self.note(self.client.start(self.now, requested=requested))

    def resume(self, grant: Grant, *, confirm: bool = False, lost: bool = False) -> Effects:
        return self.note(self.client.resume(grant, self.now, confirm=confirm, lost=lost))

    def release(self) -> Effects:
        return self.note(self.client.release(self.now))

    def requesting(self) -> "Bench":
        self.start()
        self.hear(ours.offer(self.asked))
        return self

    def bound(self, lease_time: timedelta = HOUR) -> "Bench":
        self.requesting().hear(ours.ack(self.asked, lease_time=lease_time))
        return self

    def renewing(self, lease_time: timedelta = HOUR) -> "Bench":
        self.bound(lease_time).wake()
        return self

    def rebinding(self) -> "Bench":
        self.renewing().wake_until(State.REBINDING)
        return self

    def rebooting(self) -> "Bench":
        self.resume(stored(self.now), confirm=True)
        return self

    def lost(self) -> "Bench":
        """Refused while rebooting, and not yet ticked."""
        self.rebooting().hear(ours.nak(self.asked))
        return self

    def reclaiming(self) -> "Bench":
        self.lost().tick()
        return self


def stored(
    now: datetime,
    *,
    lease_time: timedelta = HOUR,
    form: RenewalForm = RenewalForm.SELECTING,
    server: IPv4Address = OURS,
) -> Grant:
    """A lease from the store that the server confirmed ``now``."""
    infinite = lease_time == INFINITE
    return Grant(
        address=ADDRESS,
        terms=Terms(server=server, lease_time=lease_time),
        bound_at=now,
        renew_at=None if infinite else now + lease_time * 0.5,
        rebind_at=None if infinite else now + lease_time * 0.875,
        expires_at=None if infinite else now + lease_time,
        form=form,
    )


def ignored(effects: Effects) -> str:
    """What is said of an answer that could not be used, which is all that came of it."""
    (effect,) = effects
    assert isinstance(effect, Ignored)
    return str(effect)


def told(effects: Effects) -> list[str]:
    """The effects in short: class names, and messages with the parts that tell their form."""
    return [_told(effect) for effect in effects]


def _told(effect: Effect) -> str:
    if not isinstance(effect, Send):
        return type(effect).__name__
    message = effect.message
    parts = [message.type.name]
    parts += ["50"] if message.requested else []
    parts += ["54"] if message.server_id else []
    parts += ["ciaddr"] if message.ciaddr != NO_ADDRESS else []
    return " ".join(parts)
