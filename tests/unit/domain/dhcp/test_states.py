"""Each entry of the table is reached and followed; what the table lacks has no effect."""

import runpy
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from d4d.domain.dhcp import messages
from d4d.domain.dhcp.effects import Effects, Ignored
from d4d.domain.dhcp.messages import Message
from d4d.domain.dhcp.states import TRANSITIONS, WAITING, State, Trigger
from tests.support.client_harness import HOUR, IDENTITY, SECOND, Bench, ours, stored, told

ROOT = Path(__file__).parents[4]

AT: dict[State, Callable[[], Bench]] = {
    State.INIT: Bench,
    State.SELECTING: lambda: _started(Bench()),
    State.REQUESTING: lambda: Bench().requesting(),
    State.REBOOTING: lambda: Bench().rebooting(),
    State.BOUND: lambda: Bench().bound(),
    State.RENEWING: lambda: Bench().renewing(),
    State.REBINDING: lambda: Bench().rebinding(),
    State.LOST: lambda: Bench().lost(),
}


def _started(bench: Bench) -> Bench:
    bench.start()
    return bench


class Scenario(NamedTuple):
    """What makes an event happen in a state, and what is then seen of it."""

    act: Callable[[Bench], Effects]
    seen: list[str]
    then: State
    at: Callable[[], Bench] | None = None
    """How to come to the state, where AT's way does not serve."""


def _start(bench: Bench) -> Effects:
    return bench.start()


def _resume(bench: Bench) -> Effects:
    return bench.resume(stored(bench.now))


def _reboot(bench: Bench) -> Effects:
    return bench.resume(stored(bench.now), confirm=True)


def _reclaim(bench: Bench) -> Effects:
    return bench.resume(stored(bench.now), lost=True)


def _offer(bench: Bench) -> Effects:
    return bench.hear(ours.offer(bench.asked))


def _ack(bench: Bench) -> Effects:
    return bench.hear(ours.ack(bench.asked))


def _nak(bench: Bench) -> Effects:
    return bench.hear(ours.nak(bench.asked))


def _decline(bench: Bench) -> Effects:
    return bench.note(bench.client.decline(bench.now))


def _release(bench: Bench) -> Effects:
    return bench.release()


def _second_nak(bench: Bench) -> Bench:
    _nak(bench)
    return bench


def _unanswered(bench: Bench, times: int) -> Bench:
    for _ in range(times):
        bench.wake()
    return bench


def _until(bench: Bench, instant: str) -> Effects:
    """Sleep without any waking until an instant of the grant: what is due before it is skipped."""
    bench.now = getattr(bench.grant, instant)
    return bench.tick()


