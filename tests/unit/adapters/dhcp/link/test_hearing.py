"""When a link counts as silent, and how often its socket is opened anew for it."""

from d4d.adapters.dhcp.link.hearing import Hearing


class Watch:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def hearing(*, asked: int, seconds: float) -> tuple[Hearing, Watch]:
    watch = Watch()
    made = Hearing(watch)
    for _ in range(asked):
        made.asked()
    watch.now += seconds
    return made, watch


def test_who_asked_nothing_is_not_silent() -> None:
    made, _ = hearing(asked=0, seconds=3600)
    assert not made.is_silent
    assert str(made) == ""


def test_a_burst_whose_answers_are_on_the_way_is_not_silent() -> None:
    assert not hearing(asked=64, seconds=4)[0].is_silent


def test_two_that_got_lost_are_no_silence() -> None:
    assert not hearing(asked=2, seconds=600)[0].is_silent


def test_three_requests_and_nothing_of_anybody_is() -> None:
    made, _ = hearing(asked=3, seconds=6)
    assert made.is_silent
    assert str(made).startswith("3 requests since 20")
    assert "opened anew" not in str(made)


def test_any_frame_ends_it() -> None:
    made, _ = hearing(asked=9, seconds=60)
    assert made.wants_opening()
    made.heard()
    assert str(made) == ""
    assert not made.wants_opening()


def test_it_is_opened_anew_at_once_and_then_after_ever_longer_pauses() -> None:
    made, watch = hearing(asked=3, seconds=6)
    opened = []
    for second in range(1500):
        if made.wants_opening():
            opened.append(second)
        watch.now += 1
    assert opened == [0, 15, 45, 105, 225, 465, 765, 1065, 1365]
    assert "its socket was opened anew 9 times" in str(made)


def test_only_the_first_of_a_silence_is_told() -> None:
    made, watch = hearing(asked=3, seconds=6)
    assert made.wants_opening()
    assert made.is_first_opening
    watch.now += 15
    assert made.wants_opening()
    assert not made.is_first_opening
