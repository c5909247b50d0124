"""Every source is watched for as long as the driver is open, and every listener hears."""

import asyncio
from datetime import timedelta
from typing import Any

import structlog

from d4d.adapters.observability.disturbance_log import DisturbanceLog
from d4d.adapters.observability.metrics import Metrics
from d4d.domain.ports.disturbances import (
    ClockJump,
    ClockJumped,
    Disturbance,
    EngineRestarted,
    LinkChange,
    LinkChanged,
    Notify,
    RoutesChanged,
)
from d4d.service_layer.concurrency.supervised_task import failing
from d4d.service_layer.disturbance_watch import DisturbanceWatch
from tests.support.virtual_time import settle

VIRTUAL_TIME = True

DOWN = LinkChanged(name="eth0", changes=frozenset({LinkChange.DOWN}))
UP = LinkChanged(name="eth0", changes=frozenset({LinkChange.UP}))
SLEPT = ClockJumped(cause=ClockJump.SLEPT, by=timedelta(hours=2))


class FakeSource:
    """Tells of a disturbance at its beginning, and fails so many times then."""

    def __init__(self, name: str, disturbance: Disturbance, *, fails: int = 0) -> None:
        self.name = name
        self._disturbance = disturbance
        self.fails = fails
        self.is_watching = False

    async def watch(self, notify: Notify) -> None:
        notify(self._disturbance)
        if self.fails:
            self.fails -= 1
            raise OSError("no socket is left")
        self.is_watching = True
        try:
            await asyncio.Event().wait()
        finally:
            self.is_watching = False


def quiet() -> None:
    """Failures are told to the loop's handler, which a test must not fail by."""
    asyncio.get_running_loop().set_exception_handler(lambda *_: None)


async def test_all_sources_are_watched_until_it_is_closed() -> None:
    sources = [FakeSource("link news", DOWN), FakeSource("clock watch", SLEPT)]
    watch, heard = DisturbanceWatch(sources), list[Disturbance]()
    watch.add(heard.append)
    watch.start()
    await settle(1)
    watch.engine_restarted()
    assert heard == [DOWN, SLEPT, EngineRestarted()]
    assert all(source.is_watching for source in sources)
    await watch.aclose()
    assert not any(source.is_watching for source in sources)


async def test_a_source_that_fails_is_begun_again_and_named_meanwhile() -> None:
    quiet()
    source = FakeSource("link news", DOWN, fails=3)
    watch, heard = DisturbanceWatch([source]), list[Disturbance]()
    watch.add(heard.append)
    watch.start()
    await settle(0.5)
    assert [each.name for each in failing()] == ["link news"]
    await settle(30)
    assert source.is_watching
    assert failing() == []
    assert heard == [DOWN] * 4
    await watch.aclose()


async def test_what_one_listener_raises_is_its_own() -> None:
    quiet()
    watch, heard = DisturbanceWatch([]), list[Disturbance]()

    def broken(_: Disturbance) -> None:
        raise ZeroDivisionError

    watch.add(broken)
    watch.add(heard.append)
    watch.notify(DOWN)
    assert heard == [DOWN]


# The log, and the metric


def lines(disturbances: list[Disturbance]) -> list[Any]:
    log = DisturbanceLog(lambda name: name == "eth0")
    with structlog.testing.capture_logs() as logged:
        for each in disturbances:
            log(each)
    return [line for line in logged if line["log_level"] != "debug"]


async def test_each_is_a_line() -> None:
    renamed = LinkChanged(
        name="eth0", changes=frozenset({LinkChange.RENAMED, LinkChange.CAME}), former_name="nic7"
    )
    assert lines([renamed, SLEPT, EngineRestarted()]) == [
        {
            "event": "parent_changed",
            "log_level": "warning",
            "link": "eth0",
            "changes": "came renamed",
            "formerly": "nic7",
            "untold": 0,
        },
        {
            "event": "clock_jumped",
            "log_level": "warning",
            "seconds": 7200,
            "cause": "slept",
        },
        {"event": "engine_activated", "log_level": "info"},
    ]


async def test_links_of_containers_are_no_lines() -> None:
    veths = [
        LinkChanged(name=f"veth{n}", changes=frozenset({LinkChange.CAME})) for n in range(1000)
    ]
    assert lines([*veths, RoutesChanged()]) == []


async def test_a_parent_that_flaps_is_a_line_a_minute() -> None:
    assert len(lines([DOWN, UP] * 500)) == 2


async def test_each_kind_is_counted() -> None:
    metrics = Metrics()
    assert b'd4d_disturbances_total{kind="engine"} 0.0' in metrics.text()
    for each in (DOWN, UP, RoutesChanged(), SLEPT, EngineRestarted()):
        metrics.disturbed(each)
    text = metrics.text()
    assert b'd4d_disturbances_total{kind="link"} 2.0' in text
    for kind in (b"routes", b"clock", b"engine"):
        assert b'd4d_disturbances_total{kind="%s"} 1.0' % kind in text
