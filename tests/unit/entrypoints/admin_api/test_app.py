"""The operator's API: what it answers, to whom, and when it refuses."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from d4d.domain.errors import NoAddress
from d4d.domain.events import EventKind
from d4d.domain.leases import LeaseState
from d4d.entrypoints.admin_api import schemas
from d4d.entrypoints.admin_api.app import create_admin_app
from d4d.entrypoints.cli import schemas as cli_schemas
from d4d.entrypoints.docker_plugin.app import driver_of
from d4d.operations.view import OperatorView
from d4d.service_layer.concurrency.supervised_task import forever
from d4d.settings.loading import load_settings
from d4d.settings.model import Settings
from tests.support.fake_dockerd import Docker, started
from tests.support.virtual_time import settle

VIRTUAL_TIME = True

NET = '{"Pool": "192.168.59.0/24"}'
POOL_ID = "192.168.59.0/24"
WEB, DB = "02:42:c0:a8:3b:0a", "02:42:c0:a8:3b:0b"
TOKEN = "0123456789abcdef"


class Operator:
    """A client of the admin app of one driver."""

    def __init__(self, docker: Docker, settings: Settings) -> None:
        self.docker = docker
        app = create_admin_app(self._operations, settings=settings, given=("debug",))
        self.client = httpx.AsyncClient(
            transport=httpx.ASGITransport(app), base_url="http://127.0.0.1:8053"
        )

    def _operations(self) -> OperatorView | None:
        driver = driver_of(self.docker.app)
        return driver.driver.view if driver else None

    async def get(self, path: str, status: int = 200, /, **query: str) -> Any:
        response = await self.client.get(path, params=query or None)
        assert response.status_code == status, response.text
        return response.json()

    async def release(self, address: str, status: int = 200, /, **query: str) -> Any:
        response = await self.client.post(
            f"/api/leases/{address}/release", params=query, headers={"X-D4D-Operator": "1"}
        )
        assert response.status_code == status, response.text
        return response.json()

    async def run(self, mac: str, name: str = "", pool: str = POOL_ID) -> str:
        """Docker starts a container."""
        options = {
            "com.docker.network.endpoint.macaddress": mac,
            "com.docker.network.endpoint.name": name,
        }
        body = json.dumps({"PoolID": pool, "Address": "", "Options": options})
        answer = await self.docker.ask("RequestAddress", body)
        await asyncio.sleep(0)  # the event is told
        return str(answer["Address"]).partition("/")[0]


@pytest.fixture
async def operator(tmp_path: Path) -> AsyncIterator[Operator]:
    async with started(Docker(tmp_path)) as docker:
        await docker.ask("RequestPool", NET)
        yield Operator(docker, load_settings(files=()))


# Pools and leases


async def test_a_pool_tells_how_full_it_is(operator: Operator) -> None:
    await operator.docker.ask("RequestAddress", gateway())
    await operator.run(WEB)
    answer = schemas.PoolsResponse.model_validate(await operator.get("/api/pools"))
    (pool,) = answer.pools
    assert (pool.id, pool.subnet, pool.networks) == (POOL_ID, POOL_ID, 1)
    assert (pool.size, pool.used, pool.reserved, pool.free) == (254, 1, 1, 252)
    assert [each.purpose for each in pool.reservations] == ["gateway"]


def gateway() -> str:
    options = {"RequestAddressType": "com.docker.network.gateway"}
    return json.dumps({"PoolID": POOL_ID, "Address": "192.168.59.254", "Options": options})


async def test_a_lease_tells_all_that_is_known_of_it(operator: Operator) -> None:
    address = await operator.run(WEB, "web")
    answer = schemas.LeaseResponse.model_validate(await operator.get(f"/api/leases/{address}"))
    lease = answer.lease
    assert (lease.pool, lease.mac, lease.name, lease.state) == (POOL_ID, WEB, "web", "bound")
    assert lease.host == "host-a"
    assert lease.expires_at == operator.docker.clock() + timedelta(hours=1)
    assert lease.terms is not None and lease.terms.lease_time == 3600
    assert not lease.overdue


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({}, ["web", "db"]),
        ({"name": "web"}, ["web"]),
        ({"name": "w*"}, ["web"]),
        ({"mac": DB}, ["db"]),
        ({"state": "bound"}, ["web", "db"]),
        ({"state": "lost"}, []),
        ({"pool": POOL_ID}, ["web", "db"]),
        ({"pool": "10.0.0.0/8"}, []),
        ({"host": "host-b"}, []),
    ],
)
async def test_leases_are_filtered(
    operator: Operator, query: dict[str, str], found: list[str]
) -> None:
    for mac, name in ((WEB, "web"), (DB, "db")):
        await operator.run(mac, name)
    answer = schemas.LeasesResponse.model_validate(await operator.get("/api/leases", **query))
    assert [each.name for each in answer.leases] == found


async def test_a_freed_lease_is_shown_to_who_asks_for_it_only(operator: Operator) -> None:
    address = await operator.run(WEB)
    await operator.docker.ask("ReleaseAddress", json.dumps({"PoolID": POOL_ID, "Address": address}))
    await settle()
    assert (await operator.get("/api/leases"))["leases"] == []
    (freed,) = (await operator.get("/api/leases", state="freed"))["leases"]
    assert freed["address"] == address


@pytest.mark.parametrize(
    ("path", "status", "error"),
    [
        ("/api/leases?state=gone", 400, "unknown state 'gone': known are bound, "),
        ("/api/leases?mac=web", 400, "MAC address 'web' is malformed"),
        ("/api/leases/nine", 400, "address 'nine' is no IP address"),
        ("/api/leases/192.168.59.9", 404, "no lease of 192.168.59.9"),
        ("/api/history?kind=gone", 400, "unknown kind 'gone'"),
        ("/api/history?limit=0", 400, "limit '0' is none"),
        ("/api/history?what=192.168.59.9&at=noon", 400, "'noon' is no time"),
        ("/api/history?what=192.168.59.9&at=2026-01-01", 400, "no history is kept"),
        ("/api/events?kind=gone", 400, "unknown kind 'gone'"),
        ("/api/nothing", 404, "no such thing here"),
    ],
)
async def test_what_makes_no_sense_is_refused_in_words(
    operator: Operator, path: str, status: int, error: str
) -> None:
    answer = schemas.ErrorResponse.model_validate(await operator.get(path, status))
    assert answer.error.startswith(error)


async def test_an_address_in_two_pools_needs_its_pool(operator: Operator) -> None:
    other = await operator.docker.ask(
        "RequestPool", '{"Pool": "192.168.59.0/24", "Options": {"parent": "eth1"}}'
    )
    first = await operator.run(WEB)
    operator.docker.allocator.bindings.clear()  # another wire, another server
    second = await operator.run(DB, pool=str(other["PoolID"]))
    assert first == second
    refused = await operator.get(f"/api/leases/{first}", 409)
    assert POOL_ID in refused["error"] and str(other["PoolID"]) in refused["error"]
    answer = await operator.get(f"/api/leases/{first}", pool=str(other["PoolID"]))
    assert answer["lease"]["pool"] == other["PoolID"]


# Release


async def test_an_operator_releases_a_lease(operator: Operator) -> None:
    address = await operator.run(WEB)
    released = schemas.LeaseSchema.model_validate(await operator.release(address))
    assert released.state == "released"
    await settle()
    assert [str(each) for each in operator.docker.allocator.freed] == [address]
    refused = await operator.release(address, 404)
    assert refused["error"] == f"no lease of {address}"


async def test_a_release_without_our_header_changes_nothing(operator: Operator) -> None:
    address = await operator.run(WEB)
    response = await operator.client.post(f"/api/leases/{address}/release")
    assert response.status_code == 400
    assert (await operator.get(f"/api/leases/{address}"))["lease"]["state"] == "bound"


async def test_a_release_is_not_had_by_reading(operator: Operator) -> None:
    address = await operator.run(WEB)
    await operator.get(f"/api/leases/{address}/release", 405)


# Health


async def test_a_driver_that_can_work_is_ready(operator: Operator) -> None:
    answer = schemas.HealthResponse.model_validate(await operator.get("/readyz"))
    assert answer.ok
    names = [check.name for check in answer.checks]
    assert names == ["store", "parents", "links", "servers", "renewals", "tasks"]
    assert schemas.HealthResponse.model_validate(await operator.get("/healthz")).ok


async def failing(operator: Operator) -> dict[str, str]:
    answer = schemas.HealthResponse.model_validate(await operator.get("/readyz", 503))
    assert not answer.ok
    return {check.name: check.detail for check in answer.checks if not check.ok}


async def test_a_store_that_is_away_is_told(operator: Operator) -> None:
    operator.docker.store.is_away = True
    await operator.docker.post("IpamDriver.RequestPool", '{"Pool": "10.0.0.0/8"}')
    assert await failing(operator) == {"store": "the store is away"}
    operator.docker.store.is_away = False
    await operator.run(WEB)
    await operator.get("/readyz")


async def test_a_link_that_hears_nothing_is_told(operator: Operator) -> None:
    operator.docker.allocator.silent = {"eth0": "5 requests since noon, and nothing was heard"}
    said = await failing(operator)
    assert said == {"links": "eth0: 5 requests since noon, and nothing was heard"}
    operator.docker.allocator.silent = {}
    await operator.get("/readyz")


async def test_a_task_that_fails_is_named_until_it_goes_on(operator: Operator) -> None:
    works = asyncio.Event()

    async def step() -> None:
        if not works.is_set():
            raise OSError("Too many open files")
        await asyncio.sleep(1)

    asyncio.get_running_loop().set_exception_handler(lambda *_: None)
    task = forever("heartbeat", step)
    await settle(0.1)
    said = (await failing(operator))["tasks"]
    assert said.startswith("heartbeat failed 1 times since 20")
    assert "Too many open files" in said
    assert "d4d_tasks_failing 1.0" in (await operator.client.get("/metrics")).text
    works.set()
    await settle(5)
    await operator.get("/readyz")
    task.cancel()


async def test_what_is_just_on_its_way_to_the_store_is_no_trouble(operator: Operator) -> None:
    await operator.release(await operator.run(WEB))
    await settle(0.01)  # the server was told, and that is stored behind
    assert "d4d_store_unwritten 1.0" in (await operator.client.get("/metrics")).text
    await operator.get("/readyz")


async def test_a_server_that_is_silent_is_told_until_it_answers(operator: Operator) -> None:
    operator.docker.allocator.allocate_fails = NoAddress("no DHCP server answered")
    options = {"com.docker.network.endpoint.macaddress": WEB}
    body = json.dumps({"PoolID": POOL_ID, "Address": "", "Options": options})
    await operator.docker.fail("RequestAddress", body, 503)
    assert "no DHCP server answered (at " in (await failing(operator))["servers"]
    operator.docker.allocator.allocate_fails = None
    await operator.run(WEB)
    await operator.get("/readyz")


async def test_renewals_that_are_late_are_told(operator: Operator) -> None:
    address = await operator.run(WEB)
    await asyncio.sleep(32 * 60)
    assert await failing(operator) == {"renewals": f"1 late: {address}"}
    (lease,) = (await operator.get("/api/leases"))["leases"]
    assert lease["overdue"]


async def test_a_parent_that_is_not_there_is_told(operator: Operator) -> None:
    await operator.docker.ask(
        "RequestPool", '{"Pool": "10.0.0.0/8", "Options": {"parent": "no-such0"}}'
    )
    assert await failing(operator) == {"parents": "no-such0 is not there"}


async def test_before_and_after_the_driver_nothing_is_ready(tmp_path: Path) -> None:
    operator = Operator(Docker(tmp_path), load_settings(files=()))
    assert (await failing(operator))["driver"] == "starting, or stopping"
    assert "starting" in (await operator.get("/api/pools", 503))["error"]
    await operator.get("/healthz")
    async with started(operator.docker):
        await operator.get("/readyz")
    await operator.get("/readyz", 503)


# Metrics


async def test_metrics_tell_of_pools_leases_events_and_calls(operator: Operator) -> None:
    await operator.run(WEB)
    text = (await operator.client.get("/metrics")).text
    found = {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    assert found["d4d_pool_size_addresses", POOL_ID] == 254
    assert found["d4d_pool_addresses", POOL_ID, "used"] == 1
    assert found["d4d_pool_addresses", POOL_ID, "free"] == 253
    assert found["d4d_leases", POOL_ID, "bound"] == 1
    assert found["d4d_leases", POOL_ID, "lost"] == 0
    assert found["d4d_lease_events_total", "acquired"] == 1
    assert found["d4d_lease_events_total", "lost"] == 0
    assert found["d4d_exchange_duration_seconds_count", "allocate", "dhcp", "ok"] == 1
    assert found["d4d_store_duration_seconds_count", "add", "ok"] == 1
    assert found["d4d_leases_overdue",] == 0
    assert found["d4d_event_loop_tasks",] > 0


# Events


@asynccontextmanager
async def following(operator: Operator, path: str) -> AsyncIterator[asyncio.Queue[str]]:
    """What the stream at ``path`` sends: httpx's ASGI transport has no answer before its end."""
    app = operator.client._transport.app  # type: ignore[attr-defined]  # see above
    sent: asyncio.Queue[str] = asyncio.Queue()
    route, _, query = path.partition("?")
    scope = {
        "type": "http",
        "method": "GET",
        "path": route,
        "query_string": query.encode(),
        "headers": [(b"host", b"localhost")],
    }

    async def receive() -> dict[str, Any]:
        await asyncio.Event().wait()
        raise AssertionError

    async def send(message: dict[str, Any]) -> None:
        if message.get("body"):
            sent.put_nowait(message["body"].decode())

    task = asyncio.create_task(app(scope, receive, send))
    try:
        assert (await sent.get()).startswith(":")
        yield sent
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_events_are_told_as_they_happen(operator: Operator) -> None:
    async with following(operator, "/api/events") as sent:
        await settle()
        address = await operator.run(WEB, "web")
        kind, data = (await sent.get()).strip().split("\n")
        assert kind == "event: acquired"
        event = schemas.EventSchema.model_validate_json(data.removeprefix("data: "))
        assert (event.address, event.name, event.host) == (address, "web", "host-a")