S, E = State, Trigger
SCENARIOS: dict[tuple[State, Trigger], Scenario] = {
    (S.INIT, E.START): Scenario(_start, ["DISCOVER"], S.SELECTING),
    (S.INIT, E.RESUME): Scenario(_resume, [], S.BOUND),
    (S.INIT, E.REBOOT): Scenario(_reboot, ["REQUEST 50"], S.REBOOTING),
    (S.INIT, E.RECLAIM): Scenario(_reclaim, [], S.LOST),
    (S.SELECTING, E.START): Scenario(_start, ["DISCOVER"], S.SELECTING),
    (S.SELECTING, E.OFFER): Scenario(_offer, ["Offered", "REQUEST 50 54"], S.REQUESTING),
    (S.SELECTING, E.TIMEOUT): Scenario(Bench.wake, ["DISCOVER"], S.SELECTING),
    (S.SELECTING, E.NO_ANSWER): Scenario(
        Bench.wake, [], S.LOST, at=lambda: _unanswered(Bench().reclaiming(), 2)
    ),
    (S.SELECTING, E.RELEASE): Scenario(_release, [], S.INIT),
    (S.REQUESTING, E.START): Scenario(_start, ["DISCOVER"], S.SELECTING),
    (S.REQUESTING, E.ACK): Scenario(_ack, ["Bound"], S.BOUND),
    (S.REQUESTING, E.NAK): Scenario(_nak, [], S.SELECTING),
    (S.REQUESTING, E.TIMEOUT): Scenario(Bench.wake, ["REQUEST 50 54"], S.REQUESTING),
    (S.REQUESTING, E.NO_ANSWER): Scenario(
        Bench.wake, ["DISCOVER"], S.SELECTING, at=lambda: _unanswered(Bench().requesting(), 4)
    ),
    (S.REQUESTING, E.RELEASE): Scenario(_release, ["RELEASE 54 ciaddr"], S.INIT),
    (S.REBOOTING, E.ACK): Scenario(_ack, ["Bound"], S.BOUND),
    (S.REBOOTING, E.NAK): Scenario(_nak, ["Lost"], S.LOST),
    (S.REBOOTING, E.TIMEOUT): Scenario(Bench.wake, ["Late", "REQUEST 50"], S.REBOOTING),
    # Who loses by the clock asks again in the same breath: LOST's RETRY follows at once.
    (S.REBOOTING, E.EXPIRY): Scenario(
        lambda bench: _until(bench, "expires_at"), ["Lost", "DISCOVER 50"], S.SELECTING
    ),
    (S.REBOOTING, E.RELEASE): Scenario(_release, ["RELEASE 54 ciaddr"], S.INIT),
    (S.BOUND, E.T1): Scenario(Bench.wake, ["REQUEST 50 54"], S.RENEWING),
    (S.BOUND, E.OVERSLEPT): Scenario(
        lambda bench: _until(bench, "expires_at"), ["REQUEST 50"], S.REBOOTING
    ),
    (S.BOUND, E.DECLINE): Scenario(_decline, ["DECLINE 50 54"], S.INIT),
    (S.BOUND, E.RELEASE): Scenario(_release, ["RELEASE 54 ciaddr"], S.INIT),
    (S.RENEWING, E.ACK): Scenario(_ack, ["Bound"], S.BOUND),
    (S.RENEWING, E.NAK): Scenario(
        _nak, ["Lost"], S.LOST, at=lambda: _second_nak(Bench().renewing())
    ),
    (S.RENEWING, E.NAK_OF_FORM): Scenario(_nak, ["REQUEST ciaddr"], S.RENEWING),
    (S.RENEWING, E.TIMEOUT): Scenario(Bench.wake, ["Late", "REQUEST ciaddr"], S.RENEWING),
    (S.RENEWING, E.T2): Scenario(
        # T2 keeps the form, which alternates by timeouts alone
        lambda bench: _until(bench, "rebind_at"),
        ["Late", "REQUEST 50"],
        S.REBINDING,
    ),
    (S.RENEWING, E.OVERSLEPT): Scenario(
        lambda bench: _until(bench, "expires_at"), ["REQUEST 50"], S.REBOOTING
    ),
    (S.RENEWING, E.RELEASE): Scenario(_release, ["RELEASE 54 ciaddr"], S.INIT),
    (S.REBINDING, E.ACK): Scenario(_ack, ["Bound"], S.BOUND),
    (S.REBINDING, E.NAK): Scenario(
        _nak,
        ["Lost"],
        S.LOST,
        at=lambda: _asking_by(Bench().rebinding(), "REQUEST ciaddr"),
    ),
    (S.REBINDING, E.NAK_OF_FORM): Scenario(
        _nak,
        ["REQUEST ciaddr"],
        S.REBINDING,
        at=lambda: _asking_by(Bench().rebinding(), "REQUEST 50"),
    ),
    (S.REBINDING, E.TIMEOUT): Scenario(
        Bench.wake,
        ["REQUEST ciaddr"],
        S.REBINDING,
        at=lambda: _asking_by(Bench().rebinding(), "REQUEST 50"),
    ),
    (S.REBINDING, E.EXPIRY): Scenario(
        lambda bench: _until(bench, "expires_at"), ["Lost", "DISCOVER 50"], S.SELECTING
    ),
    (S.REBINDING, E.RELEASE): Scenario(_release, ["RELEASE 54 ciaddr"], S.INIT),
    (S.LOST, E.RETRY): Scenario(Bench.tick, ["DISCOVER 50"], S.SELECTING),
    (S.LOST, E.RELEASE): Scenario(_release, [], S.INIT),
}


def _asking_by(bench: Bench, form: str) -> Bench:
    """Let answers fail until the client asks in ``form``."""
    for _ in range(2):
        if told(bench.effects)[-1] == form:
            return bench
        bench.wake()
    raise AssertionError(f"{bench.client!r} asks by {told(bench.effects)[-1]}, not by {form}")


ENTRIES = [(state, event) for state, events in TRANSITIONS.items() for event in events]


def _name(value: object) -> str:
    return value.name.lower() if isinstance(value, Trigger | State) else repr(value)


