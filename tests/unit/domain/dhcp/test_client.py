"""The client's answers to servers good and bad, and to time."""

from collections.abc import Callable
from datetime import timedelta
from ipaddress import IPv4Address

import pytest

from d4d.domain.addressing import MacAddress
from d4d.domain.dhcp.effects import Bound, Ignored, Late, Lost, Offered, Refused, Send
from d4d.domain.dhcp.messages import INFINITE, NO_ADDRESS, Message, MessageType, Unreadable
from d4d.domain.dhcp.states import State
from d4d.domain.leases import RenewalForm, Terms
from tests.support.client_harness import (
    ADDRESS,
    ELSEWHERE,
    HOUR,
    IDENTITY,
    NOON,
    OURS,
    SECOND,
    STRANGER,
    Bench,
    ignored,
    ours,
    stored,
    stranger,
    told,
)

RELAYED = (RenewalForm.RENEWING,)


def offered_by(server: IPv4Address) -> Terms:
    return Terms(server=server, lease_time=HOUR)


# Acquiring


def test_an_acquisition_takes_four_messages_of_one_transaction() -> None:
    bench = Bench()
    assert told(bench.start()) == ["DISCOVER"]
    discover = bench.asked
    offered, _ = bench.hear(ours.offer(discover))
    assert offered == Offered(address=ADDRESS, server=OURS)
    request = bench.asked
    assert (request.xid, request.requested, request.server_id) == (discover.xid, ADDRESS, OURS)
    assert bench.hear(ours.ack(request)) == [Bound(grant=bench.grant)]
    assert bench.grant.address == ADDRESS
    assert bench.grant.terms.server == OURS
    assert bench.grant.bound_at == NOON
    assert bench.grant.expires_at == NOON + HOUR


def test_an_address_may_be_asked_for() -> None:
    bench = Bench()
    bench.start(requested=ADDRESS)
    assert bench.asked.requested == ADDRESS
    bench.wake()
    assert bench.asked.requested == ADDRESS


def test_an_offer_of_no_use_is_told_and_a_better_one_awaited() -> None:
    bench = Bench()
    bench.note(bench.client.start(bench.now, accepts=lambda address: address == ADDRESS))
    refused = bench.hear(stranger.offer(bench.asked, ELSEWHERE))
    assert refused == [Refused(address=ELSEWHERE, terms=offered_by(STRANGER))]
    assert told(bench.hear(ours.offer(bench.asked))) == ["Offered", "REQUEST 50 54"]


def test_an_offer_of_no_address_is_ignored() -> None:
    bench = Bench()
    bench.start()
    assert ignored(bench.hear(ours.offer(bench.asked, NO_ADDRESS))) == (
        "10.77.0.1 answered with a DHCPOFFER that D4D can't use: "
        "it offers no address (yiaddr is 0.0.0.0)"
    )


def test_a_discover_is_sent_again_at_growing_distances_in_one_transaction() -> None:
    bench = Bench()
    bench.start()
    gaps = []
    for _ in range(7):
        before = bench.now
        bench.wake()
        gaps.append((bench.now - before).total_seconds())
    for gap, most in zip(gaps, (1, 2, 3, 4, 4, 4, 4), strict=True):
        assert 0.9 * most <= gap <= most
    assert len({gap % 1 for gap in gaps}) == len(gaps), "jitter"
    assert len({message.xid for message in bench.sent}) == 1


def test_a_lost_address_for_which_nobody_waits_is_asked_for_at_the_rfcs_pace() -> None:
    bench = Bench().reclaiming()
    gaps = []
    for _ in range(2):
        before = bench.now
        bench.wake()
        gaps.append((bench.now - before).total_seconds())
    assert [4 <= gaps[0] < 5, 8 <= gaps[1] < 9] == [True, True]


def test_an_offer_that_comes_after_a_second_discover_is_taken() -> None:
    bench = Bench()
    bench.start()
    slow = ours.offer(bench.asked)
    bench.wake()
    assert told(bench.hear(slow)) == ["Offered", "REQUEST 50 54"]


def test_a_server_that_offers_and_falls_silent_is_asked_anew() -> None:
    bench = Bench().requesting()
    stale = ours.ack(bench.asked)
    for _ in range(4):
        assert told(bench.wake()) == ["REQUEST 50 54"]
    assert bench.now - NOON > 8 * SECOND
    assert told(bench.wake()) == ["DISCOVER"]
    assert bench.hear(stale) == []


def test_secs_counts_from_the_first_discover_and_a_request_repeats_it() -> None:
    bench = Bench()
    bench.start()
    assert bench.asked.secs == 0
    bench.wake()
    bench.wake()
    waited = bench.asked.secs
    assert waited == int((bench.now - NOON).total_seconds()) >= 2
    bench.now += 3 * SECOND
    bench.hear(ours.offer(bench.asked))
    assert bench.asked.secs == waited
    bench.wake()
    assert bench.asked.type is MessageType.REQUEST
    assert bench.asked.secs == waited


def test_secs_stops_at_its_sixteen_bits() -> None:
    bench = Bench()
    bench.start()
    bench.oversleep(timedelta(days=2))
    assert bench.asked.secs == 0xFFFF


def test_secs_counts_anew_in_each_renewal() -> None:
    bench = Bench().renewing()
    assert bench.asked.secs == 0
    began = bench.now
    bench.wake()
    assert bench.asked.secs == int((bench.now - began).total_seconds()) > 0