async def test_a_stream_tells_kinds_that_are_asked_for_and_its_pulse(operator: Operator) -> None:
    async with following(operator, "/api/events?kind=lost") as sent:
        await settle()
        address = await operator.run(WEB)
        assert await sent.get() == ": nothing happened\n\n"
        operator.docker.allocator.renews(address, kind=EventKind.LOST)
        assert (await sent.get()).startswith("event: lost\n")


# Settings


async def test_settings_are_told_with_their_source_and_without_secrets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("D4D_ADMIN_TOKEN", TOKEN)
    monkeypatch.setenv("D4D_HOLD", "90s")
    operator = Operator(Docker(tmp_path), load_settings(files=(), debug=True))
    response = await operator.client.get("/api/config")
    assert TOKEN not in response.text
    answer = schemas.ConfigResponse.model_validate(response.json())
    told = {each.name: (each.value, each.source) for each in answer.settings}
    assert told["D4D_HOLD"] == ("1m30s", "environment D4D_HOLD")
    assert told["D4D_ADMIN_TOKEN"] == ("**********", "environment D4D_ADMIN_TOKEN")
    assert told["D4D_DEBUG"] == ("true", "command line")
    assert told["D4D_STORE"] == ("sqlite", "default")


# Who may ask


def tcp(tmp_path: Path, bind: str, token: str | None = TOKEN) -> Operator:
    given = {"admin_bind": bind} | ({"admin_token": token} if token else {})
    return Operator(Docker(tmp_path), load_settings(files=(), **given))


