"""Metrics: what is counted and measured, and that whoever draws or alerts on one finds it."""

import re
from datetime import timedelta
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from d4d.adapters.observability.metrics import Metrics, State
from d4d.domain.errors import NoAddress, StoreUnavailable
from d4d.domain.events import EventKind
from d4d.domain.leases import LeaseState
from d4d.domain.pools import PoolId
from d4d.domain.utilization import PoolUtilization, utilization_of
from tests.support.driver_harness import A, B, Driver

ROOT = Path(__file__).parents[4]
POOL = PoolId("192.168.59.0/24")
STATE = State(
    pools={POOL: PoolUtilization(size=254, used=3, reserved=1)},
    leases={(POOL, LeaseState.BOUND): 3},
    overdue=0,
    unwritten=0,
    history_waiting=0,
    webhook_waiting=0,
    tasks=9,
    failing=0,
    log_lines_lost=0,
)
VIRTUAL_TIME = True


def all_of_them() -> Metrics:
    """Metrics of a driver to which everything has happened once."""
    metrics = Metrics()
    for measure in (metrics.store, metrics.docker):
        with measure("add"):
            pass
    with metrics.exchange("dhcp", "allocate"):
        pass
    return metrics


def samples(metrics: Metrics) -> dict[tuple[str, ...], float]:
    return {
        (sample.name, *(sample.labels[name] for name in sorted(sample.labels))): sample.value
        for family in text_string_to_metric_families(metrics.text(STATE).decode())
        for sample in family.samples
    }


@pytest.mark.parametrize(
    ("error", "result"),
    [
        (None, "ok"),
        (NoAddress("none"), "no_address"),
        (StoreUnavailable("away"), "unavailable"),
        (ZeroDivisionError(), "failed"),
        (KeyboardInterrupt(), "cancelled"),
    ],
)
def test_a_call_is_measured_by_what_it_came_to(error: BaseException | None, result: str) -> None:
    metrics = Metrics()

    def call() -> None:
        with metrics.exchange("dhcp", "allocate"):
            if error is not None:
                raise error

    if error is None:
        call()
    else:
        with pytest.raises(type(error)):
            call()
    found = samples(metrics)
    assert found["d4d_exchange_duration_seconds_count", "dhcp", "allocate", result] == 1


def test_the_states_of_a_pool_add_up_to_its_size() -> None:
    found = samples(all_of_them())
    states = [
        found["d4d_pool_addresses", str(POOL), state] for state in ("used", "reserved", "free")
    ]
    assert states == [3, 1, 250]
    assert sum(states) == found["d4d_pool_size_addresses", str(POOL)]


def test_what_never_happened_is_zero_not_absent() -> None:
    found = samples(Metrics())
    assert {found["d4d_lease_events_total", kind.value] for kind in EventKind} == {0}


async def test_a_pool_is_filled_by_leases_reservations_and_its_gateway() -> None:
    async with Driver() as driver:
        pool = await driver.pool("192.168.59.0/29")
        await driver.gateway(pool, "192.168.59.6")
        await driver.auxiliary(pool, "192.168.59.5")
        await driver.run(pool, A)
        cidr = await driver.run(pool, B)
        (record,) = driver.ipam.pools
        assert utilization_of(record, driver.ipam.leasing.leases) == PoolUtilization(
            size=6, used=2, reserved=2
        )
        driver.clock.jump(timedelta(seconds=1))
        await driver.stop(pool, cidr)
        assert utilization_of(record, driver.ipam.leasing.leases).free == 3


async def test_a_range_counts_what_is_in_it_only() -> None:
    async with Driver() as driver:
        pool = await driver.pool("192.168.59.0/24", "192.168.59.128/30")
        await driver.gateway(pool, "192.168.59.1")
        await driver.run(pool, A)
        (record,) = driver.ipam.pools
        assert utilization_of(record, driver.ipam.leasing.leases) == PoolUtilization(
            size=4, used=1, reserved=0
        )


@pytest.mark.parametrize("name", ["grafana-dashboard.json", "prometheus-rules.yml"])
def test_each_metric_that_is_drawn_or_alerted_on_exists(name: str) -> None:
    text = (ROOT / "contrib" / "monitoring" / name).read_text()
    used = set(re.findall(r"\bd4d_[a-z_]+", text))
    there = {name for name, *_ in samples(all_of_them())}
    assert used
    assert used - there == set()


def test_each_metric_is_documented_once() -> None:
    page = (ROOT / "docs" / "operate" / "monitoring.md").read_text()
    section = page.partition("<!-- metrics: begin")[2].partition("<!-- metrics: end")[0]
    documented = re.findall(r"^\| `(d4d_[a-z_]+)` \|", section, re.MULTILINE)
    there = {
        re.sub(r"_(bucket|sum|count)$", "", name)
        for name, *_ in samples(all_of_them())
        if name.startswith("d4d_") and not name.endswith("_created")
    }
    assert sorted(documented) == sorted(there)
