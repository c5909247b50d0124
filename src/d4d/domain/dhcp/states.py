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


class Trigger(StrEnum):
    """What can happen to a client."""

    START = "start"
    RESUME = "resume"
    """A stored lease whose T1 is still to come."""
    REBOOT = "reboot"
    """A stored lease that is to be confirmed."""
    RECLAIM = "reclaim"
    """A stored lease that had been lost: it is asked for again."""
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


TRANSITIONS: dict[State, dict[Trigger, State]] = {
    State.INIT: {
        Trigger.START: State.SELECTING,
        Trigger.RESUME: State.BOUND,
        Trigger.REBOOT: State.REBOOTING,
        Trigger.RECLAIM: State.LOST,
    },
    State.SELECTING: {
        Trigger.START: State.SELECTING,
        Trigger.OFFER: State.REQUESTING,
        Trigger.TIMEOUT: State.SELECTING,
        Trigger.NO_ANSWER: State.LOST,
        Trigger.RELEASE: State.INIT,
    },
    State.REQUESTING: {
        Trigger.START: State.SELECTING,
        Trigger.ACK: State.BOUND,
        Trigger.NAK: State.SELECTING,
        Trigger.TIMEOUT: State.REQUESTING,
        Trigger.NO_ANSWER: State.SELECTING,
        Trigger.RELEASE: State.INIT,
    },
    State.REBOOTING: {
        Trigger.ACK: State.BOUND,
        Trigger.NAK: State.LOST,
        Trigger.TIMEOUT: State.REBOOTING,
        Trigger.EXPIRY: State.LOST,
        Trigger.RELEASE: State.INIT,
    },
    State.BOUND: {
        Trigger.T1: State.RENEWING,
        Trigger.OVERSLEPT: State.REBOOTING,
        Trigger.DECLINE: State.INIT,
        Trigger.RELEASE: State.INIT,
    },
    State.RENEWING: {
        Trigger.ACK: State.BOUND,
        Trigger.NAK: State.LOST,
        Trigger.NAK_OF_FORM: State.RENEWING,
        Trigger.TIMEOUT: State.RENEWING,
        Trigger.T2: State.REBINDING,
        Trigger.OVERSLEPT: State.REBOOTING,
        Trigger.RELEASE: State.INIT,
    },
    State.REBINDING: {
        Trigger.ACK: State.BOUND,
        Trigger.NAK: State.LOST,
        Trigger.NAK_OF_FORM: State.REBINDING,
        Trigger.TIMEOUT: State.REBINDING,
        Trigger.EXPIRY: State.LOST,
        Trigger.RELEASE: State.INIT,
    },
    State.LOST: {
        Trigger.RETRY: State.SELECTING,
        Trigger.RELEASE: State.INIT,
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