async def test_a_token_is_asked_for_on_tcp(tmp_path: Path) -> None:
    operator = tcp(tmp_path, "0.0.0.0:8053")
    for headers in ({}, {"Authorization": "Bearer wrong"}):
        response = await operator.client.get("/healthz", headers=headers)
        assert response.status_code == 401
        assert "D4D_ADMIN_TOKEN" in response.json()["error"]
    right = {"Authorization": f"Bearer {TOKEN}"}
    assert (await operator.client.get("/healthz", headers=right)).status_code == 200


async def test_loopback_without_a_token_is_for_this_host_only(tmp_path: Path) -> None:
    operator = tcp(tmp_path, "127.0.0.1:8053", None)
    for host in ("127.0.0.1:8053", "localhost:8053", "[::1]:8053"):
        response = await operator.client.get("/healthz", headers={"Host": host})
        assert response.status_code == 200
    elsewhere = await operator.client.get("/healthz", headers={"Host": "evil.example:8053"})
    assert elsewhere.status_code == 403


PAGE_OF_OURS = {"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "cors"}
TYPED = {"Sec-Fetch-Site": "none", "Sec-Fetch-Mode": "navigate"}
LINKED = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
ELSEWHERE = [
    {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"},
    {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "cors", "Origin": "https://evil.example"},
    {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "no-cors"},  # of another port
    {"Origin": "http://127.0.0.1:3000"},  # of a browser that tells no more
    {"Origin": "null"},
    {"Sec-Fetch-Site": "nonsense"},
]


@pytest.mark.parametrize("headers", ELSEWHERE)
@pytest.mark.parametrize(
    "path", ["/api/leases", "/api/events", "/metrics", "/readyz", "/healthz", "/nothing"]
)
async def test_a_page_of_another_site_may_not_even_read(
    operator: Operator, headers: dict[str, str], path: str
) -> None:
    refused = await operator.client.get(path, headers=headers)
    assert refused.status_code == 403
    assert "may not ask here" in schemas.ErrorResponse.model_validate(refused.json()).error
    operator.docker.allocator.freed.clear()
    marked = headers | {"X-D4D-Operator": "1"}
    refused = await operator.client.post("/api/leases/192.168.59.9/release", headers=marked)
    assert refused.status_code == 403


async def test_a_link_elsewhere_leads_to_the_page_and_to_nothing_else(operator: Operator) -> None:
    for path, status in {"/": 200, "/page/main.js": 200, "/api/leases": 403}.items():
        assert (await operator.client.get(path, headers=LINKED)).status_code == status
    embedded = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}
    assert (await operator.client.get("/", headers=embedded)).status_code == 403


@pytest.mark.parametrize("headers", [{}, PAGE_OF_OURS, TYPED, {"Origin": "http://127.0.0.1:8053"}])
async def test_our_page_and_who_is_no_browser_are_answered(
    operator: Operator, headers: dict[str, str]
) -> None:
    for path in ("/", "/api/leases", "/metrics", "/readyz"):
        assert (await operator.client.get(path, headers=headers)).status_code == 200


# Bounds


@pytest.mark.parametrize(
    ("path", "status", "error"),
    [
        ("/api/leases?name=" + "[" * 254, 400, "name '[[[[[["),
        ("/api/leases?name=" + "[" * 16_000, 400, "name: a value has 1024 characters at most"),
        ("/api/leases?" + "a" * 1100, 400, "aaaaaaaaaaaaaaaaaaaa: a value has"),
        ("/api/leases?mac=" + "0" * 1100, 400, "mac: a value has 1024 characters at most"),
        ("/api/leases?" + "&" * 300, 400, "a query has 200 values at most"),
        ("/api/leases?" + "kind=x&" * 300, 400, "a query has 200 values at most"),
        ("/api/leases/" + "1" * 1100, 414, "a path has 1024 characters at most"),
        ("/page/" + "1" * 1100, 414, "a path has 1024 characters at most"),
        ("/api/history?what=" + "w" * 1100, 400, "what: a value has 1024 characters at most"),
        ("/api/history?limit=" + "9" * 1000, 400, "limit '9999999999"),
        ("/api/history?limit=10001", 400, "limit '10001' is none: give a number up to 10000"),
        ("/api/leases?limit=-1", 400, "limit '-1' is none"),
        ("/api/leases?limit=\u0663\u0663\u0663\u0663\u0663\u0663", 400, "limit '"),
        ("/api/history?after=soon", 400, "'soon' is no time"),
    ],
    ids=lambda given: given[:30] if isinstance(given, str) else None,
)
async def test_what_is_too_long_is_refused_before_anything_is_done_with_it(
    operator: Operator, path: str, status: int, error: str
) -> None:
    answer = schemas.ErrorResponse.model_validate(await operator.get(path, status))
    assert answer.error.startswith(error)
    assert len(answer.error) < 300


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("web", ["web"]),
        ("*", ["web", "web-2", "we[b"]),
        ("we?", ["web"]),
        ("we?*", ["web", "web-2", "we[b"]),
        ("we[[]b", ["we[b"]),
        ("*[!b]", ["web-2"]),
        ("*-[0-9]", ["web-2"]),
        ("WEB", []),
        ("[", []),
        ("[" * 253, []),
        ("*a" * 126, []),
        ("*[!x]?" * 42, []),
        ("", []),
    ],
)
async def test_a_name_may_be_any_pattern_of_a_shells(
    operator: Operator, pattern: str, found: list[str]
) -> None:
    for n, name in enumerate(("web", "web-2", "we[b")):
        await operator.run(f"{WEB[:-2]}2{n}", name)
    answer = await operator.get("/api/leases", name=pattern)
    assert [each["name"] for each in answer["leases"]] == found


