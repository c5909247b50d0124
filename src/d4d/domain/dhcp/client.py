"""RFC 2131's client, without I/O: it is told what happened and when, and returns what to do.

Theory of operation. One Client is one address of one container. The caller feeds it (``start``,
``resume``, ``receive``, ``tick``, ``decline``, ``release``), performs the effects in the order in
which they come back, and calls ``tick`` again at ``wake_at``. All that the client may do stands in
the table in states.py: a state, an event, the next state. An event that the table does not have in
a state (a duplicate ACK, an OFFER after we chose) is ignored, as the RFC asks; a call of ours that
it does not have is refused.

It differs from figure 5 where a client on behalf of a container must:
- NAK and expiry lead to LOST, not to INIT: the container goes on using its address, so another one
  is of no use. From LOST the client asks for the same address again and again.
- Renewal uses the SELECTING form first, whose answer reaches us; a server that refuses it or says
  nothing is asked in the RFC's own form before the lease counts as lost.
- REBOOTING goes on until the lease ends: silence is no refusal (section 3.2). Its own server is
  heard first: another one's answer counts after T2 alone, and a second later.
"""

from collections.abc import Callable, Collection
from dataclasses import fields
from datetime import datetime, timedelta
from functools import lru_cache
from ipaddress import IPv4Address
from operator import attrgetter
from typing import Any

from d4d.domain.dhcp import messages
from d4d.domain.dhcp.effects import (
    Bound,
    Effects,
    Grant,
    Ignored,
    Late,
    Lost,
    Offered,
    Refused,
    Send,
)
from d4d.domain.dhcp.messages import NO_ADDRESS, Identity, Message, MessageType, Unreadable
from d4d.domain.dhcp.states import TRANSITIONS, WAITING, State, Trigger
from d4d.domain.dhcp.timing import (
    LONGEST_SLEEP,
    Random,
    acquisition_wait,
    renewal_wait,
    retransmission,
    times,
)
from d4d.domain.leases import RenewalForm, Terms

Accepts = Callable[[IPv4Address], bool]

_REQUESTS, _REQUESTS_AWAITED = 3, 5
"""REQUESTs that stay unanswered before the offer counts as withdrawn: after 28 s, or after 14 s
where somebody waits for the address: servers that update DNS first answer in six, or so."""
_DISCOVERS = 3  # DISCOVERs in one attempt to get a lost address back
_FIRST_RECLAIM, _LONGEST_RECLAIM = timedelta(seconds=5), timedelta(minutes=5)
_PAUSE, _LONGEST_PAUSE = timedelta(seconds=0.05), timedelta(minutes=5)
"""Doubled after each NAK to our choice: past 13 s nobody waits any more, and nobody is stormed."""
_SECOND = timedelta(seconds=1)
_OWN_FIRST = timedelta(seconds=1)
"""How long another server's answer is held back, as the lease's own server may be a bit slower."""
_UNSAID = timedelta(hours=1)
"""The lease time where neither OFFER nor ACK says one, as udhcpc has it."""
_GRACE = timedelta(seconds=10)  # for the answer to the REQUEST of a lease found over at a restart

_SAID = tuple(field.name for field in fields(Terms) if field.name != "server")
_said = attrgetter(*_SAID)  # a Message has them by the same names


def _any(_: IPv4Address) -> bool:
    return True


