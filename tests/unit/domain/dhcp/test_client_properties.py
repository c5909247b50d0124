"""Whatever the servers say, in whatever order, however late the client is woken: it holds.

A walk is a client among servers that say anything; its steps are chosen by a seeded generator,
which reaches each arrow of the table in a second (a test makes sure), unlike a search that knows
nothing of DHCP.
"""

from collections.abc import Iterator
from datetime import timedelta
from ipaddress import IPv4Address
from random import Random

import pytest

from d4d.domain.dhcp.effects import Effects, Send
from d4d.domain.dhcp.messages import INFINITE, Message, MessageType
from d4d.domain.dhcp.states import TRANSITIONS, State, Trigger
from d4d.domain.leases import RenewalForm
from tests.support.client_harness import ADDRESS, ELSEWHERE, SECOND, Bench, ours, stored, stranger

BY_TIME = {
    Trigger.TIMEOUT,
    Trigger.NO_ANSWER,
    Trigger.T1,
    Trigger.T2,
    Trigger.EXPIRY,
    Trigger.OVERSLEPT,
    Trigger.RETRY,
}
BY_MESSAGE = {Trigger.OFFER, Trigger.ACK, Trigger.NAK, Trigger.NAK_OF_FORM}
HELD_BACK = {State.REBOOTING, State.REBINDING}
"""Where another server's answer counts a second later."""
HOLDING = (State.BOUND, State.RENEWING, State.REBINDING)
WEIGHTS = {
    "wake": 8,
    "serve": 5,
    "refuse": 2,
    "babble": 5,
    "sleep": 3,
    "run_late": 1,
    "start": 1,
    "resume": 3,
    "renew": 1,
    "decline": 1,
    "release": 0.5,
    "disturb": 0.5,
}
STEPS, WALKS = 60, 100

Hop = tuple[State, State]


