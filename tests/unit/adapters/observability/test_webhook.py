"""What an operator must hear arrives, signed, whatever the receiver does meanwhile."""

import asyncio
import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
import structlog
from prometheus_client.parser import text_string_to_metric_families

from d4d.adapters.observability.metrics import Metrics
from d4d.adapters.observability.webhook import Pace, Webhook
from d4d.domain.addressing import MacAddress
from d4d.domain.events import EventKind, LeaseEvent
from d4d.domain.leases import Endpoint
from d4d.domain.pools import PoolId
from d4d.domain.utilization import PoolUtilization
from d4d.entrypoints.admin_api.schemas import WebhookMessage

BOTH_LOOPS = True

POOL = PoolId("192.168.59.0/24")
SECRET = b"0123456789abcdef"
HANG = -1
QUICK = Pace(patience=1.0, first=0.005, longest=0.02, most_waiting=5)
MONITORING = Path(__file__).parents[4] / "docs" / "operate" / "monitoring.md"


class Receiver:
    """A web server on loopback: it answers as told, then with 204."""

    def __init__(self) -> None:
        self.answers: list[int] = []
        self.requests: list[tuple[dict[str, str], bytes]] = []
        self.taken: list[Any] = []
        """The messages that it answered with success."""
        receiver = self
        self._closing = threading.Event()

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.requests.append((dict(self.headers), body))
                status = receiver.answers.pop(0) if receiver.answers else 204
                if status == HANG:
                    receiver._closing.wait(10)
                    return
                if status == 204:
                    receiver.taken.append(json.loads(body))
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Nothing: the test's output is not its place."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/hook?key=s3cret"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    def close(self) -> None:
        self._closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    yield receiver
    receiver.close()


def webhook_to(url: str, metrics: Metrics | None = None, *, secret: bytes | None = None) -> Webhook:
    return Webhook(
        url,
        secret=secret,
        host="host-a",
        clock=lambda: datetime.now(UTC),
        metrics=metrics or Metrics(),
        pace=QUICK,
    )


def event(kind: EventKind, address: str = "192.168.59.10") -> LeaseEvent:
    return LeaseEvent(
        kind=kind,
        at=datetime(2026, 3, 1, 12, tzinfo=UTC),
        pool=POOL,
        address=ip_address(address),
        endpoint=Endpoint(mac=MacAddress.parse("02:42:c0:a8:3b:0a"), name="web"),
        detail="the server gave it to another",
    )


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 - a webhook tells nobody how far it is
            await asyncio.sleep(0.005)


def deliveries(metrics: Metrics) -> dict[str, float]:
    return {
        sample.labels["result"]: sample.value
        for family in text_string_to_metric_families(metrics.text().decode())
        for sample in family.samples
        if sample.name == "d4d_webhook_deliveries_total" and sample.value
    }


async def test_lost_leases_conflicts_and_full_pools_are_told_as_documented(
    receiver: Receiver,
) -> None:
    metrics = Metrics()
    webhook = webhook_to(receiver.url, metrics)
    webhook.start()
    for kind in EventKind:
        webhook.record(event(kind))
    webhook.nearly_full(POOL, PoolUtilization(size=254, used=240, reserved=4))
    await webhook.aclose()
    messages = [WebhookMessage.model_validate(each) for each in receiver.taken]
    assert [each.kind for each in messages] == ["lost", "conflict", "pool_nearly_full"]
    lost, _, full = messages
    assert (lost.address, lost.mac, lost.name) == ("192.168.59.10", "02:42:c0:a8:3b:0a", "web")
    assert (lost.host, lost.pool, lost.at) == ("host-a", POOL, event(EventKind.LOST).at)
    assert lost.detail == "the server gave it to another"
    assert (full.size, full.used, full.reserved, full.free) == (254, 240, 4, 10)
    assert full.detail == "10 of 254 addresses are free"
    assert len({each.id for each in messages}) == 3
    assert all(each.keys() <= WebhookMessage.model_fields.keys() for each in receiver.taken)
    assert deliveries(metrics) == {"sent": 3}
    headers, _ = receiver.requests[0]
    assert headers["Content-Type"] == "application/json"
    assert "D4D-Signature" not in headers


def documented_check() -> Callable[[dict[str, str], bytes, bytes], bool]:
    (block,) = re.findall(r"^```python\n(.*?)^```$", MONITORING.read_text(), re.M | re.S)
    names: dict[str, Any] = {}
    exec(block, names)
    check: Callable[[dict[str, str], bytes, bytes], bool] = names["is_from_d4d"]
    return check


async def test_the_documented_check_takes_what_is_signed_and_nothing_else(
    receiver: Receiver,
) -> None:
    webhook = webhook_to(receiver.url, secret=SECRET)
    webhook.start()
    webhook.record(event(EventKind.LOST))
    await webhook.aclose()
    is_from_d4d = documented_check()
    ((headers, body),) = receiver.requests
    assert is_from_d4d(headers, body, SECRET)
    assert not is_from_d4d(headers, body + b" ", SECRET)
    assert not is_from_d4d(headers, body, b"another secret..")
    assert not is_from_d4d(headers | {"D4D-Timestamp": str(int(time.time()) - 600)}, body, SECRET)
    assert not is_from_d4d({}, body, SECRET)


