"""The operator's API for reservations."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from d4d.entrypoints.admin_api import schemas
from d4d.settings.loading import load_settings
from tests.support.fake_dockerd import Docker, started
from tests.unit.entrypoints.admin_api.test_app import NET, POOL_ID, WEB, Operator

VIRTUAL_TIME = True

MARKED = {"X-D4D-Operator": "1"}


@pytest.fixture
async def operator(tmp_path: Path) -> AsyncIterator[Operator]:
    async with started(Docker(tmp_path)) as docker:
        await docker.ask("RequestPool", NET)
        yield Operator(docker, load_settings(files=()))


async def ask(
    operator: Operator, method: str, address: str = "", status: int = 200, **query: str
) -> Any:
    path = f"/api/reservations/{address}" if method == "DELETE" else "/api/reservations"
    query = {"pool": POOL_ID, "address": address} | query
    response = await operator.client.request(method, path, params=query, headers=MARKED)
    assert response.status_code == status, response.text
    return response.json()


async def test_a_reservation_is_made_listed_counted_and_taken_away(operator: Operator) -> None:
    query = {"for": "web", "note": "why"}
    made = schemas.ReservedResponse.model_validate(
        await ask(operator, "POST", "192.168.59.9", 201, **query)
    )
    assert (made.reservation.name, made.reservation.note) == ("web", "why")
    assert any("from 29 on" in each for each in made.warnings)
    listed = schemas.ReservationsResponse.model_validate(await ask(operator, "GET"))
    assert listed.reservations == [made.reservation]
    assert (await operator.get("/api/pools"))["pools"][0]["reserved"] == 1
    removed = await ask(operator, "DELETE", "192.168.59.9")
    assert removed["address"] == "192.168.59.9"
    assert (await ask(operator, "GET"))["reservations"] == []
    assert "no reservation" in (await ask(operator, "DELETE", "192.168.59.9", 404))["error"]


@pytest.mark.parametrize(
    ("address", "query", "status", "why"),
    [
        ("10.0.0.1", {}, 400, "not in the pool's subnet"),
        ("192.168.59.255", {}, 400, "broadcast"),
        ("192.168.59.9", {"for": " "}, 400, "names nobody"),
        ("192.168.59.9", {"for": "02:42"}, 400, "malformed"),
        ("192.168.59.9", {"pool": "10.9.0.0/16"}, 404, "known are 192.168.59.0/24"),
    ],
)
async def test_what_can_not_be_reserved_is_refused_with_the_reason(
    operator: Operator, address: str, query: dict[str, str], status: int, why: str
) -> None:
    assert why in (await ask(operator, "POST", address, status, **query))["error"]


async def test_a_leased_address_is_reserved_with_a_warning(operator: Operator) -> None:
    address = await operator.run(WEB, "web")
    answer = await ask(operator, "POST", address, 201, **{"for": "02:42:0a:00:00:01"})
    assert any(f"{address} is leased to web" in each for each in answer["warnings"])


async def test_without_our_header_nothing_is_reserved(operator: Operator) -> None:
    query = {"pool": POOL_ID, "address": "192.168.59.9"}
    response = await operator.client.post("/api/reservations", params=query)
    assert response.status_code == 400
    assert (await ask(operator, "GET"))["reservations"] == []