def test_naks_to_our_choice_are_followed_by_growing_pauses() -> None:
    bench = Bench()
    bench.start()
    pauses = []
    for _ in range(12):
        bench.hear(ours.offer(bench.asked))
        before = bench.now
        assert told(bench.hear(ours.nak(bench.asked))) == []
        assert told(bench.wake()) == ["DISCOVER"]
        pauses.append((bench.now - before).total_seconds())
    assert 0.1 <= pauses[0] < 0.12
    assert pauses == sorted(pauses)
    assert 12.8 <= pauses[7] < 14.1
    assert 204.8 <= pauses[11] < 226


def test_a_lost_address_that_is_offered_and_refused_for_ever_is_asked_for_seldom() -> None:
    """Nobody waits for it, and it may be so for weeks."""
    bench = Bench().lost()
    began, asked = bench.now, 0
    while bench.now < began + 24 * HOUR:
        if bench.client.state is State.SELECTING and bench.hear(ours.offer(bench.asked)):
            bench.hear(ours.nak(bench.asked))
            asked += 1
        bench.wake()
    assert 24 * 10 <= asked <= 24 * HOUR / timedelta(minutes=4)


def test_an_ack_makes_the_pauses_short_again() -> None:
    bench = Bench().requesting()
    for _ in range(6):
        bench.hear(ours.nak(bench.asked))
        bench.wake()
        bench.hear(ours.offer(bench.asked))
    bench.hear(ours.ack(bench.asked))
    bench.release()
    bench.requesting()
    bench.hear(ours.nak(bench.asked))
    assert bench.wake_at - bench.now < 0.12 * SECOND


def test_a_nak_to_our_choice_ends_its_transaction() -> None:
    bench = Bench().requesting()
    asked = bench.asked
    bench.hear(ours.nak(asked))
    bench.wake()
    assert bench.asked.xid != asked.xid
    assert bench.hear(ours.offer(asked)) == []


# What is not for us, or late


@pytest.mark.parametrize("state", ["selecting", "requesting", "rebooting", "renewing", "rebinding"])
def test_answers_of_another_transaction_or_client_are_ignored(state: str) -> None:
    bench = Bench()
    if state == "selecting":
        bench.start()
    else:
        getattr(bench, state)()
    neighbour = MacAddress.parse("02:42:0a:4d:10:99")
    for answer in (ours.offer(bench.asked), ours.ack(bench.asked), ours.nak(bench.asked)):
        assert bench.hear(answer._replace(xid=answer.xid ^ 1)) == []
        assert bench.hear(answer._replace(chaddr=neighbour)) == []
    assert bench.client.state is State(state)


@pytest.mark.parametrize("state", ["rebooting", "renewing", "rebinding"])
def test_an_ack_of_another_address_is_ignored_and_told(state: str) -> None:
    bench: Bench = getattr(Bench(), state)()
    for address in (ELSEWHERE, NO_ADDRESS):
        assert ignored(bench.hear(ours.ack(bench.asked, address))) == (
            f"10.77.0.1 answered with a DHCPACK that D4D can't use: it grants {address}, and "
            f"10.77.16.1 was asked for"
        )
    assert told(bench.hear(ours.ack(bench.asked))) == ["Bound"]


def test_an_ack_of_another_address_than_was_offered_is_taken_where_that_will_do() -> None:
    bench = Bench().requesting()
    offered, bound = bench.hear(ours.ack(bench.asked, ELSEWHERE))
    assert offered == Offered(address=ELSEWHERE, server=OURS)
    assert bound == Bound(grant=bench.grant)
    assert (bench.grant.address, bench.grant.expires_at) == (ELSEWHERE, NOON + HOUR)


def test_an_ack_of_another_address_than_was_offered_is_ignored_where_that_will_not_do() -> None:
    bench = Bench()
    bench.note(bench.client.start(bench.now, accepts=ADDRESS.__eq__))
    bench.hear(ours.offer(bench.asked))
    assert "it grants 10.77.16.2" in ignored(bench.hear(ours.ack(bench.asked, ELSEWHERE)))
    assert told(bench.hear(ours.ack(bench.asked))) == ["Bound"]


@pytest.mark.parametrize("state", ["requesting", "rebooting", "renewing", "rebinding"])
def test_an_ack_of_no_time_is_ignored_and_told(state: str) -> None:
    bench: Bench = getattr(Bench(), state)()
    assert ignored(bench.hear(ours.ack(bench.asked, lease_time=timedelta(0)))) == (
        "10.77.0.1 answered with a DHCPACK that D4D can't use: a lease time of 0 s (option 51)"
    )
    assert told(bench.hear(ours.ack(bench.asked))) == ["Bound"]


@pytest.mark.parametrize("state", ["requesting", "rebooting", "renewing", "rebinding"])
def test_an_ack_that_does_not_say_how_long_repeats_what_was_said_before(state: str) -> None:
    bench: Bench = getattr(Bench(), state)()
    assert told(bench.hear(ours.ack(bench.asked, lease_time=None))) == ["Bound"]
    assert bench.grant.terms.lease_time == HOUR


def test_a_lease_of_which_nothing_says_how_long_is_one_of_an_hour() -> None:
    bench = Bench()
    bench.start()
    bench.hear(ours.offer(bench.asked)._replace(lease_time=None))
    bench.hear(ours.ack(bench.asked, lease_time=None))
    assert bench.grant.expires_at == NOON + HOUR