async def test_leases_come_in_pages(operator: Operator) -> None:
    addresses = [await operator.run(f"02:42:c0:a8:3c:{n:02x}", f"web-{n}") for n in range(30)]
    found: list[str] = []
    query = {"limit": "7", "name": "web-*"}
    sizes = []
    while True:
        answer = schemas.LeasesResponse.model_validate(await operator.get("/api/leases", **query))
        found += [each.address for each in answer.leases]
        sizes.append(len(answer.leases))
        if answer.next is None:
            break
        query["after"] = answer.next
        if len(found) == 7:  # what is given back meanwhile moves nothing
            await operator.release(addresses[3])
    assert found == addresses
    assert sizes == [7, 7, 7, 7, 2]
    await settle(1.0)  # the server has heard of what was given back, too
    whole = await operator.get("/api/leases")
    assert (len(whole["leases"]), whole["next"]) == (29, None)


async def test_a_page_that_begins_nowhere_is_none(operator: Operator) -> None:
    await operator.run(WEB)
    assert (await operator.get("/api/leases", after="zzz"))["leases"] == []
    assert len((await operator.get("/api/leases", after=""))["leases"]) == 1


async def test_so_many_follow_events_and_no_more(operator: Operator) -> None:
    async with AsyncExitStack() as stack:
        for _ in range(20):
            await stack.enter_async_context(following(operator, "/api/events"))
        refused = await operator.get("/api/events", 503)
        assert refused["error"].startswith("20 follow the events already")
    async with following(operator, "/api/events") as sent:  # they went, so there is room
        await operator.run(WEB)
        assert (await sent.get()).startswith("event: acquired")


