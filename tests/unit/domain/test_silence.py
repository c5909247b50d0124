"""Which hosts count as silent: what an observer saw, and nothing that a clock says of them."""

from dataclasses import dataclass
from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from d4d.domain.silence import Instant, Silence
from tests.support.virtual_time import NOON

GRACE = 120.0
GAP = 60.0
BEAT = 15.0
STEPS = int(GRACE / BEAT)


def seconds(count: float) -> timedelta:
    return timedelta(seconds=count)


@dataclass
class Observer:
    """One host that looks, with three clocks: its own, its wall clock, the store's."""

    silence: Silence
    own: datetime = NOON
    wall: datetime = NOON
    store: datetime = NOON

    @classmethod
    def new(cls) -> "Observer":
        return cls(Silence(gap=seconds(GAP)))

    def passes(self, time: float, *, own: float = 0, wall: float = 0, store: float = 0) -> None:
        """So much time passes; by so much more each clock jumps."""
        self.own += seconds(time + own)
        self.wall += seconds(time + wall)
        self.store += seconds(time + store)

    def looks(self, *, takes: float = 0, **beats: int) -> None:
        began = self._now()
        self.passes(takes)
        self.silence.saw(beats, began=began, ended=self._now())

    def watches(self, steps: int, **beats: int) -> None:
        for _ in range(steps):
            self.passes(BEAT)
            self.looks(**beats)

    def is_dead(self, host: str) -> bool:
        return self.silence.of(host) >= seconds(GRACE)

    def _now(self) -> Instant:
        return Instant(own=self.own, others=(self.wall, self.store))


@pytest.fixture
def observer() -> Observer:
    return Observer.new()


def test_a_host_is_silent_when_a_whole_grace_was_watched(observer: Observer) -> None:
    observer.looks(a=1)
    observer.watches(STEPS - 1, a=1)
    assert not observer.is_dead("a")
    observer.watches(1, a=1)
    assert observer.is_dead("a")
    assert observer.silence.of("a") == observer.silence.watched() == seconds(GRACE)


def test_an_observer_that_just_began_knows_of_nobody(observer: Observer) -> None:
    observer.looks(a=1)
    assert observer.silence.watched() == seconds(0)
    assert not observer.is_dead("a")
    assert not observer.silence.changed("a"), "it was there already"


def test_a_heartbeat_ends_the_silence(observer: Observer) -> None:
    observer.looks(a=1, b=1)
    observer.watches(STEPS - 1, a=1, b=1)
    observer.watches(1, a=2, b=1)
    assert not observer.is_dead("a")
    assert observer.silence.changed("a")
    assert observer.is_dead("b")
    observer.watches(STEPS, a=2, b=1)
    assert observer.is_dead("a")


def test_a_host_that_comes_is_seen_to_come(observer: Observer) -> None:
    observer.looks(a=1)
    observer.watches(1, a=1, b=1)
    assert observer.silence.changed("b")
    assert observer.silence.of("b") == seconds(0)


def test_a_host_without_heartbeats_is_silent_for_as_long_as_all_was_watched(
    observer: Observer,
) -> None:
    observer.looks(a=1)
    observer.watches(STEPS, a=1)
    assert observer.is_dead("z")


def test_the_time_that_a_read_took_does_not_count_as_silence(observer: Observer) -> None:
    observer.looks(a=1, takes=10)
    observer.passes(BEAT)
    observer.looks(a=1, takes=10)
    assert observer.silence.of("a") == seconds(BEAT)


JUMPS = {
    "the observer slept": {"own": 3600.0, "wall": 3600.0, "store": 3600.0},
    "the observer was suspended, and its own clock with it": {"wall": 3600.0, "store": 3600.0},
    "its machine was paused, and all of its clocks": {"store": 3600.0},
    "its wall clock was set forward": {"wall": 3600.0},
    "its wall clock was set back": {"wall": -3600.0},
    "the store's clock was set forward": {"store": 3600.0},
    "the store's clock was set back": {"store": -3600.0},
}