@pytest.mark.parametrize("state", ["requesting", "rebooting", "renewing", "rebinding"])
def test_an_ack_without_a_server_is_the_leases_own_servers(state: str) -> None:
    bench: Bench = getattr(Bench(), state)()
    assert told(bench.hear(ours.ack(bench.asked)._replace(server_id=None))) == ["Bound"]
    assert bench.grant.terms.server == OURS


def test_a_server_that_does_not_name_itself_is_leased_from() -> None:
    bench = Bench()
    bench.start()
    offered, _ = bench.hear(ours.offer(bench.asked)._replace(server_id=None, source=OURS))
    assert offered == Offered(address=ADDRESS, server=OURS)
    assert told(bench.effects)[-1] == "REQUEST 50"
    assert told(bench.hear(ours.ack(bench.asked)._replace(server_id=None))) == ["Bound"]
    assert bench.grant.terms.server == NO_ADDRESS
    bench.wake()
    assert told(bench.hear(ours.ack(bench.asked)._replace(server_id=None))) == ["Bound"]


@pytest.mark.parametrize("state", ["selecting", "requesting", "rebooting", "renewing", "rebinding"])
def test_an_answer_to_another_client_identifier_is_ignored_and_told(state: str) -> None:
    """RFC 6842: two clients may have one MAC, and by chance one xid."""
    bench = Bench()
    if state == "selecting":
        bench.start()
    else:
        getattr(bench, state)()
    for answer in (ours.offer(bench.asked), ours.ack(bench.asked), ours.nak(bench.asked)):
        said = ignored(bench.hear(answer._replace(client_id=b"\x00somebody else")))
        assert "it is for another client identifier (option 61)" in said
    assert bench.client.state is State(state)


@pytest.mark.parametrize("state", ["selecting", "requesting", "rebooting", "renewing", "rebinding"])
def test_an_answer_that_echoes_our_client_identifier_is_ours(state: str) -> None:
    bench = Bench()
    if state == "selecting":
        bench.start()
    else:
        getattr(bench, state)()
    answer = (ours.offer if state == "selecting" else ours.ack)(bench.asked)
    effects = bench.hear(answer._replace(client_id=IDENTITY.client_id))
    assert not any(isinstance(effect, Ignored) for effect in effects)
    assert effects


def test_a_reply_that_cannot_be_read_is_told_and_one_to_another_is_not() -> None:
    bench = Bench()
    bench.start()
    xid = bench.asked.xid
    reply = Unreadable(xid=xid, chaddr=IDENTITY.chaddr, reason="no cookie", source=OURS)
    assert ignored(bench.hear(reply)) == (
        "10.77.0.1 answered with a reply that D4D can't read: no cookie"
    )
    assert bench.hear(reply._replace(xid=xid ^ 1)) == []
    assert bench.hear(reply._replace(chaddr=MacAddress.parse("02:42:0a:4d:10:99"))) == []


@pytest.mark.parametrize(
    ("state", "answers"),
    [
        ("selecting", (ours.ack, ours.nak)),
        ("rebooting", (ours.offer,)),
        ("renewing", (ours.offer,)),
        ("rebinding", (ours.offer,)),
    ],
)
def test_an_answer_to_what_was_not_asked_is_told(
    state: str, answers: tuple[Callable[[Message], Message], ...]
) -> None:
    bench = Bench()
    if state == "selecting":
        bench.start()
    else:
        getattr(bench, state)()
    for answer in answers:
        assert "was sent" in ignored(bench.hear(answer(bench.asked)))


def test_what_is_late_or_lost_after_useless_answers_is_not_called_silence() -> None:
    bench = Bench().renewing()
    useless = "10.77.0.1 answered with a DHCPACK that D4D can't use: a lease time of 0 s"
    bench.hear(ours.ack(bench.asked, lease_time=timedelta(0)))
    late = next(effect for effect in bench.wake() if isinstance(effect, Late))
    assert late.reason.startswith("10.77.0.1 did not confirm the lease (the first DHCPREQUEST")
    assert useless in late.reason
    effects = bench.wake_until(State.REBINDING)
    late = next(effect for effect in effects if isinstance(effect, Late))
    assert useless in late.reason
    effects = bench.wake_until(State.SELECTING)
    lost = next(effect for effect in effects if isinstance(effect, Lost))
    assert lost.reason.startswith(f"it expired: {useless}")


def test_a_useless_answer_of_an_earlier_renewal_explains_no_later_silence() -> None:
    bench = Bench().renewing()
    bench.hear(ours.ack(bench.asked, lease_time=timedelta(0)))
    bench.hear(ours.ack(bench.asked))
    bench.wake()
    late = next(effect for effect in bench.wake() if isinstance(effect, Late))
    assert late.reason == "10.77.0.1 did not answer the first DHCPREQUEST of renewing"


def test_duplicates_are_ignored() -> None:
    bench = Bench()
    bench.start()
    offer = ours.offer(bench.asked)
    bench.hear(offer)
    assert bench.hear(offer) == []
    ack = ours.ack(bench.asked)
    bench.hear(ack)
    grant = bench.grant
    bench.now += SECOND
    assert bench.hear(ack) == []
    assert bench.grant is grant


def test_leases_of_the_same_terms_share_them_and_a_renewal_keeps_the_address() -> None:
    one, other = Bench().bound(), Bench().bound()
    assert one.grant.terms is other.grant.terms
    first = one.grant
    one.wake()
    one.hear(ours.ack(one.asked, IPv4Address(int(ADDRESS))))
    assert one.grant is not first
    assert one.grant.address is first.address
    assert one.grant.terms is first.terms