async def test_a_receiver_that_fails_and_recovers_gets_each_message_once_and_in_order(
    receiver: Receiver,
) -> None:
    receiver.answers = [503, 500, 429, 204, 502]
    metrics = Metrics()
    webhook = webhook_to(receiver.url, metrics)
    with structlog.testing.capture_logs() as logged:
        webhook.start()
        for last in (10, 11):
            webhook.record(event(EventKind.LOST, f"192.168.59.{last}"))
        await until(lambda: len(receiver.taken) == 2 and not webhook.waiting)
        await webhook.aclose()
    assert [each["address"] for each in receiver.taken] == ["192.168.59.10", "192.168.59.11"]
    assert deliveries(metrics) == {"sent": 2, "retried": 4}
    assert {body for _, body in receiver.requests[:4]} == {receiver.requests[0][1]}
    told = [line["event"] for line in logged]
    assert told == ["webhook_unreachable", "webhook_reachable_again"] * 2


async def test_a_receiver_that_hangs_is_let_go_and_tried_again(receiver: Receiver) -> None:
    receiver.answers = [HANG]
    webhook = webhook_to(receiver.url)
    webhook.start()
    with structlog.testing.capture_logs() as logged:
        webhook.record(event(EventKind.LOST))
        await until(lambda: len(receiver.taken) == 1)
    assert logged[0]["error"] == "no answer in 1 s"
    await webhook.aclose()


async def test_a_message_that_is_refused_is_not_sent_again(receiver: Receiver) -> None:
    receiver.answers = [401]
    metrics = Metrics()
    webhook = webhook_to(receiver.url, metrics)
    webhook.start()
    with structlog.testing.capture_logs() as logged:
        webhook.record(event(EventKind.LOST))
        webhook.record(event(EventKind.CONFLICT))
        await until(lambda: len(receiver.taken) == 1 and webhook.waiting == 0)
    assert [each["kind"] for each in receiver.taken] == ["conflict"]
    (line,) = logged
    assert (line["event"], line["log_level"]) == ("webhook_message_refused", "error")
    assert json.loads(line["message"])["kind"] == "lost"
    await webhook.aclose()
    assert deliveries(metrics) == {"failed": 1, "sent": 1}


async def test_a_message_at_which_the_receiver_fails_again_and_again_holds_up_no_other(
    receiver: Receiver,
) -> None:
    receiver.answers = [500] * 10
    metrics = Metrics()
    webhook = webhook_to(receiver.url, metrics)
    webhook.start()
    webhook.record(event(EventKind.LOST))
    webhook.record(event(EventKind.CONFLICT))
    await until(lambda: len(receiver.taken) == 1)
    await until(lambda: webhook.waiting == 0)  # it has heard the answer
    await webhook.aclose()
    assert [each["kind"] for each in receiver.taken] == ["conflict"]
    assert deliveries(metrics) == {"retried": 9, "failed": 1, "sent": 1}


async def test_of_too_many_that_wait_the_oldest_go_and_are_counted(receiver: Receiver) -> None:
    receiver.answers = [HANG]
    metrics = Metrics()
    webhook = webhook_to(receiver.url, metrics)
    webhook.start()
    webhook.record(event(EventKind.LOST, "192.168.59.9"))
    await until(lambda: bool(receiver.requests))
    with structlog.testing.capture_logs() as logged:
        for last in range(100, 120):
            webhook.record(event(EventKind.LOST, f"192.168.59.{last}"))
        assert webhook.waiting == 6
        await until(lambda: len(receiver.taken) == 6)
    addresses = [each["address"].rpartition(".")[2] for each in receiver.taken]
    assert addresses == ["9", "115", "116", "117", "118", "119"]
    counted = {"dropped": 15, "retried": 1, "sent": 6}
    await until(lambda: deliveries(metrics) == counted)  # the answer to the last is on its way
    assert [line["event"] for line in logged].count("webhook_messages_dropped") == 1
    assert logged[-1]["dropped"] == 15
    await webhook.aclose()


async def test_telling_takes_no_time_and_the_end_is_not_held_up_by_a_receiver_that_is_away(
    receiver: Receiver,
) -> None:
    receiver.close()
    metrics = Metrics()
    webhook = webhook_to(receiver.url, metrics)
    webhook.start()
    began = time.thread_time()  # of ours: a machine that is busy takes longer
    for _ in range(1000):
        webhook.record(event(EventKind.LOST))
    assert time.thread_time() - began < 0.5
    with structlog.testing.capture_logs() as logged:
        await until(lambda: deliveries(metrics).get("retried", 0) > 1)
        before = deliveries(metrics)["retried"]
        await webhook.aclose()
    # One may be under way. The 2 s that a receiver gets that can be reached are for a hundred.
    assert deliveries(metrics)["retried"] - before <= 2
    assert [line["event"] for line in logged] == [
        "webhook_unreachable",
        "webhook_messages_unsent",
    ]
    assert not any("s3cret" in str(line) or "/hook" in str(line) for line in logged)
    assert deliveries(metrics)["dropped"] == 1000


async def test_nothing_of_the_url_but_its_host_is_in_its_print(receiver: Receiver) -> None:
    assert repr(webhook_to(receiver.url)) == "<Webhook 127.0.0.1, 0 waiting>"


async def test_a_bug_in_one_attempt_ends_nothing_and_loses_nothing(receiver: Receiver) -> None:
    told = list[object]()
    asyncio.get_running_loop().set_exception_handler(lambda _, said: told.append(said))
    webhook = webhook_to(receiver.url)
    attempt, faults = webhook._attempt, iter([OSError("Too many open files")])

    async def faulty(*given: Any) -> Any:
        if fault := next(faults, None):
            raise fault
        return await attempt(*given)

    webhook._attempt = faulty  # type: ignore[method-assign, assignment]  # a bug of its own
    webhook.start()
    webhook.record(event(EventKind.LOST, "192.168.59.10"))
    webhook.record(event(EventKind.LOST, "192.168.59.11"))
    await until(lambda: len(receiver.taken) == 2)
    await webhook.aclose()
    assert [each["address"] for each in receiver.taken] == ["192.168.59.10", "192.168.59.11"]
    assert len(told) == 1
