"""Thirty replies that nobody listed: whatever a server sends, the client leases or says why not."""

from collections.abc import Callable
from ipaddress import IPv4Address

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from d4d.adapters.dhcp.link.receive import read_wanted
from d4d.adapters.dhcp.wire.codec import encode
from d4d.adapters.dhcp.wire.option_fields import HEADER, walk
from d4d.domain.dhcp.messages import Message, MessageType
from d4d.domain.dhcp.states import State
from tests.support.client_harness import HOUR, IDENTITY, OURS, SECOND, Bench, ours, stranger

Options = list[tuple[int, bytes]]

AT: dict[str, Callable[[], Bench]] = {
    "selecting": lambda: _started(Bench()),
    "requesting": lambda: Bench().requesting(),
    "rebooting": lambda: Bench().rebooting(),
    "renewing": lambda: Bench().renewing(),
    "rebinding": lambda: Bench().rebinding(),
}


def _started(bench: Bench) -> Bench:
    bench.start()
    return bench


def recorded(bench: Bench, *, is_ours: bool, type_: MessageType) -> Message:
    """What a server would send with all that servers say."""
    server = ours if is_ours else stranger
    said = server.ack(bench.asked, t1=HOUR / 2, t2=HOUR * 0.875)._replace(type=type_)
    return said._replace(
        client_id=IDENTITY.client_id,
        subnet_mask=IPv4Address("255.255.0.0"),
        routers=(OURS,),
        dns_servers=(OURS, OURS),
        domain="d4d.test",
        text="no",
    )


def options_of(payload: bytes) -> Options:
    return [(code, payload[at : at + length]) for code, at, length in walk(payload, HEADER)]


def put(payload: bytes, options: Options) -> bytes:
    area = b"".join(bytes((code, len(value))) + value for code, value in options)
    return payload[:HEADER] + area + b"\xff"


@st.composite
def garbled(draw: st.DrawFn, payload: bytes) -> bytes:
    """The payload with options dropped, repeated, in another order, of another size, or spoilt."""
    options = options_of(payload)
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(options) - 1))
        code, value = options[at]
        kind = draw(st.sampled_from(["drop", "repeat", "move", "resize", "spoil", "cut"]))
        if kind == "drop" and len(options) > 1:
            del options[at]
        elif kind == "repeat":
            options.insert(draw(st.integers(0, len(options))), (code, value))
        elif kind == "move":
            options.append(options.pop(at))
        elif kind == "resize":
            size = draw(st.integers(0, 20))
            options[at] = (code, value[:size].ljust(size, b"\x07"))
        elif kind == "spoil":
            options[at] = (code, draw(st.binary(min_size=len(value), max_size=len(value))))
        elif kind == "cut":
            short = put(payload, options)
            return short[: draw(st.integers(HEADER - 8, len(short)))]
    return put(payload, options)


@pytest.mark.parametrize("state", AT)
@given(data=st.data())
@settings(max_examples=150, deadline=None)  # the two cores may be busy
def test_the_client_leases_or_says_why_not(state: str, data: st.DataObject) -> None:
    bench = AT[state]()
    type_ = data.draw(
        st.sampled_from([MessageType.OFFER, MessageType.ACK, MessageType.ACK, MessageType.NAK])
    )
    reply = recorded(bench, is_ours=data.draw(st.booleans()), type_=type_)
    payload = data.draw(garbled(encode(reply)))
    read = read_wanted(payload, wants=bench.client.xid.__eq__, link="eth0", source=OURS.packed)
    if read is None:
        assert len(payload) < HEADER, "it is too short to say to whom it is"
        return
    before = bench.client.state
    effects = bench.hear(read)
    if not effects:
        is_offer = isinstance(read, Message) and read.type is MessageType.OFFER
        is_late_offer = is_offer and before is State.REQUESTING
        is_refused = (before, bench.client.state) == (State.REQUESTING, State.SELECTING)
        assert is_late_offer or is_refused or is_held_back(bench), f"silence about {read}"
    assert all(str(effect) for effect in effects)


def is_held_back(bench: Bench) -> bool:
    """Whether it is heard within a second, after the lease's own server could speak."""
    return bench.wake_at - bench.now <= SECOND