def test_the_answer_to_an_earlier_renewal_is_ignored() -> None:
    bench = Bench().renewing()
    slow = ours.nak(bench.asked)
    bench.wake()
    assert bench.hear(slow) == []
    assert bench.client.state is State.RENEWING


def test_the_server_that_was_not_chosen_can_neither_grant_nor_refuse() -> None:
    bench = Bench().requesting()
    assert "10.77.0.1 was chosen" in ignored(bench.hear(stranger.ack(bench.asked)))
    assert "10.77.0.1 is the lease's server" in ignored(bench.hear(stranger.nak(bench.asked)))
    assert told(bench.hear(ours.ack(bench.asked))) == ["Bound"]


def test_only_the_named_servers_are_heard() -> None:
    bench = Bench(servers=(OURS,))
    bench.start()
    assert ignored(bench.hear(stranger.offer(bench.asked))) == (
        "10.77.0.66 answered with a DHCPOFFER that D4D can't use: it names 10.77.0.66 as its "
        "server (option 54), and 10.77.0.1 alone is heard (DHCP_SERVER)"
    )
    nameless = ours.offer(bench.asked)._replace(server_id=None, source=OURS)
    assert ignored(bench.hear(nameless)) == (
        "10.77.0.1 answered with a DHCPOFFER that D4D can't use: no server identifier (option "
        "54), and 10.77.0.1 alone is heard (DHCP_SERVER)"
    )
    assert told(bench.hear(ours.offer(bench.asked))) == ["Offered", "REQUEST 50 54"]
    bench.hear(ours.ack(bench.asked))
    bench.wake_until(State.REBINDING)
    for answer in (stranger.ack(bench.asked), stranger.nak(bench.asked)):
        assert "10.77.0.1 alone is heard" in ignored(bench.hear(answer))
    assert bench.client.state is State.REBINDING


# Renewing


def test_a_renewal_begins_in_the_selecting_form() -> None:
    bench = Bench().renewing()
    assert told(bench.effects)[-1] == "REQUEST 50 54"
    assert (bench.asked.requested, bench.asked.server_id) == (ADDRESS, OURS)
    assert bench.asked.ciaddr == NO_ADDRESS
    assert bench.asked.broadcast


@pytest.mark.parametrize("state", ["requesting", "rebooting", "renewing", "rebinding"])
def test_a_lease_runs_from_its_request_however_late_its_ack_is_read(state: str) -> None:
    bench: Bench = getattr(Bench(), state)()
    asked_at = bench.now
    bench.now += 50 * 60 * SECOND  # the host slept
    bench.hear(ours.ack(bench.asked, lease_time=2 * HOUR))
    assert bench.grant.bound_at == asked_at
    assert bench.grant.expires_at == asked_at + 2 * HOUR
    assert bench.grant.rebind_at == asked_at + 2 * HOUR * 0.875


def test_a_lease_whose_request_was_repeated_runs_from_the_first() -> None:
    bench = Bench().requesting()
    bench.wake()
    bench.hear(ours.ack(bench.asked))
    assert bench.grant.expires_at == NOON + HOUR < bench.now + HOUR


def test_a_lease_that_ended_before_its_ack_was_read_is_asked_for_once_more() -> None:
    bench = Bench().renewing()
    bench.now += 2 * HOUR
    bench.hear(ours.ack(bench.asked))
    assert told(bench.tick()) == ["REQUEST 50"]
    assert bench.client.state is State.REBOOTING


def test_an_ack_of_the_remaining_time_is_believed() -> None:
    bench = Bench().renewing()
    bench.hear(ours.ack(bench.asked, lease_time=HOUR / 2))
    assert bench.grant.expires_at == bench.now + HOUR / 2


def test_silence_alternates_the_forms_and_is_told_once_before_t2() -> None:
    bench = Bench().renewing()
    begun = len(bench.effects) - 1
    bench.wake_until(State.REBINDING)
    *before, late, rebinding = told(bench.effects[begun:])
    assert before.count("Late") == 1
    asked = [each for each in before if each != "Late"]
    assert len(asked) > 2
    assert set(asked[::2]) == {"REQUEST 50 54"}
    assert set(asked[1::2]) == {"REQUEST ciaddr"}
    assert (late, rebinding) == ("Late", "REQUEST 50")


def test_what_stays_late_says_who_did_not_answer() -> None:
    bench = Bench().renewing()
    late, _ = bench.wake()
    assert late == Late(reason="10.77.0.1 did not answer the first DHCPREQUEST of renewing")
    late, _ = bench.wake_until(State.REBINDING)
    assert late == Late(reason="10.77.0.1 did not answer until T2")


def test_renewals_are_sent_again_after_half_of_what_remains_and_no_faster_than_a_minute() -> None:
    bench = Bench().renewing()
    while bench.client.state is State.RENEWING:
        rebind_at = bench.grant.rebind_at
        assert rebind_at is not None
        sent_at, half = bench.now, (rebind_at - bench.now) / 2
        bench.wake()
        if bench.client.state is State.RENEWING:
            wait = max(half, timedelta(seconds=60))
            assert wait * 0.9 <= bench.now - sent_at <= wait


def test_a_nak_to_the_selecting_form_changes_the_form_at_once() -> None:
    bench = Bench().renewing()
    assert told(bench.hear(ours.nak(bench.asked))) == ["REQUEST ciaddr"]
    assert bench.asked.ciaddr == ADDRESS
    assert bench.asked.broadcast
    assert told(bench.hear(ours.ack(bench.asked))) == ["Bound"]
    assert bench.grant.form is RenewalForm.RENEWING


