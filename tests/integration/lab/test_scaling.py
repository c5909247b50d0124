"""What a lease costs Redis is what docs/performance/many-hosts.md says: counts."""

from pathlib import Path

import pytest

from lab.scaling import measure
from lab.scaling_report import Size, write

SIZE = Size(hosts=6, containers=20, releasing=3, processes=2, at_once=2)
LEASES = SIZE.hosts * SIZE.containers
RELEASED = SIZE.releasing * SIZE.containers


def test_a_lease_costs_redis_what_the_guide_says(tmp_path: Path) -> None:
    results = measure(SIZE, tmp_path)
    assert results["allocate"]["scripts"] == LEASES
    assert results["allocate"]["round_trips"] == pytest.approx(LEASES, rel=0.1)
    assert results["release"]["scripts"] == pytest.approx(3 * RELEASED, rel=0.1)
    assert results["heartbeat"]["scripts"] == SIZE.hosts
    assert results["allocate"]["memory"] / LEASES < 2000
    page = tmp_path / "scaling.md"
    page.write_text(
        "before\n<!-- figures: written by scripts/scaling -->\n<!-- end of figures -->\nafter"
    )
    write(SIZE, results, page)
    assert page.read_text().count("\n| ") == 1 + len(results)
