"""What scripts and the page rely on: names of schemas and of their fields, and how values look."""

import json
from pathlib import Path
from typing import Any

from d4d.entrypoints.admin_api import schemas
from d4d.entrypoints.cli import schemas as cli_schemas
from d4d.settings.loading import load_settings
from tests.support.fake_dockerd import Docker, started
from tests.unit.entrypoints.admin_api.test_app import NET, WEB, Operator

VIRTUAL_TIME = True

GOLDEN = Path(__file__).with_name("schema_fields.json")
"""Each published schema by name, with its fields in their order."""


def test_names_of_schemas_and_fields_stay() -> None:
    assert json.loads(GOLDEN.read_text()) == published_fields()


def published_fields() -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, schema in schemas.published((*schemas.RESPONSES, *cli_schemas.RESPONSES)).items():
        parts: dict[str, Any] = {name: schema} | schema.get("$defs", {})
        for each, part in parts.items():
            assert part["title"] == each
            found[each] = list(part["properties"])
    return found


async def test_a_lease_looks_as_it_always_did(tmp_path: Path) -> None:
    async with started(Docker(tmp_path)) as docker:
        await docker.ask("RequestPool", NET)
        operator = Operator(docker, load_settings(files=()))
        address = await operator.run(WEB, "web")
        answer = await operator.get(f"/api/leases/{address}")
    assert answer == {"lease": LEASE, "history": []}


LEASE: dict[str, Any] = {
    "pool": "192.168.59.0/24",
    "address": "192.168.59.1",
    "mac": WEB,
    "name": "web",
    "state": "bound",
    "host": "host-a",
    "hostname": None,
    "client_id": "0242c0a83b0a",
    "generation": 1,
    "acquired_at": "2026-01-01T12:00:00Z",
    "bound_at": "2026-01-01T12:00:00Z",
    "renew_at": "2026-01-01T12:30:00Z",
    "rebind_at": None,
    "expires_at": "2026-01-01T13:00:00Z",
    "released_at": None,
    "overdue": False,
    "terms": {
        "server": "192.168.59.2",
        "lease_time": 3600.0,
        "renewal_time": None,
        "rebinding_time": None,
        "subnet_mask": None,
        "routers": [],
        "dns_servers": [],
        "ntp_servers": [],
        "domain": None,
        "mtu": None,
        "static_routes": [],
    },
}