def test_the_form_that_was_taken_is_used_again() -> None:
    bench = Bench().renewing()
    bench.wake()
    bench.hear(ours.ack(bench.asked))
    assert bench.grant.form is RenewalForm.RENEWING
    assert told(bench.wake()) == ["REQUEST ciaddr"]


def test_the_form_outlives_a_restart() -> None:
    bench = Bench()
    bench.resume(stored(bench.now, form=RenewalForm.RENEWING))
    assert told(bench.wake()) == ["REQUEST ciaddr"]
    bench = Bench()
    bench.resume(stored(bench.now, form=RenewalForm.RENEWING), confirm=True)
    bench.hear(ours.ack(bench.asked))
    assert bench.grant.form is RenewalForm.RENEWING


def test_a_nak_in_both_forms_loses_the_address() -> None:
    bench = Bench().renewing()
    bench.hear(ours.nak(bench.asked))
    (lost,) = bench.hear(ours.nak(bench.asked, "no such lease"))
    assert lost == Lost(reason="10.77.0.1 refused it in renewing (DHCPNAK), saying 'no such lease'")
    assert bench.client.is_lost


def test_a_loss_by_expiry_names_the_refusal_before_it() -> None:
    bench = Bench().renewing()
    bench.hear(ours.nak(bench.asked, "no such lease"))
    (lost,) = (each for each in bench.live(2 * HOUR) if isinstance(each, Lost))
    assert lost.reason == (
        "10.77.0.1 refused it in renewing (DHCPNAK), saying 'no such lease', and was silent "
        "until it expired"
    )


def test_a_loss_by_expiry_without_a_refusal_says_so() -> None:
    bench = Bench().renewing()
    (lost,) = (each for each in bench.live(2 * HOUR) if isinstance(each, Lost))
    assert lost.reason == "no server answered until it expired"


def test_a_relayed_client_knows_one_form() -> None:
    bench = Bench(forms=RELAYED).renewing()
    assert told(bench.effects)[-1] == "REQUEST ciaddr"
    assert told(bench.wake()) == ["Late", "REQUEST ciaddr"]
    assert told(bench.wake_until(State.REBINDING)) == ["Late", "REQUEST ciaddr"]
    bench = Bench(forms=RELAYED).renewing()
    assert told(bench.hear(ours.nak(bench.asked))) == ["Lost"]


def test_a_form_that_the_client_no_longer_has_gives_way() -> None:
    bench = Bench(forms=RELAYED)
    bench.resume(stored(bench.now, form=RenewalForm.SELECTING))
    assert told(bench.wake()) == ["REQUEST ciaddr"]


def test_until_t2_only_our_server_can_renew() -> None:
    bench = Bench().renewing()
    assert "has until T2" in ignored(bench.hear(stranger.ack(bench.asked)))
    assert told(bench.hear(ours.ack(bench.asked))) == ["Bound"]


def test_until_t2_a_strangers_nak_is_ignored() -> None:
    bench = Bench().renewing()
    assert "10.77.0.1 is the lease's server" in ignored(bench.hear(stranger.nak(bench.asked)))
    assert bench.client.state is State.RENEWING
    bench.wake_until(State.REBINDING)
    bench.wake()
    assert told(bench.effects)[-1] == "REQUEST ciaddr"
    assert bench.hear(stranger.nak(bench.asked)) == []
    assert told(bench.wake()) == ["Lost", "DISCOVER 50"]


@pytest.mark.parametrize("is_refused_first", [True, False])
def test_a_strangers_nak_waits_a_second_for_a_better_answer(is_refused_first: bool) -> None:
    """Two servers of one range hear a REQUEST to all: the one that knows may be slower."""
    bench = Bench()
    bench.resume(stored(bench.now - 0.95 * HOUR), confirm=True)
    asked = bench.asked
    assert bench.hear(stranger.nak(asked)) == []
    bench.now += 0.9 * SECOND
    if is_refused_first:
        bench.now += 0.1 * SECOND
        assert told(bench.tick()) == ["Lost", "DISCOVER 50"]
    else:
        assert bench.hear(ours.ack(asked)) == [Bound(grant=bench.grant)]
        assert bench.live(0.4 * HOUR) == []


def test_where_the_server_is_unknown_a_nak_waits_for_an_ack() -> None:
    bench = Bench()
    bench.resume(stored(bench.now, server=NO_ADDRESS), confirm=True)
    assert bench.hear(stranger.nak(bench.asked)) == []
    assert bench.hear(ours.ack(bench.asked)) == [Bound(grant=bench.grant)]


def test_from_t2_on_another_server_may_take_the_lease_over() -> None:
    bench = Bench().rebinding()
    assert bench.hear(stranger.ack(bench.asked)) == [Bound(grant=bench.grant, rebound=True)]
    assert bench.grant.terms.server == STRANGER
    bench.wake()
    assert bench.asked.server_id == STRANGER


def test_our_own_server_in_rebinding_rebinds_nothing() -> None:
    bench = Bench().rebinding()
    assert bench.hear(ours.ack(bench.asked)) == [Bound(grant=bench.grant)]


def test_a_renewal_may_be_early() -> None:
    bench = Bench().bound()
    assert told(bench.note(bench.client.renew(bench.now))) == ["REQUEST 50 54"]
    assert told(bench.hear(ours.ack(bench.asked))) == ["Bound"]