class Walk:
    """One client, and the steps that may befall it; each step checks what it can see."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        forms = self.random.sample(list(RenewalForm), self.random.choice([1, 2]))
        self.bench = Bench(random=Random(seed + 1).random, forms=tuple(forms))
        self.is_ticked = True
        self.hops: set[Hop] = set()

    @property
    def state(self) -> State:
        return self.bench.client.state

    def step(self) -> None:
        (name,) = self.random.choices(list(WEIGHTS), list(WEIGHTS.values()))
        getattr(self, name)()
        self.check()

    # Time

    def wake(self) -> None:
        wake_at = self.bench.client.wake_at
        if wake_at is not None:
            self.bench.now = max(self.bench.now, wake_at)
        self._tick()

    def sleep(self) -> None:
        self.bench.now += timedelta(seconds=10 ** self.random.uniform(-2, 6))
        self._tick()

    def run_late(self) -> None:
        """Time passes, and messages come before the tick that is due."""
        self.bench.now += timedelta(seconds=10 ** self.random.uniform(-2, 6))
        self.is_ticked = False

    def _tick(self) -> None:
        before = self.state
        effects = self.bench.tick()
        reached = {before}
        for _ in range(3):
            reached |= set(_after(reached, BY_TIME))
            reached |= set(_after(reached & HELD_BACK, BY_MESSAGE))
        assert self.state in reached
        assert _sends(effects) <= 1
        assert self.bench.tick() == [], "a second tick finds nothing due"
        self.hops.add((before, self.state))
        self.is_ticked = True

    # Messages

    def serve(self) -> None:
        """As servers mostly do."""
        if not self.bench.sent:
            return
        asked, server = self.bench.asked, self.random.choice([ours, ours, stranger])
        if asked.type is MessageType.DISCOVER:
            self._hear(server.offer(asked))
        else:
            self._hear(server.ack(asked, lease_time=self._lease_time() or SECOND))

    def refuse(self) -> None:
        if self.bench.sent:
            self._hear(self.random.choice([ours, ours, stranger]).nak(self.bench.asked))

    def babble(self) -> None:
        """Any type with any parts, late or for somebody else."""
        if not self.bench.sent:
            return
        asked = self.random.choice(self.bench.sent[-3:])
        said = self.random.choice([ours, stranger]).ack(
            asked,
            self.random.choice([ADDRESS, ADDRESS, ELSEWHERE, IPv4Address(0)]),
            lease_time=self._lease_time(),
            t1=self._lease_time(),
            t2=self._lease_time(),
        )
        said = said._replace(type=self.random.choice(list(MessageType)))
        if self.random.random() < 0.2:
            said = said._replace(server_id=None)
        self._hear(said)
        before = self.state
        assert self.bench.hear(said._replace(xid=self.bench.client.xid ^ 1)) == []
        assert self.state is before

    def _hear(self, message: Message) -> None:
        before = self.state
        effects = self.bench.hear(message)
        assert self.state in {before, *_after({before}, BY_MESSAGE)}
        assert (
            effects
            or self.state is before
            or (before, self.state)
            == (
                State.REQUESTING,
                State.SELECTING,
            )
        ), "only the pause after a NAK to our choice is silent"
        assert _sends(effects) <= 1
        self.hops.add((before, self.state))
        grant = self.bench.client.grant
        if self.state is State.BOUND is not before and grant and grant.bound_at < self.bench.now:
            self.is_ticked = False  # it runs from its REQUEST: what is due may have passed

    def _lease_time(self) -> timedelta | None:
        kinds = [None, timedelta(0), INFINITE, *[self.random.randrange(100) * SECOND] * 3]
        return self.random.choice([*kinds, *[self.random.randrange(2**32 - 1) * SECOND] * 2])

    # Calls

    def start(self) -> None:
        if Trigger.START in TRANSITIONS[self.state]:
            self.bench.start()

    def resume(self) -> None:
        if self.state is State.INIT:
            age = timedelta(seconds=self.random.randrange(7200))
            confirm, lost = self.random.random() < 0.5, self.random.random() < 0.2
            self.bench.resume(stored(self.bench.now - age), confirm=confirm, lost=lost)
            self.is_ticked = self.is_ticked and not lost  # it is due at once

    def renew(self) -> None:
        self.bench.note(self.bench.client.renew(self.bench.now))

    def decline(self) -> None:
        if self.state is State.BOUND and self.random.random() < 0.2:
            self.bench.note(self.bench.client.decline(self.bench.now))

    def release(self) -> None:
        assert _sends(self.bench.release()) <= 1
        assert self.state is State.INIT

    def disturb(self) -> None:
        assert _sends(self.bench.note(self.bench.client.disturbed(self.bench.now))) <= 1
        assert self.bench.tick() == []

    # What holds after each step

    def check(self) -> None:
        client, now = self.bench.client, self.bench.now
        grant, wake_at = client.grant, client.wake_at
        assert wake_at is not None or self.state in (State.INIT, State.BOUND)
        if self.state is State.BOUND and wake_at is None:
            assert grant is not None
            assert grant.expires_at is None
        assert not client.is_lost or grant is not None, "what is lost is remembered"
        if grant is not None and grant.expires_at is not None:
            assert grant.renew_at is not None
            assert grant.rebind_at is not None
            assert grant.bound_at < grant.renew_at < grant.rebind_at < grant.expires_at
        if not self.is_ticked:
            return
        just_lost = self.state is State.LOST and wake_at == now
        assert wake_at is None or wake_at > now or just_lost
        if self.state in HOLDING:
            assert not client.is_lost
            assert grant is not None
            assert grant.expires_at is None or now < grant.expires_at


def _after(states: set[State], events: set[Trigger]) -> Iterator[State]:
    for state in states:
        for event, after in TRANSITIONS[state].items():
            if event in events:
                yield after


def _sends(effects: Effects) -> int:
    return sum(isinstance(effect, Send) for effect in effects)


def _walk(seed: int) -> Walk:
    walk = Walk(seed)
    for _ in range(STEPS):
        walk.step()
    return walk


@pytest.mark.parametrize("seed", range(0, 10 * WALKS, WALKS))
def test_a_client_holds_whatever_befalls_it(seed: int) -> None:
    for each in range(seed, seed + WALKS):
        try:
            _walk(each)
        except Exception as error:
            error.add_note(f"walk {each}")
            raise


def test_the_walks_go_along_each_arrow_that_time_or_messages_draw() -> None:
    walked = set[Hop]()
    for seed in range(5 * WALKS):
        walked |= _walk(seed).hops
    arrows = {(s, a) for s in State for a in _after({s}, BY_MESSAGE | BY_TIME)}
    # the clock's way to LOST goes on to SELECTING in the same tick
    arrows -= {(State.REBINDING, State.LOST), (State.REBOOTING, State.LOST)}
    arrows |= {(State.REBINDING, State.SELECTING), (State.REBOOTING, State.SELECTING)}
    assert arrows <= walked