def test_the_table_has_a_row_for_each_state_and_a_scenario_for_each_entry() -> None:
    assert set(TRANSITIONS) == set(State)
    assert set(SCENARIOS) == set(ENTRIES)


@pytest.mark.parametrize(("state", "event"), ENTRIES, ids=_name)
def test_an_entry_is_followed(state: State, event: Trigger) -> None:
    scenario = SCENARIOS[state, event]
    bench = (scenario.at or AT[state])()
    assert bench.client.state is state

    effects = scenario.act(bench)

    assert told(effects) == scenario.seen
    assert bench.client.state is scenario.then
    after = TRANSITIONS[state][event]
    assert scenario.then in (after, TRANSITIONS[after].get(Trigger.RETRY))


def _answer(bench: Bench, event: Trigger) -> Message:
    """An answer that fits in all parts, also where nothing was asked."""
    asked = SOMETHING._replace(xid=bench.client.xid)
    if event is E.OFFER:
        return ours.offer(asked)
    return ours.ack(asked) if event is E.ACK else ours.nak(asked)


SOMETHING = messages.discover(IDENTITY, 0)
HEARD = (E.OFFER, E.ACK, E.NAK)
CALLS: dict[Trigger, Callable[[Bench], Effects]] = {
    E.START: _start,
    E.RESUME: _resume,
    E.REBOOT: _reboot,
    E.RECLAIM: _reclaim,
    E.DECLINE: _decline,
}


def _absent(*events: Trigger) -> list[tuple[State, Trigger]]:
    return [
        (state, event) for state in State for event in events if event not in TRANSITIONS[state]
    ]


def _look(bench: Bench) -> list[object]:
    client = bench.client
    return [client.state, client.grant, client.xid, client.wake_at, client.is_lost]


@pytest.mark.parametrize(("state", "event"), _absent(*HEARD), ids=_name)
def test_a_message_that_the_table_lacks_has_no_effect(state: State, event: Trigger) -> None:
    bench = AT[state]()
    before = _look(bench)
    effects = bench.hear(_answer(bench, event))
    assert all(isinstance(effect, Ignored) for effect in effects)
    assert _look(bench) == before


@pytest.mark.parametrize(("state", "event"), _absent(*CALLS), ids=_name)
def test_a_call_that_the_table_lacks_is_refused_and_changes_nothing(
    state: State, event: Trigger
) -> None:
    bench = AT[state]()
    before = _look(bench)
    with pytest.raises(ValueError, match=f"{state.value}.*can't take '{event.value}'"):
        CALLS[event](bench)
    assert _look(bench) == before


@pytest.mark.parametrize("state", [state for state in State if E.T1 not in TRANSITIONS[state]])
def test_an_early_renewal_outside_bound_has_no_effect(state: State) -> None:
    bench = AT[state]()
    before = _look(bench)
    assert bench.client.renew(bench.now) == []
    assert _look(bench) == before


@pytest.mark.parametrize("state", [state for state in State if state is not S.LOST])
def test_no_time_event_happens_before_its_time(state: State) -> None:
    bench = AT[state]()
    before = _look(bench)
    early = (bench.client.wake_at or bench.now + 100 * HOUR) - SECOND / 1000
    assert bench.client.tick(early) == []
    assert _look(bench) == before


def test_releasing_what_is_not_held_has_no_effect() -> None:
    assert [state for state in State if E.RELEASE not in TRANSITIONS[state]] == [S.INIT]
    bench = Bench()
    assert bench.release() == []
    assert bench.client.state is S.INIT


def test_answers_are_awaited_where_the_table_has_one() -> None:
    answers = {E.OFFER, E.ACK, E.NAK}
    assert {state for state in State if answers & set(TRANSITIONS[state])} == WAITING


def test_the_diagram_in_the_docs_is_the_table() -> None:
    diagram = runpy.run_path(str(ROOT / "scripts" / "draw_dhcp_states"))
    page = (ROOT / "docs" / "explain/dhcp-client.md").read_text()
    assert diagram["redrawn"](page) == page, "stale: run .venv/bin/python scripts/draw_dhcp_states"


def test_the_diagram_draws_each_entry() -> None:
    drawn: str = runpy.run_path(str(ROOT / "scripts" / "draw_dhcp_states"))["draw"]()
    for state, event in ENTRIES:
        arrow = f"    {state.name} --> {TRANSITIONS[state][event].name}: "
        (line,) = (line for line in drawn.splitlines() if line.startswith(arrow))
        assert event.value in line