def test_an_infinite_lease_is_asked_for_once_a_day() -> None:
    """Anybody on the wire can forge its ACK."""
    bench = Bench().bound(INFINITE)
    assert (bench.grant.rebind_at, bench.grant.expires_at) == (None, None)
    assert timedelta(hours=21) < bench.wake_at - bench.now <= timedelta(days=1)
    assert told(bench.wake()) == ["REQUEST 50 54"]
    assert told(bench.wake()) == ["Late", "REQUEST ciaddr"]
    bench.hear(ours.ack(bench.asked))
    assert bench.grant.expires_at == bench.now + HOUR


def test_a_server_that_is_away_from_an_infinite_lease_is_asked_each_hour() -> None:
    bench = Bench().bound(INFINITE)
    bench.wake()
    sent = len(bench.sent)
    bench.live(timedelta(days=2))
    assert bench.client.state is State.RENEWING
    assert 48 <= len(bench.sent) - sent <= 65


@pytest.mark.parametrize("days", [2, 30, 40_000])
def test_a_long_lease_is_asked_for_once_a_day_also_in_silence(days: int) -> None:
    bench = Bench().bound(timedelta(days=days))
    for _ in range(3):
        asked_at = bench.now
        bench.wake()
        assert bench.now - asked_at <= timedelta(days=1)


def test_what_stays_late_of_an_unknown_server_names_none() -> None:
    bench = Bench()
    bench.resume(stored(bench.now, server=NO_ADDRESS), confirm=True)
    late = next(effect for effect in bench.wake() if isinstance(effect, Late))
    assert late.reason == "its server did not answer the first DHCPREQUEST of rebooting"


def test_an_infinite_lease_is_released() -> None:
    bench = Bench().bound(INFINITE)
    assert told(bench.release()) == ["RELEASE 54 ciaddr"]


def test_a_server_without_a_name_is_not_named_in_a_renewal() -> None:
    bench = Bench()
    bench.resume(stored(bench.now, server=NO_ADDRESS))
    assert told(bench.wake()) == ["REQUEST 50"]
    assert bench.hear(ours.ack(bench.asked)) == [Bound(grant=bench.grant)]
    assert bench.grant.terms.server == OURS


# Restarting, and sleeping


def test_a_lease_whose_t1_is_to_come_sleeps_on() -> None:
    bench = Bench()
    grant = stored(bench.now)
    assert bench.resume(grant) == []
    assert bench.client.wake_at == grant.renew_at


def test_a_lease_whose_t1_has_passed_is_confirmed() -> None:
    bench = Bench()
    grant = stored(bench.now)
    bench.now += HOUR * 0.5
    assert told(bench.resume(grant)) == ["REQUEST 50"]
    assert (bench.asked.requested, bench.asked.server_id) == (ADDRESS, None)


def test_an_infinite_lease_is_confirmed_on_demand_and_within_a_day() -> None:
    bench = Bench()
    assert bench.resume(stored(bench.now, lease_time=INFINITE)) == []
    assert bench.wake_at == bench.now + timedelta(days=1)
    bench = Bench()
    bench.resume(stored(bench.now, lease_time=INFINITE), confirm=True)
    bench.live(100 * HOUR)
    assert bench.client.state is State.REBOOTING
    assert told(bench.hear(ours.ack(bench.asked))) == ["Bound"]


def test_what_was_stored_by_a_clock_that_was_ahead_is_asked_for_within_a_day() -> None:
    bench = Bench()
    bench.resume(stored(bench.now + timedelta(days=300)))
    assert bench.wake_at == bench.now + timedelta(days=1)


def test_silence_while_rebooting_is_no_refusal_until_the_lease_ends() -> None:
    bench = Bench().rebooting()
    bench.live(HOUR - SECOND)
    assert bench.client.state is State.REBOOTING
    said = told(bench.effects)
    assert set(said) == {"REQUEST 50", "Late"}
    assert said.count("Late") == 1
    assert said.count("REQUEST 50") < 20, "as seldom as a renewal"
    assert told(bench.live(2 * SECOND)) == ["Lost", "DISCOVER 50"]


def test_while_rebooting_another_servers_ack_is_ignored_until_t2() -> None:
    """A stranger's is as fast as the server's own."""
    bench = Bench().rebooting()
    assert "has until T2 to answer" in ignored(bench.hear(stranger.ack(bench.asked)))
    assert bench.client.state is State.REBOOTING
    assert bench.hear(ours.ack(bench.asked)) == [Bound(grant=bench.grant)]


def test_while_rebooting_another_server_may_take_the_lease_over_after_t2_if_ours_is_silent() -> (
    None
):
    bench = Bench().rebooting()
    bench.live(HOUR * 0.9)
    assert bench.client.state is State.REBOOTING
    assert bench.hear(stranger.ack(bench.asked)) == []
    assert bench.wake() == [Bound(grant=bench.grant, rebound=True)]
    assert bench.grant.terms.server == STRANGER


def test_while_rebooting_after_t2_our_own_server_comes_first() -> None:
    bench = Bench().rebooting()
    bench.live(HOUR * 0.9)
    asked = bench.asked
    assert bench.hear(stranger.ack(asked)) == []
    assert bench.hear(ours.ack(asked)) == [Bound(grant=bench.grant)]
    assert bench.grant.terms.server == OURS


def test_while_rebooting_a_strangers_nak_is_ignored_until_t2() -> None:
    bench = Bench().rebooting()
    assert "10.77.0.1 is the lease's server" in ignored(bench.hear(stranger.nak(bench.asked)))
    bench.live(HOUR * 0.9)
    assert bench.hear(stranger.nak(bench.asked)) == []
    assert told(bench.wake()) == ["Lost", "DISCOVER 50"]