async def test_each_answer_has_a_schema(operator: Operator) -> None:
    schema = await operator.get("/api/schema")
    assert len(schema) == len((*schemas.RESPONSES, *cli_schemas.RESPONSES))
    assert schema["LeaseForm"]["properties"]["expires_at"]["description"] == "Null is never"
    assert set(LeaseState) == {
        LeaseState(name)
        for name in schema["LeaseForm"]["properties"]["state"]["description"].split(", ")
    }


# The page


async def test_the_page_may_load_and_run_nothing_of_others(operator: Operator) -> None:
    page = await operator.client.get("/")
    assert page.status_code == 200 and page.headers["content-type"].startswith("text/html")
    assert page.headers["content-security-policy"].startswith(
        "default-src 'none'; script-src 'self'"
    )
    assert "http" not in page.text.replace("http-equiv", "")


async def test_a_browser_that_has_the_page_is_not_sent_it_again(operator: Operator) -> None:
    script = await operator.client.get("/page/main.js")
    assert script.headers["content-type"].startswith("text/javascript")
    known = {"If-None-Match": script.headers["etag"]}
    again = await operator.client.get("/page/main.js", headers=known)
    assert (again.status_code, again.content) == (304, b"")
    await operator.get("/page/nothing.js", 404)


async def test_leases_are_found_by_several_addresses(operator: Operator) -> None:
    first, _, third = [await operator.run(f"{WEB[:-2]}{n}") for n in ("21", "22", "23")]
    answer = await operator.client.get(f"/api/leases?address={first}&address={third}")
    assert [each["address"] for each in answer.json()["leases"]] == [first, third]
