"""A real Prometheus takes D4D's metrics, and its promtool has nothing to say against them."""

import json
import os
import subprocess
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from lab.d4d_driver import Driver
from lab.lab import Lab
from lab.network import Namespace
from lab.plugin_calls import call
from lab.processes import eventually, run

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root")

RULES = Path(__file__).parents[3] / "contrib" / "monitoring" / "prometheus-rules.yml"
ADMIN, PROMETHEUS = "127.0.0.1:8053", "127.0.0.1:9090"
POOL = {
    "AddressSpace": "d4d-local",
    "Pool": "10.79.0.0/29",
    "SubPool": "",
    "Options": {"allocator": "range"},
}
MAC = {"com.docker.network.endpoint.macaddress": "02:42:0a:4f:00:01"}

SCRAPE = f"""
global: {{scrape_interval: 500ms, evaluation_interval: 500ms}}
rule_files: [{RULES}]
scrape_configs:
  - job_name: d4d
    static_configs: [{{targets: ["{ADMIN}"]}}]
"""

SAMPLES = f"""
rule_files: [{RULES}]
evaluation_interval: 1m
tests:
  - name: one pool is nearly full, the other is not
    interval: 1m
    input_series:
      - series: 'd4d_pool_addresses{{instance="docker1", job="d4d", pool="full", state="free"}}'
        values: '5x20'
      - series: 'd4d_pool_addresses{{instance="docker1", job="d4d", pool="empty", state="free"}}'
        values: '250x20'
      - series: 'd4d_pool_size_addresses{{instance="docker1", job="d4d", pool="full"}}'
        values: '254x20'
      - series: 'd4d_pool_size_addresses{{instance="docker1", job="d4d", pool="empty"}}'
        values: '254x20'
    alert_rule_test:
      - eval_time: 2m
        alertname: D4DPoolNearlyFull
        exp_alerts: []
      - eval_time: 8m
        alertname: D4DPoolNearlyFull
        exp_alerts:
          - exp_labels: {{severity: warning, instance: docker1, job: d4d, pool: full}}
            exp_annotations: {{summary: Pool full on docker1 is nearly full}}
  - name: a lease was lost, and no address is in conflict
    interval: 1m
    input_series:
      - series: 'd4d_lease_events_total{{instance="docker1", job="d4d", kind="lost"}}'
        values: '0x5 1x10'
      - series: 'd4d_lease_events_total{{instance="docker1", job="d4d", kind="conflict"}}'
        values: '0x15'
    alert_rule_test:
      - eval_time: 8m
        alertname: D4DLeaseLost
        exp_alerts:
          - exp_labels: {{severity: critical, instance: docker1, job: d4d, kind: lost}}
            exp_annotations:
              summary: A container on docker1 uses an address that it has no lease of
              description: >-
                `d4d leases --state lost` names it; see the event `lost`.
      - eval_time: 8m
        alertname: D4DAddressConflict
        exp_alerts: []
"""


def answers(host: Namespace, query: str) -> list[dict[str, Any]]:
    """What Prometheus answers to ``query``: samples with their labels."""
    url = f"http://{PROMETHEUS}/api/v1/query?query={quote(query)}"
    result: list[dict[str, Any]] = json.loads(get(host, url))["data"]["result"]
    return result


def get(host: Namespace, url: str) -> str:
    """What a GET gets from inside ``host``."""
    program = "import sys, urllib.request as r; print(r.urlopen(sys.argv[1]).read().decode())"
    return host.run(["/usr/bin/python3", "-c", program, url])


def test_prometheus_scrapes_a_driver_and_promtool_finds_its_metrics_clean() -> None:
    with Lab() as lab:
        host = lab.machine("host", lab.switch(), "10.77.0.2/16")
        driver = Driver(
            host,
            socket=host.directory / "talkingdata.sock",
            docker_socket=host.directory / "none.sock",
            settings={"D4D_ADMIN_BIND": ADMIN},
        )
        driver.start()
        pool = call(driver.socket, "IpamDriver.RequestPool", POOL).content["PoolID"]
        asked = {"PoolID": pool, "Address": "", "Options": MAC}
        assert call(driver.socket, "IpamDriver.RequestAddress", asked).status == 200
        config = host.directory / "prometheus.yml"
        config.write_text(SCRAPE)
        prometheus = host.daemon(
            "prometheus",
            [
                "prometheus",
                f"--config.file={config}",
                f"--storage.tsdb.path={host.directory / 'prometheus'}",
                f"--web.listen-address={PROMETHEUS}",
            ],
        )
        prometheus.start(ready=lambda log: "Server is ready to receive web requests" in log)

        (up,) = eventually(
            lambda: answers(host, 'up{job="d4d"} == 1'),
            what=prometheus.logged,
            timeout=timedelta(seconds=20),
        )
        assert up["metric"]["instance"] == ADMIN
        leases = answers(host, f'd4d_leases{{pool="{pool}",state="bound"}}')
        assert [sample["value"][1] for sample in leases] == ["1"]
        taken = answers(host, 'd4d_store_duration_seconds_count{call="take",result="ok"}')
        assert [sample["value"][1] for sample in taken] == ["1"]
        assert answers(host, 'd4d_pool_addresses{state="free"}')
        assert answers(host, "ALERTS") == []

        metrics = get(host, f"http://{ADMIN}/metrics")
        prometheus.stop()
        assert driver.stop() == 0
        assert driver.exceptions() == []
    checked = subprocess.run(
        ["promtool", "check", "metrics"], input=metrics, capture_output=True, text=True, check=False
    )
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, "")


def test_the_alert_rules_are_sound() -> None:
    assert "SUCCESS" in run(["promtool", "check", "rules", RULES])


def test_alerts_fire_for_what_is_wrong_and_for_nothing_else(tmp_path: Path) -> None:
    samples = tmp_path / "samples.yml"
    samples.write_text(SAMPLES)
    assert "SUCCESS" in run(["promtool", "test", "rules", samples])