def test_a_lease_that_is_confirmed_asks_again_at_t2_at_the_latest() -> None:
    bench = Bench().rebooting()
    bench.live(HOUR * 0.875 + 70 * SECOND)
    assert bench.hear(stranger.ack(bench.asked)) == []
    assert told(bench.wake()) == ["Bound"]


def test_a_lease_that_was_lost_is_reclaimed_at_once_and_stays_lost_until_it_is_granted() -> None:
    bench = Bench()
    assert bench.resume(stored(bench.now), lost=True) == []
    assert bench.client.is_lost
    assert told(bench.wake()) == ["DISCOVER 50"]
    assert bench.now == NOON
    assert bench.client.is_lost
    assert told(bench.hear(ours.offer(bench.asked))) == ["Offered", "REQUEST 50 54"]
    assert bench.hear(ours.ack(bench.asked)) == [Bound(grant=bench.grant, recovered=True)]
    assert not bench.client.is_lost


def test_a_lease_that_was_lost_is_not_released() -> None:
    bench = Bench()
    bench.resume(stored(bench.now), lost=True)
    assert bench.release() == []


# A clock that jumps


@pytest.mark.parametrize("jump", [-HOUR, -SECOND, SECOND, 0.6 * HOUR])
def test_after_a_jump_of_the_clock_a_lease_is_confirmed(jump: timedelta) -> None:
    bench = Bench().bound()
    bench.now += jump
    assert "REQUEST 50 54" in told(bench.note(bench.client.disturbed(bench.now)))
    bench.hear(ours.ack(bench.asked))
    assert bench.grant.expires_at == bench.now + HOUR


def test_after_a_jump_beyond_its_end_a_lease_is_asked_for_once_more() -> None:
    bench = Bench().bound()
    bench.now += 2 * HOUR
    assert told(bench.note(bench.client.disturbed(bench.now))) == ["REQUEST 50"]
    assert bench.client.state is State.REBOOTING


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ("requesting", "REQUEST 50 54"),
        ("renewing", "REQUEST ciaddr"),
        ("rebinding", "REQUEST"),
        ("rebooting", "REQUEST 50"),
        ("reclaiming", "DISCOVER 50"),
    ],
)
def test_after_a_jump_back_nothing_waits_for_the_old_time_to_come(state: str, said: str) -> None:
    bench: Bench = getattr(Bench(), state)()
    bench.now -= 5 * HOUR
    assert said in told(bench.note(bench.client.disturbed(bench.now)))[-1]
    assert bench.asked.secs == 0
    assert bench.wake_at - bench.now < 6 * HOUR


def test_an_address_that_is_waited_for_again_is_asked_for_after_a_jump_back() -> None:
    bench = Bench().lost()
    bench.wake_until(State.LOST)
    bench.now -= 5 * HOUR
    assert told(bench.note(bench.client.disturbed(bench.now))) == ["DISCOVER 50"]


def test_an_answer_that_comes_after_a_jump_back_is_no_grant_of_the_future() -> None:
    bench = Bench().requesting()
    bench.now -= HOUR
    bench.hear(ours.ack(bench.asked)._replace(renewal_time=SECOND))
    assert bench.grant.expires_at == bench.now + HOUR


def test_a_client_without_a_lease_is_not_disturbed() -> None:
    assert Bench().client.disturbed(NOON) == []


def test_a_lease_found_over_is_asked_for_once_more() -> None:
    bench = Bench()
    grant = stored(bench.now)
    bench.now += 5 * HOUR
    assert told(bench.resume(grant)) == ["REQUEST 50"]
    assert bench.grant == grant, "the grace is ours, not the server's"
    bench.now += SECOND
    assert bench.tick() == []
    assert bench.hear(ours.ack(bench.asked)) == [Bound(grant=bench.grant)]


def test_a_lease_found_over_is_lost_after_a_grace() -> None:
    bench = Bench()
    grant = stored(bench.now)
    bench.now += 5 * HOUR
    began = bench.now
    bench.resume(grant)
    assert told(bench.wake_until(State.SELECTING)) == ["Lost", "DISCOVER 50"]
    assert bench.now - began == 10 * SECOND


def test_a_lease_about_to_end_has_the_same_grace() -> None:
    bench = Bench()
    grant = stored(bench.now)
    bench.now += HOUR - SECOND
    bench.resume(grant)
    bench.live(9 * SECOND)
    assert told(bench.hear(ours.ack(bench.asked))) == ["Bound"]


def test_a_lease_that_is_over_is_not_released_within_its_grace() -> None:
    bench = Bench()
    grant = stored(bench.now)
    bench.now += 5 * HOUR
    bench.resume(grant)
    assert bench.release() == []


@pytest.mark.parametrize("state", ["bound", "renewing"])
def test_who_overslept_the_end_asks_once_more(state: str) -> None:
    bench: Bench = getattr(Bench(), state)()
    assert told(bench.oversleep(timedelta(days=3))) == ["REQUEST 50"]
    assert not bench.client.is_lost
    assert bench.hear(ours.ack(bench.asked)) == [Bound(grant=bench.grant)]


def test_who_overslept_the_end_in_silence_loses_the_address() -> None:
    bench = Bench().bound()
    bench.oversleep(timedelta(days=3))
    assert told(bench.wake_until(State.SELECTING)) == ["Lost", "DISCOVER 50"]