@pytest.mark.parametrize("jump", JUMPS.values(), ids=JUMPS)
def test_where_a_clock_jumps_the_watch_begins_anew(
    observer: Observer, jump: dict[str, float]
) -> None:
    observer.looks(a=1)
    observer.watches(STEPS - 1, a=1)
    observer.passes(BEAT, **jump)
    observer.looks(a=1)
    assert not observer.is_dead("a")
    assert observer.silence.watched() == seconds(0)
    observer.watches(STEPS - 1, a=1)
    assert not observer.is_dead("a")
    observer.watches(1, a=1)
    assert observer.is_dead("a")


def test_a_gap_between_reads_begins_the_watch_anew(observer: Observer) -> None:
    observer.looks(a=1)
    observer.watches(STEPS - 1, a=1)
    observer.passes(GAP + 1)
    observer.looks(a=1)
    assert not observer.is_dead("a")


def test_a_read_that_took_too_long_is_a_gap(observer: Observer) -> None:
    observer.looks(a=1)
    observer.watches(STEPS - 1, a=1)
    observer.looks(a=1, takes=GAP + 1)
    assert not observer.is_dead("a")


def test_a_read_that_failed_begins_the_watch_anew(observer: Observer) -> None:
    observer.looks(a=1)
    observer.watches(STEPS, a=1)
    observer.silence.reset()
    observer.watches(STEPS, a=1)
    assert not observer.is_dead("a")
    observer.watches(1, a=1)
    assert observer.is_dead("a")


@pytest.mark.parametrize("others", [{"b": 4}, {}], ids=["older data", "lost"])
def test_a_store_that_is_not_what_it_was_begins_the_watch_anew(
    observer: Observer, others: dict[str, int]
) -> None:
    observer.looks(a=1, b=5)
    observer.watches(STEPS - 1, a=1, b=5)
    observer.watches(1, a=1, **others)
    assert not observer.is_dead("a"), "its own heartbeat may be one that was lost"
    assert observer.silence.watched() == seconds(0)


def test_what_the_observer_itself_takes_away_is_no_loss(observer: Observer) -> None:
    observer.looks(a=1, b=1)
    observer.watches(STEPS, a=1, b=1)
    observer.silence.forget("a")
    observer.watches(1, b=1)
    assert observer.is_dead("b")


@dataclass(frozen=True)
class Step:
    """What happens until the next read, and how the read ends."""

    time: float
    beats: bool
    fails: bool
    wall: float
    store: float
    older: bool


jumps = st.sampled_from([0.0] * 8 + [-7200.0, -61.0, -1.0, 1.0, 61.0, 7200.0])
steps = st.lists(
    st.builds(
        Step,
        time=st.sampled_from([0.0, 1.0, BEAT, BEAT, BEAT, GAP - 1, GAP, GAP + 1, 3600.0]),
        beats=st.integers(0, 9).map(lambda n: n == 0),
        fails=st.integers(0, 15).map(lambda n: n == 0),
        wall=jumps,
        store=jumps,
        older=st.integers(0, 15).map(lambda n: n == 0),
    ),
    max_size=40,
)


@given(steps)
def test_who_is_dead_was_silent_for_a_grace_under_an_unbroken_watch(plan: list[Step]) -> None:
    observer, beat, other = Observer.new(), 1, 1_000
    since: datetime | None = None  # from when on nothing but silence explains what is seen
    for step in plan:
        observer.passes(step.time, wall=step.wall, store=step.store)
        beat += step.beats
        other += -1 if step.older else 1
        if step.fails:
            observer.silence.reset()
            since = None
        else:
            observer.looks(a=beat, other=other)
            clocks = (step.time, step.time + step.wall, step.time + step.store)
            is_broken = step.older or any(abs(each) > GAP for each in clocks)
            if since is None or is_broken or step.beats:
                since = observer.own
        watched = observer.own - since if since is not None else seconds(0)
        assert observer.silence.of("a") <= watched
        if observer.is_dead("a"):
            assert watched >= seconds(GRACE)
