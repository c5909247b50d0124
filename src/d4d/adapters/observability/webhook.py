"""Reports to a web server what an operator must hear: signed, one by one, tried again.

A message costs who has it an append. Those that wait are bounded: where nobody takes them the
oldest go, and that is counted and logged. One task sends; it is the only one that waits.
"""

import asyncio
import hmac
import json
from collections import deque
from dataclasses import dataclass
from hashlib import sha256
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from uuid import uuid4

from d4d.adapters.observability.metrics import Metrics
from d4d.domain.events import EventKind, LeaseEvent
from d4d.domain.pools import PoolId
from d4d.domain.ports.clock import Clock
from d4d.domain.utilization import PoolUtilization
from d4d.lazy_import import lazy
from d4d.service_layer import log_messages as log
from d4d.service_layer.concurrency.supervised_task import forever

if TYPE_CHECKING:
    import httpx
else:
    httpx = lazy("httpx")

TIMESTAMP, SIGNATURE = "D4D-Timestamp", "D4D-Signature"
"""The headers: seconds since 1970, and ``sha256=`` with the HMAC of ``TIMESTAMP.BODY`` in hex."""
NEARLY_FULL = "pool_nearly_full"

_REPORTED = frozenset({EventKind.LOST, EventKind.CONFLICT})
_AWAY = frozenset({408, 425, 429, 502, 503, 504})  # not the receiver's word on this message
_MOST_ERRORS = 10  # of the receiver's own to one message; then it is given up
_LAST_WORDS = 2.0  # seconds at the end for what still waits


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How a receiver is treated that does not take what it is sent; in seconds."""

    patience: float = 10.0
    """For one request, from the connection to the answer's status."""
    first: float = 1.0
    """Until it is tried again; twice as long each time."""
    longest: float = 300.0
    most_waiting: int = 1000
    """Messages."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Outcome:
    """What became of one request."""

    result: str
    """sent, refused (by its receiver, for good), error (of its receiver), away"""
    why: str = ""


class Webhook:
    """A listener to events and to the pool monitor."""

    def __init__(
        self,
        url: str,
        *,
        secret: bytes | None,
        host: str,
        clock: Clock,
        metrics: Metrics,
        pace: Pace | None = None,
    ) -> None:
        """``host`` is our name in what is sent; without ``secret`` nothing is signed.

        ``url`` may be a secret: it is never printed, its host is.
        """
        self._url = url
        self._receiver = urlsplit(url).hostname or ""
        self._secret = secret
        self._host = host
        self._clock = clock
        self._metrics = metrics
        self._pace = pace or Pace()
        self._waiting: deque[bytes] = deque()
        self._sending: bytes | None = None
        self._news = asyncio.Event()
        self._dropped = 0
        self._trouble = ""
        self._task: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"<Webhook {self._receiver}, {self.waiting} waiting>"

    @property
    def waiting(self) -> int:
        """How many messages are still to be sent."""
        return len(self._waiting) + (self._sending is not None)

    def start(self) -> None:
        """Begin to send."""
        self._task = forever("webhook", self._send_all)

    async def aclose(self) -> None:
        """Send what waits, if the receiver takes it within a moment."""
        if self._task is None:
            return
        try:
            async with asyncio.timeout(0 if self._trouble else _LAST_WORDS):
                while self.waiting:  # noqa: ASYNC110 - the task tells nobody when it is idle
                    await asyncio.sleep(0.01)
        except TimeoutError:
            log.webhook_messages_unsent(count=self.waiting)
            self._metrics.delivered("dropped", self.waiting)
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    def record(self, event: LeaseEvent) -> None:
        """Report ``event`` if it is one of those (ports.EventSink)."""
        if event.kind not in _REPORTED:
            return
        endpoint = event.endpoint
        self._enqueue(
            kind=event.kind.value,
            at=event.at.isoformat(),
            pool=event.pool,
            address=str(event.address),
            mac=str(endpoint.mac) if endpoint else None,
            name=endpoint.name if endpoint else None,
            detail=event.detail,
        )

    def nearly_full(self, pool: PoolId, fill: PoolUtilization) -> None:
        """Report that ``pool`` is nearly full."""
        self._enqueue(
            kind=NEARLY_FULL,
            at=self._clock().isoformat(),
            pool=pool,
            detail=f"{fill.free} of {fill.size} addresses are free",
            size=fill.size,
            used=fill.used,
            reserved=fill.reserved,
            free=fill.free,
        )

    def _enqueue(self, **fields: Any) -> None:
        if len(self._waiting) >= self._pace.most_waiting:
            self._waiting.popleft()
            self._metrics.delivered("dropped")
            if not self._dropped:
                log.webhook_messages_dropped(waiting=self.waiting)
            self._dropped += 1
        message = {"id": str(uuid4()), "host": self._host, **fields}
        self._waiting.append(json.dumps(message).encode())
        self._news.set()

    # Behind

    async def _send_all(self) -> None:
        # reading CA certificates takes a while, which others' renewals must not wait for
        client = await asyncio.to_thread(httpx.AsyncClient)
        async with client:
            while True:
                await self._news.wait()
                self._news.clear()
                while self._waiting:
                    self._sending = self._waiting.popleft()
                    try:
                        await self._deliver(client, self._sending)
                    except Exception:  # the next step sends it, and those behind it
                        self._waiting.appendleft(self._sending)
                        self._news.set()
                        raise
                    finally:
                        self._sending = None

    async def _deliver(self, client: "httpx.AsyncClient", message: bytes) -> None:
        """Send ``message`` until it is taken or refused."""
        pause, errors = self._pace.first, 0
        while True:
            outcome = await self._attempt(client, message)
            errors += outcome.result == "error"
            if outcome.result == "sent":
                self._metrics.delivered("sent")
                self._is_back()
                return
            if outcome.result == "refused" or errors == _MOST_ERRORS:
                self._metrics.delivered("failed")
                log.webhook_message_refused(error=outcome.why, message=message.decode())
                return
            self._metrics.delivered("retried")
            self._is_away(outcome.why)
            await asyncio.sleep(pause)
            pause = min(2 * pause, self._pace.longest)

    async def _attempt(self, client: "httpx.AsyncClient", message: bytes) -> _Outcome:
        headers = {"Content-Type": "application/json", **self._signed(message)}
        try:
            async with (
                asyncio.timeout(self._pace.patience),
                client.stream(
                    "POST", self._url, content=message, headers=headers, timeout=None
                ) as response,
            ):
                status, is_success = response.status_code, response.is_success
        except TimeoutError:
            return _Outcome(result="away", why=f"no answer in {self._pace.patience:g} s")
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            return _Outcome(result="away", why=str(error) or type(error).__name__)
        if is_success:
            return _Outcome(result="sent")
        if status in _AWAY:
            return _Outcome(result="away", why=f"status {status}")
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            return _Outcome(result="error", why=f"status {status}")
        return _Outcome(result="refused", why=f"status {status}")

    def _signed(self, message: bytes) -> dict[str, str]:
        """The headers for one attempt: a receiver may refuse what was signed long ago."""
        if self._secret is None:
            return {}
        stamp = str(int(self._clock().timestamp()))
        digest = hmac.new(self._secret, stamp.encode() + b"." + message, sha256).hexdigest()
        return {TIMESTAMP: stamp, SIGNATURE: f"sha256={digest}"}

    def _is_away(self, why: str) -> None:
        if not self._trouble:
            log.webhook_unreachable(receiver=self._receiver, error=why)
        self._trouble = why

    def _is_back(self) -> None:
        if self._trouble or self._dropped:
            log.webhook_reachable_again(receiver=self._receiver, dropped=self._dropped)
        self._trouble, self._dropped = "", 0