class Client:
    """The client of one address. It has no clock, no socket, and starts nothing."""

    __slots__ = (
        "_accepts",
        "_asked_at",
        "_began_at",
        "_expected",
        "_form",
        "_grace_ends",
        "_held_back",
        "_hold_until",
        "_lost",
        "_naks",
        "_offer",
        "_random",
        "_reclaims",
        "_requested",
        "_retransmit_at",
        "_secs",
        "_sent",
        "forms",
        "grant",
        "identity",
        "ignored",
        "refusal",
        "servers",
        "state",
        "xid",
    )

    def __init__(
        self,
        identity: Identity,
        *,
        random: Random,
        servers: Collection[IPv4Address] = (),
        forms: tuple[RenewalForm, ...] = (RenewalForm.SELECTING, RenewalForm.RENEWING),
    ) -> None:
        """Take messages of ``servers`` alone, or of any; renew by ``forms``, the first first."""
        self.identity = identity
        self.servers = servers
        self.forms = forms
        self.state = State.INIT
        self.grant: Grant | None = None
        self.xid = 0
        """Of the message whose answer is awaited."""
        self._random = random
        self._accepts: Accepts = _any
        self._requested: IPv4Address | None = None
        self._offer: Message | None = None
        self._expected: Grant | None = None
        self._form = forms[0]
        self._sent = 0
        self._secs = 0
        self._began_at: datetime | None = None
        self._asked_at: datetime | None = None
        """When the REQUEST was sent first whose answer is awaited: its lease runs from then."""
        self._grace_ends: datetime | None = None
        self._held_back: Message | None = None
        """Another server's answer, which counts if the lease's own says nothing soon."""
        self._hold_until: datetime | None = None
        self._retransmit_at: datetime | None = None
        self._naks = 0
        self.refusal = ""
        """What the last DHCPNAK said that did not end the lease; empty without one."""
        self.ignored: Ignored | None = None
        """The last answer that could not be used, since this began to be asked for."""
        self._reclaims = 0
        self._lost = False

    def __repr__(self) -> str:
        address = self.grant.address if self.grant else "no address"
        return f"<Client {self.identity.chaddr} {self.state.value} {address}>"

    @property
    def is_waiting(self) -> bool:
        """Whether an answer with ``xid`` is awaited."""
        return self.state in WAITING

    @property
    def has_chosen(self) -> bool:
        """Whether an offer was taken, whose ACK is awaited."""
        return self.state is State.REQUESTING

    def expected(self, now: datetime) -> Grant | None:
        """What the awaited ACK should grant; None where the offer did not say for how long.

        An ACK that says the same grants just this.
        """
        offer = self._offer
        if offer is None or offer.server_id is None or not offer.lease_time:
            return None
        self._expected = self._granted(
            offer.yiaddr, terms(offer, offer.server_id), self._asked_at or now
        )
        return self._expected

    @property
    def is_lost(self) -> bool:
        """Whether the address was lost and not yet found again."""
        return self._lost

    @property
    def wake_at(self) -> datetime | None:
        """When ``tick`` is due; None is never."""
        grant = self.grant
        if self.state is State.BOUND:
            return grant.renew_at if grant else None
        end = None
        if grant is not None:
            if self.state is State.RENEWING:
                end = grant.rebind_at
            elif self.state is State.REBINDING:
                end = grant.expires_at
            elif self.state is State.REBOOTING:
                end = self._grace_ends or grant.expires_at
        again = self._retransmit_at
        if self._hold_until is not None and (again is None or self._hold_until < again):
            again = self._hold_until
        if end is None or (again is not None and again < end):
            return again
        return end

    def start(
        self,
        now: datetime,
        *,
        requested: IPv4Address | None = None,
        accepts: Accepts = _any,
    ) -> Effects:
        """Ask for an address: for ``requested`` if it can be had, taking one that ``accepts``.

        Raises ValueError where the table has no START.
        """
        self._go(Trigger.START)
        self.grant, self._lost, self.refusal, self.ignored = None, False, "", None
        self._requested, self._accepts = requested, accepts
        return self._discover(now)

    def resume(
        self, grant: Grant, now: datetime, *, confirm: bool = False, lost: bool = False
    ) -> Effects:
        """Take up a lease from the store; one whose T1 passed is confirmed, or if ``confirm``.

        One that was ``lost`` is asked for at once, and stays lost until a server grants it.
        Raises ValueError but in INIT.
        """
        if lost:
            self._go(Trigger.RECLAIM)
            self.grant, self._lost = grant, True
            self._retransmit_at = now
            return []
        asleep = not confirm and (grant.renew_at is None or now < grant.renew_at)
        self._go(Trigger.RESUME if asleep else Trigger.REBOOT)
        if asleep:
            # What was stored is a hint: its clock may have been wrong, or the grant forged.
            latest = now + LONGEST_SLEEP
            renew_at = min(grant.renew_at or latest, latest)
            self.grant = grant._replace(renew_at=renew_at)
            return []
        self.grant = grant
        return self._reboot(now)

    def renew(self, now: datetime) -> Effects:
        """Renew before T1 is due, so that the server learns what changed, as a hostname."""
        if self.state is not State.BOUND:
            return []
        return self._enter(Trigger.T1, now)

    def disturbed(self, now: datetime) -> Effects:
        """A clock jumped: ask now for what was to be asked later, and confirm what is held."""
        if self.state is State.INIT:
            return []
        if self.state is State.BOUND:
            return self.tick(now) or self._enter(Trigger.T1, now)
        self._retransmit_at = now
        if self._hold_until is not None:
            self._hold_until = now
        if self._grace_ends is not None:
            self._grace_ends = min(self._grace_ends, now + _GRACE)
        return self.tick(now)

    def receive(self, message: Message | Unreadable, now: datetime) -> Effects:
        """Take a message that came in. What is not for us, or late, has no effect.

        What answers us and can't be used is ``Ignored``: that is no silence.
        """
        is_ours = message.xid == self.xid and message.chaddr == self.identity.chaddr
        if not is_ours or not self.is_waiting:
            return []
        if isinstance(message, Unreadable):
            reason = f"a reply that D4D can't read: {message.reason}"
            return self._note(Ignored(reason=reason, server=message.source))
        if message.client_id not in (None, self.identity.client_id):  # RFC 6842
            return self._ignore(message, "it is for another client identifier (option 61)")
        if self.servers and message.server_id not in self.servers:
            return self._ignore(message, self._not_heard(message), is_foreign=True)
        take = {
            MessageType.OFFER: self._receive_offer,
            MessageType.ACK: self._receive_ack,
            MessageType.NAK: self._receive_nak,
        }.get(message.type)
        return take(message, now) if take else self._ignore(message, "servers do not say this")

    def tick(self, now: datetime) -> Effects:
        """Do what is due ``now``; calling it early does nothing."""
        effects: Effects = []
        while (wake_at := self.wake_at) is not None and wake_at <= now:
            effects += self._wake(now)
        return effects

    def decline(self, now: datetime) -> Effects:
        """Give the address back as unusable: somebody else has it.

        Raises ValueError but in BOUND. Who then starts again paces it: section 3.1 asks for 10 s.
        """
        self._go(Trigger.DECLINE)
        grant, self.grant = self.grant, None
        assert grant is not None
        message = messages.decline(
            self.identity,
            self._new_xid(),
            requested=grant.address,
            server_id=grant.terms.server,
        )
        return [Send(message=message)]

    def release(self, now: datetime) -> Effects:
        """Give the address back. Nothing is sent for one that is not ours any more."""
        if self.state is State.INIT:
            return []
        grant, offer, lost = self.grant, self._offer, self._lost
        self._go(Trigger.RELEASE)
        self.grant, self._offer, self._lost, self._retransmit_at = None, None, False, None
        self._held_back, self._hold_until = None, None
        if offer is not None:  # we asked for it: the server may have committed it by now
            return self._send_release(offer.yiaddr, offer.server_id)
        if grant is None or lost or (grant.expires_at is not None and grant.expires_at <= now):
            return []
        return self._send_release(grant.address, grant.terms.server)

    # Receiving

    def _not_heard(self, message: Message) -> str:
        heard = ", ".join(map(str, self.servers))
        said = "no server identifier (option 54)"
        if message.server_id is not None:
            said = f"it names {message.server_id} as its server (option 54)"
        return f"{said}, and {heard} alone is heard (DHCP_SERVER)"

    def _ignore(self, message: Message, why: str, *, is_foreign: bool = False) -> Effects:
        reason = f"a DHCP{message.type.name} that D4D can't use: {why}"
        server = message.source if message.server_id is None else message.server_id
        return self._note(Ignored(reason=reason, server=server, is_foreign=is_foreign))

    def _note(self, ignored: Ignored) -> Effects:
        """A foreign answer does not hide what our own server said."""
        if self.ignored is None or self.ignored.is_foreign or not ignored.is_foreign:
            self.ignored = ignored
        return [ignored]

    def _receive_offer(self, message: Message, now: datetime) -> Effects:
        if self.state is State.REQUESTING:
            return []  # another server's, or the same again: we chose
        if Trigger.OFFER not in TRANSITIONS[self.state]:
            return self._ignore(message, "a DHCPREQUEST was sent")
        if message.yiaddr == NO_ADDRESS:
            return self._ignore(message, "it offers no address (yiaddr is 0.0.0.0)")
        # Who leaves out option 54 is known by whence it came, but can't be named to itself.
        server = message.server_id or message.source or NO_ADDRESS
        if not self._accepts(message.yiaddr):
            return [Refused(address=message.yiaddr, terms=terms(message, server))]
        self._offer, self._expected = message, None
        self._go(Trigger.OFFER)
        offered = Offered(address=message.yiaddr, server=server)
        return [offered, *self._request(now)]

    def _receive_ack(self, message: Message, now: datetime) -> Effects:
        if Trigger.ACK not in TRANSITIONS[self.state]:
            return self._ignore(message, "a DHCPDISCOVER was sent")
        asked, named = self._asked_for, message.yiaddr
        is_other = named != asked
        if is_other and (
            self.state is not State.REQUESTING or named == NO_ADDRESS or not self._accepts(named)
        ):
            return self._ignore(message, f"it grants {named}, and {asked} was asked for")
        own = self._own_server
        server = own if message.server_id is None else message.server_id
        if not self._may_grant(server, now):
            why = f"{own} is the lease's server, and has until T2 to answer"
            if self.state is State.REQUESTING:
                why = f"{own} was chosen"
            return self._ignore(message, why, is_foreign=True)
        if message.lease_time is None:
            message = message._replace(lease_time=self._lease_time_before)
        elif not message.lease_time:
            return self._ignore(message, "a lease time of 0 s (option 51)")
        if self.state is State.REBOOTING and own not in (server, NO_ADDRESS):
            return self._hold_back(message, now)
        return self._take(message, server, now)

    def _take(self, ack: Message, server: IPv4Address, now: datetime) -> Effects:
        """The address is ours, as ``ack`` says."""
        asked = self._asked_for
        is_other = ack.yiaddr != asked
        address = ack.yiaddr if asked is None or is_other else asked  # a renewal keeps the value
        rebound = self.grant is not None and self.grant.terms.server not in (server, NO_ADDRESS)
        recovered = self._lost
        self._go(Trigger.ACK)
        said, expected = terms(ack, server), self._expected
        if expected is not None and expected.terms == said and not is_other:
            self.grant = expected
        else:
            # Counted from the REQUEST (sections 4.4.1, 4.4.5): the host may have slept since.
            asked_at = min(self._asked_at or now, now)
            self.grant = self._granted(address, said, asked_at)
        self._expected, self.ignored = None, None
        self._offer, self._lost, self._retransmit_at, self._began_at = None, False, None, None
        self._held_back, self._hold_until = None, None
        self._naks, self.refusal, self._accepts = 0, "", _any
        bound = Bound(grant=self.grant, rebound=rebound and not recovered, recovered=recovered)
        # It is as if the other address had been offered: who listens looks at it as at any offer.
        return [Offered(address=address, server=server), bound] if is_other else [bound]

    def _receive_nak(self, message: Message, now: datetime) -> Effects:
        if Trigger.NAK not in TRANSITIONS[self.state]:
            return self._ignore(message, "a DHCPDISCOVER was sent")
        if not self._may_refuse(message.server_id, now):
            own = self._own_server
            return self._ignore(message, f"{own} is the lease's server", is_foreign=True)
        asks_all = self.state in (State.REBOOTING, State.REBINDING)
        if asks_all and message.server_id != self._own_server:
            return self._hold_back(message, now)
        return self._refuse(message, now)

    def _refuse(self, nak: Message, now: datetime) -> Effects:
        """The server will not have us keep, or get, the address."""
        if self.state is State.REQUESTING:
            self.refusal = self._refused(nak)
            self._go(Trigger.NAK)
            return self._pause(now)
        other = [form for form in self.forms if form is not self._form]
        if (
            Trigger.NAK_OF_FORM in TRANSITIONS[self.state]
            and self._form is RenewalForm.SELECTING
            and other
        ):
            self.refusal = self._refused(nak)
            self._go(Trigger.NAK_OF_FORM)
            self._form = other[0]
            return self._ask_on(now)
        return self._lose(Trigger.NAK, self._refused(nak), now)

    def _hold_back(self, message: Message, now: datetime) -> Effects:
        """Let the lease's own server speak first; a grant is better than a refusal."""
        held = self._held_back
        if held is None or (held.type is MessageType.NAK and message.type is MessageType.ACK):
            self._held_back = message
        if self._hold_until is None:
            self._hold_until = now + _OWN_FIRST
        return []

    def _hear_held_back(self, now: datetime, *, is_over: bool) -> Effects:
        message, self._held_back, self._hold_until = self._held_back, None, None
        assert message is not None
        if message.type is MessageType.ACK:
            return self._take(message, message.server_id or NO_ADDRESS, now)
        if is_over and self.state is State.REBINDING:  # to ask in the other form is of no use
            self.refusal = self._refused(message)
            return []
        return self._refuse(message, now)

    def _refused(self, message: Message) -> str:
        said = f", saying {message.text!r}" if message.text else ""
        return f"{message.server_id or 'a server'} refused it in {self.state.value} (DHCPNAK){said}"

    @property
    def _asked_for(self) -> IPv4Address | None:
        """The address that is asked for."""
        if self._offer is not None:
            return self._offer.yiaddr
        return self.grant.address if self.grant is not None else None

    @property
    def _own_server(self) -> IPv4Address:
        """Whose the lease is, or will be: 0.0.0.0 where that is unknown."""
        if self._offer is not None:
            return self._offer.server_id or NO_ADDRESS
        return self.grant.terms.server if self.grant is not None else NO_ADDRESS

    @property
    def _lease_time_before(self) -> timedelta:
        """What was said of the lease time before this ACK, which does not say it."""
        if self._offer is not None:
            return self._offer.lease_time or _UNSAID
        return (self.grant.terms.lease_time if self.grant is not None else None) or _UNSAID

    def _may_grant(self, server: IPv4Address, now: datetime) -> bool:
        """Whose ACK counts: until T2 a lease is its own server's business (section 4.4.5)."""
        own = self._own_server
        return own in (server, NO_ADDRESS) or self._is_anybodys(now)

    def _may_refuse(self, server: IPv4Address | None, now: datetime) -> bool:
        """Whose NAK counts: the server's that gave the lease; from T2 on, anybody's."""
        own = self._own_server
        return own in (server, NO_ADDRESS) or self._is_anybodys(now)

    def _is_anybodys(self, now: datetime) -> bool:
        """Whether the lease's own server was silent for so long that any may speak for it."""
        grant = self.grant
        if grant is None or self.state is State.REQUESTING:
            return False
        return grant.rebind_at is not None and now >= grant.rebind_at

    def _granted(self, address: IPv4Address, said: Terms, asked_at: datetime) -> Grant:
        instants = times(
            asked_at,
            lease_time=said.lease_time,
            renewal_time=said.renewal_time,
            rebinding_time=said.rebinding_time,
            random=self._random,
        )
        return Grant(
            address=address,
            terms=said,
            bound_at=asked_at,
            renew_at=instants.renew_at,
            rebind_at=instants.rebind_at,
            expires_at=instants.expires_at,
            form=self._form,
        )

    # Waking

    def _wake(self, now: datetime) -> Effects:
        grant = self.grant
        expires_at = grant.expires_at if grant else None
        expired = expires_at is not None and expires_at <= now
        if self._held_back is not None:
            return self._hear_held_back(now, is_over=expired)
        if self.state in (State.BOUND, State.RENEWING) and expired:
            return self._enter(Trigger.OVERSLEPT, now)
        if self.state is State.BOUND:
            return self._enter(Trigger.T1, now)
        if self.state is State.RENEWING and grant and grant.rebind_at and grant.rebind_at <= now:
            return self._enter(Trigger.T2, now)
        if self.state is State.REBOOTING and self._grace_ends:
            expired = self._grace_ends <= now
        if self.state in (State.REBINDING, State.REBOOTING) and expired:
            # Kea refuses the one form and does not answer the other.
            reason = f"{self.refusal}, and was silent" if self.refusal else "no server answered"
            reason = f"{reason} until it expired"
            if self.ignored is not None:
                reason = f"{self.refusal or 'it expired'}: {self.ignored}"
            return self._lose(Trigger.EXPIRY, reason, now)
        if self.state is State.LOST:
            self._go(Trigger.RETRY)
            return self._discover(now)
        if self._has_given_up():
            return self._give_up(now)
        return self._again(now)

    def _enter(self, event: Trigger, now: datetime) -> Effects:
        self._go(event)
        assert self.grant is not None
        if self.state is State.REBOOTING:
            return self._reboot(now)
        if self.state is State.REBINDING:
            late = [self._late("until T2")] if self._sent else []
            return [*late, *self._ask_on(now)]
        if self.state is State.RENEWING:
            self.ignored = None
            self._form = self.grant.form if self.grant.form in self.forms else self.forms[0]
            self._began_at, self._sent = now, 0
            if self.grant.rebind_at is not None and self.grant.rebind_at <= now:
                return []  # woken after T2: that follows, and one question is enough
        return self._ask_on(now)

    def _has_given_up(self) -> bool:
        if self.state is State.REQUESTING:
            return self._sent >= (_REQUESTS if self._lost else _REQUESTS_AWAITED)
        return self.state is State.SELECTING and self._lost and self._sent >= _DISCOVERS

    def _give_up(self, now: datetime) -> Effects:
        self._go(Trigger.NO_ANSWER)
        if self.state is State.SELECTING:
            return self._discover(now)
        self._retransmit_at = now + self._reclaim_wait()
        return []

    def _again(self, now: datetime) -> Effects:
        """Send once more what stayed without answer."""
        self._go(Trigger.TIMEOUT)
        if self.state is State.SELECTING:
            return self._send_discover(now)
        if self.state is State.REQUESTING:
            return self._send_request(now)
        late: Effects = []
        if self.state in (State.RENEWING, State.REBOOTING) and self._sent == 1:
            late = [self._late(f"the first DHCPREQUEST of {self.state.value}")]
        if self.state in (State.RENEWING, State.REBINDING):
            forms = self.forms
            self._form = forms[(forms.index(self._form) + 1) % len(forms)]
        return late + self._ask_on(now)

    def _late(self, what: str) -> Late:
        assert self.grant is not None
        server = self.grant.terms.server if int(self.grant.terms.server) else "its server"
        reason = f"{server} did not answer {what}"
        if self.ignored is not None:
            reason = f"{server} did not confirm the lease ({what}): {self.ignored}"
        return Late(reason=reason)

    # Sending

    def _discover(self, now: datetime) -> Effects:
        self._offer, self._form = None, self.forms[0]
        self._began_at, self._sent = now, 0
        self._new_xid()
        if self._lost and self.grant is not None:
            lost = self.grant.address
            self._requested, self._accepts = lost, lambda address: address == lost
        return self._send_discover(now)

    def _send_discover(self, now: datetime) -> Effects:
        self._wait(now)
        secs = self._elapsed(now)
        return self._send(
            messages.discover(self.identity, self.xid, secs=secs, requested=self._requested)
        )

    def _pause(self, now: datetime) -> Effects:
        """Discover again, not at once: a server that offers and refuses would have us storm it."""
        self._offer, self._sent = None, 0
        self._naks += 1
        self._new_xid()
        pause = min(_PAUSE * 2.0 ** min(self._naks, 20), _LONGEST_PAUSE)
        self._retransmit_at = now + pause * (1 + 0.1 * self._random())
        return []

    def _request(self, now: datetime) -> Effects:
        self._sent, self._asked_at = 0, now
        return self._send_request(now)

    def _send_request(self, now: datetime) -> Effects:
        offer = self._offer
        assert offer is not None
        self._wait(now)
        identity, xid = self.identity, self.xid
        secs, address = self._secs, offer.yiaddr  # secs is the DISCOVER's (section 3.1, 3)
        if offer.server_id is None:  # it can't be named: option 50 alone says what we want
            return self._send(
                messages.request_rebooting(identity, xid, secs=secs, requested=address)
            )
        message = messages.request_selecting(
            identity, xid, secs=secs, requested=address, server_id=offer.server_id
        )
        return self._send(message)

    def _reboot(self, now: datetime) -> Effects:
        """Confirm a lease, also one that ran out while nobody watched: it gets a grace."""
        grant = self.grant
        assert grant is not None
        self._form = grant.form if grant.form in self.forms else self.forms[0]
        self._began_at, self._sent, self.ignored = now, 0, None
        ends_soon = grant.expires_at is not None and grant.expires_at < now + _GRACE
        self._grace_ends = now + _GRACE if ends_soon else None
        return self._ask_on(now)

    def _ask_on(self, now: datetime) -> Effects:
        """Ask to keep the address, in the form of this state and try."""
        grant = self.grant
        assert grant is not None
        identity, xid, secs = self.identity, self._new_xid(), self._elapsed(now)
        address, server = grant.address, grant.terms.server
        self._asked_at = now
        self._held_back, self._hold_until = None, None  # they answered what was asked before
        if self.state is State.REBOOTING and self._sent < _REQUESTS:
            self._wait(now)
            return self._send(
                messages.request_rebooting(identity, xid, secs=secs, requested=address)
            )
        self._sent += 1
        until = grant.expires_at if self._is_anybodys(now) else grant.rebind_at
        wait = renewal_wait(now, until, grant.terms.lease_time, sent=self._sent)
        self._retransmit_at = now + wait * (1 - 0.1 * self._random())
        if self._form is RenewalForm.RENEWING and self.state is not State.REBOOTING:
            message = messages.request_renewing(identity, xid, secs=secs, ciaddr=address)
        elif self.state is State.RENEWING and server != NO_ADDRESS:
            message = messages.request_selecting(
                identity, xid, secs=secs, requested=address, server_id=server
            )
        else:
            message = messages.request_rebooting(identity, xid, secs=secs, requested=address)
        return self._send(message)

    def _send_release(self, address: IPv4Address, server: IPv4Address | None) -> Effects:
        if server is None or server == NO_ADDRESS:
            return []  # a RELEASE must name its server (table 5): this lease ends by itself
        message = messages.release(self.identity, self._new_xid(), ciaddr=address, server_id=server)
        return [Send(message=message, to=server)]

    def _wait(self, now: datetime) -> None:
        self._sent += 1
        is_awaited = self.state in (State.SELECTING, State.REQUESTING) and not self._lost
        pace = acquisition_wait if is_awaited else retransmission
        self._retransmit_at = now + pace(self._sent, self._random)

    def _send(self, message: Message) -> Effects:
        return [Send(message=message)]

    def _elapsed(self, now: datetime) -> int:
        """Seconds since this client began to ask."""
        assert self._began_at is not None
        seconds = (now - self._began_at) // _SECOND
        self._secs = max(0, min(seconds, 0xFFFF))  # a clock may have been set back
        return self._secs

    def _new_xid(self) -> int:
        self.xid = int(self._random() * 2**32)
        return self.xid

    # Losing

    def _lose(self, event: Trigger, reason: str, now: datetime) -> Effects:
        self._go(event)
        self._lost, self.refusal, self._reclaims = True, "", 0
        self._held_back, self._hold_until = None, None
        self._retransmit_at = now  # ask at once: a server with an empty database gives it again
        return [Lost(reason=reason)]

    def _reclaim_wait(self) -> timedelta:
        self._reclaims += 1
        wait = min(_FIRST_RECLAIM * 2.0 ** min(self._reclaims - 1, 10), _LONGEST_RECLAIM)
        return wait * (0.9 + 0.2 * self._random())

    def _go(self, event: Trigger) -> None:
        after = TRANSITIONS[self.state].get(event)
        if after is None:
            raise ValueError(f"{self!r} can't take {event.value!r}")
        self.state = after


def terms(message: Message, server: IPv4Address) -> Terms:
    """What an ACK or OFFER says beside the address: one value for all leases that are told so."""
    return _terms(server, _said(message))


@lru_cache(maxsize=256)
def _terms(server: IPv4Address, said: tuple[Any, ...]) -> Terms:
    named = dict(zip(_SAID, said, strict=True))
    named["lease_time"] = named["lease_time"] or timedelta(0)
    return Terms(server=server, **named)
