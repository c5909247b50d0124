"""The client's states, what can happen to it, and the one table of what follows."""

from enum import StrEnum


class State(StrEnum):
    """Figure 5's states, and LOST."""

    INIT = "init"
    SELECTING = "selecting"
    REQUESTING = "requesting"
    REBOOTING = "rebooting"
    BOUND = "bound"
    RENEWING = "renewing"
    REBINDING = "rebinding"
    LOST = "lost"


class Event(StrEnum):
    """What can happen to a client."""

    START = "start"
    RESUME = "resume"
    """A stored lease whose T1 is still to come."""
    REBOOT = "reboot"
    """A stored lease that is to be confirmed."""
    OFFER = "DHCPOFFER"
    ACK = "DHCPACK"
    NAK = "DHCPNAK"
    NAK_OF_FORM = "DHCPNAK, other form left"
    TIMEOUT = "timeout"
    """No answer: send again."""
    NO_ANSWER = "no answer"
    """No answer, often enough to give this attempt up."""
    T1 = "T1"
    T2 = "T2"
    EXPIRY = "expiry"
    OVERSLEPT = "woken after expiry"
    """The machine slept through the end of the lease: it deserves one question more."""
    RETRY = "retry"
    DECLINE = "decline"
    RELEASE = "release"


TRANSITIONS: dict[State, dict[Event, State]] = {
    State.INIT: {
        Event.START: State.SELECTING,
        Event.RESUME: State.BOUND,
        Event.REBOOT: State.REBOOTING,
    },
    State.SELECTING: {
        Event.START: State.SELECTING,
        Event.OFFER: State.REQUESTING,
        Event.TIMEOUT: State.SELECTING,
        Event.NO_ANSWER: State.LOST,
        Event.RELEASE: State.INIT,
    },
    State.REQUESTING: {
        Event.START: State.SELECTING,
        Event.ACK: State.BOUND,
        Event.NAK: State.SELECTING,
        Event.TIMEOUT: State.REQUESTING,
        Event.NO_ANSWER: State.SELECTING,
        Event.RELEASE: State.INIT,
    },
    State.REBOOTING: {
        Event.ACK: State.BOUND,
        Event.NAK: State.LOST,
        Event.TIMEOUT: State.REBOOTING,
        Event.EXPIRY: State.LOST,
        Event.RELEASE: State.INIT,
    },
    State.BOUND: {
        Event.T1: State.RENEWING,
        Event.OVERSLEPT: State.REBOOTING,
        Event.DECLINE: State.INIT,
        Event.RELEASE: State.INIT,
    },
    State.RENEWING: {
        Event.ACK: State.BOUND,
        Event.NAK: State.LOST,
        Event.NAK_OF_FORM: State.RENEWING,
        Event.TIMEOUT: State.RENEWING,
        Event.T2: State.REBINDING,
        Event.OVERSLEPT: State.REBOOTING,
        Event.RELEASE: State.INIT,
    },
    State.REBINDING: {
        Event.ACK: State.BOUND,
        Event.NAK: State.LOST,
        Event.NAK_OF_FORM: State.REBINDING,
        Event.TIMEOUT: State.REBINDING,
        Event.EXPIRY: State.LOST,
        Event.RELEASE: State.INIT,
    },
    State.LOST: {
        Event.RETRY: State.SELECTING,
        Event.RELEASE: State.INIT,
    },
}

WAITING = frozenset(
    {
        State.SELECTING,
        State.REQUESTING,
        State.REBOOTING,
        State.RENEWING,
        State.REBINDING,
    }
)
"""The states in which an answer is awaited."""