def test_who_overslept_t2_asks_all_servers_and_blames_none() -> None:
    bench = Bench().bound()
    assert told(bench.oversleep(HOUR * 0.9)) == ["REQUEST 50"]
    assert bench.client.state is State.REBINDING
    assert told(bench.hear(stranger.ack(bench.asked))) == ["Bound"]


# Losing, and finding again


def test_a_refused_lease_is_asked_for_at_once() -> None:
    bench = Bench().rebooting()
    (lost,) = bench.hear(ours.nak(bench.asked))
    assert lost == Lost(reason="10.77.0.1 refused it in rebooting (DHCPNAK)")
    assert bench.client.wake_at == bench.now
    assert told(bench.tick()) == ["DISCOVER 50"]
    assert bench.asked.requested == ADDRESS


def test_a_lost_address_is_found_again() -> None:
    bench = Bench().reclaiming()
    bench.hear(ours.offer(bench.asked))
    assert bench.client.is_lost
    assert bench.hear(ours.ack(bench.asked)) == [Bound(grant=bench.grant, recovered=True)]
    assert not bench.client.is_lost


def test_an_address_found_at_another_server_is_recovered_not_rebound() -> None:
    bench = Bench().reclaiming()
    bench.hear(stranger.offer(bench.asked))
    assert bench.hear(stranger.ack(bench.asked)) == [Bound(grant=bench.grant, recovered=True)]


def test_a_lost_address_is_replaced_by_no_other() -> None:
    bench = Bench().reclaiming()
    refused = bench.hear(ours.offer(bench.asked, ELSEWHERE))
    assert refused == [Refused(address=ELSEWHERE, terms=offered_by(OURS))]
    assert bench.client.state is State.SELECTING


def test_the_way_back_gets_slower_from_5_seconds_to_5_minutes() -> None:
    bench = Bench().reclaiming()
    waits = []
    for _ in range(10):
        bench.wake_until(State.LOST)
        waits.append((bench.wake_at - bench.now).total_seconds())
        assert told(bench.wake()) == ["DISCOVER 50"]
    expected = [5.0, 10, 20, 40, 80, 160, 300, 300, 300, 300]
    for wait, around in zip(waits, expected, strict=True):
        assert around * 0.9 <= wait <= around * 1.1
    assert told(bench.effects).count("Lost") == 1


def test_each_loss_begins_with_short_waits() -> None:
    bench = Bench().reclaiming()
    for _ in range(4):
        bench.wake_until(State.LOST)
    bench.wake()
    bench.hear(ours.offer(bench.asked))
    bench.hear(ours.ack(bench.asked))
    bench.wake_until(State.LOST)
    assert bench.wake_at - bench.now <= 5.5 * SECOND


# Giving back


def test_a_declined_address_names_its_server_and_is_forgotten() -> None:
    bench = Bench().bound()
    assert told(bench.note(bench.client.decline(bench.now))) == ["DECLINE 50 54"]
    assert (bench.asked.requested, bench.asked.server_id) == (ADDRESS, OURS)
    assert bench.client.grant is None
    assert bench.client.wake_at is None
    assert told(bench.start()) == ["DISCOVER"]


@pytest.mark.parametrize("state", ["bound", "renewing", "rebinding", "rebooting"])
def test_a_release_goes_to_its_server(state: str) -> None:
    bench: Bench = getattr(Bench(), state)()
    (effect,) = bench.release()
    assert isinstance(effect, Send)
    assert effect.to == OURS
    message = effect.message
    assert (message.ciaddr, message.server_id) == (ADDRESS, OURS)
    assert message.client_id == IDENTITY.client_id
    assert bench.client.grant is None
    assert bench.client.wake_at is None
    assert bench.release() == []


def test_an_offer_that_was_asked_for_is_released_in_case_the_server_committed_it() -> None:
    (effect,) = Bench().requesting().release()
    assert isinstance(effect, Send)
    assert (effect.message.ciaddr, effect.to) == (ADDRESS, OURS)


@pytest.mark.parametrize("state", ["lost", "reclaiming"])
def test_nothing_is_released_that_is_not_ours(state: str) -> None:
    bench: Bench = getattr(Bench(), state)()
    assert bench.release() == []
    assert bench.client.wake_at is None
    assert not bench.client.is_lost


def test_an_expired_address_is_not_released() -> None:
    bench = Bench().bound()
    bench.now += HOUR
    assert bench.release() == []


def test_a_lease_of_an_unknown_server_is_not_released_to_nobody() -> None:
    bench = Bench()
    bench.resume(stored(bench.now, server=NO_ADDRESS))
    assert bench.release() == []


def test_a_client_that_gave_up_an_offer_can_take_up_a_lease() -> None:
    bench = Bench()
    bench.start()
    bench.hear(ours.offer(bench.asked, ELSEWHERE))
    bench.release()
    bench.rebooting()
    assert told(bench.hear(ours.ack(bench.asked))) == ["Bound"]


def test_every_message_of_a_client_has_its_identity() -> None:
    bench = Bench().rebinding()
    bench.release()
    assert {message.chaddr for message in bench.sent} == {IDENTITY.chaddr}
    assert {message.client_id for message in bench.sent} == {IDENTITY.client_id}


def test_a_client_shows_where_it_is() -> None:
    bench = Bench()
    assert repr(bench.client) == "<Client 02:42:0a:4d:10:01 init no address>"
    bench.bound()
    assert repr(bench.client) == f"<Client 02:42:0a:4d:10:01 bound {ADDRESS}>"
