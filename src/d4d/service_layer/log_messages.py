"""Every line of the log, in one table: its name, level and fields, what it means, what to do.

Modules import this one as ``log`` and call a message with its fields by keyword, as in
``log.heartbeat_failed(error=str(error))``: mypy refuses any name or field that is not declared
here. A message's docstring says what happened, ``advice`` what to do about it, both in the Markdown
of docs/operate/log-reference.md, which scripts/log_reference writes from them.
"""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Generic, Literal, ParamSpec

import structlog

from d4d.domain.events import EventKind

Level = Literal["debug", "info", "warning", "error"]

_Fields = ParamSpec("_Fields")
_logger = structlog.get_logger()
_NOTHING = "Nothing."
_SEE_ERROR = "See the error."
_REPORT = "Report it, with the traceback."


@dataclass(frozen=True, slots=True, kw_only=True)
class LogMessage(Generic[_Fields]):
    """A kind of log line. To call it writes one."""

    name: str
    level: Level
    fields: tuple[str, ...]
    """What a line says besides; ``exc_info`` is the exception whose traceback it shows."""
    meaning: str
    advice: str

    def __call__(self, *_: _Fields.args, **fields: _Fields.kwargs) -> None:
        """Write a line with ``fields``."""
        getattr(_logger, self.level)(self.name, **fields)


@dataclass(frozen=True, slots=True, kw_only=True)
class EventMessage:
    """How an event is logged. Its fields are those of every event: the event log knows them."""

    level: Level
    meaning: str
    advice: str


def _at(level: Level, *, advice: str) -> Callable[[Callable[_Fields, None]], LogMessage[_Fields]]:
    """Makes a message of a function: its name, its keywords and its docstring."""

    def made(declared: Callable[_Fields, None]) -> LogMessage[_Fields]:
        parameters = inspect.signature(declared).parameters.values()
        return LogMessage(
            name=declared.__name__,
            level=level,
            fields=tuple(each.name for each in parameters if each.kind is each.KEYWORD_ONLY),
            meaning=" ".join((declared.__doc__ or "").split()),
            advice=advice,
        )

    return made


# The driver


@_at("info", advice=_NOTHING)
def serving(*, version: str, plugin_socket: str, operators: str) -> None:
    """D4D has taken up its leases and answers all calls; systemd has been told `READY=1`.
    `operators` is where commands are served.
    """


@_at("error", advice="See [Troubleshooting](troubleshooting.md).")
def start_failed(*, error: str) -> None:
    """D4D does not start."""


@_at("warning", advice="See [Troubleshooting](troubleshooting.md).")
def call_refused(*, call: str, error: str) -> None:
    """A call of Docker's was answered with an error, which its user has seen too."""


@_at("warning", advice=_NOTHING)
def answer_not_heard(*, call: str, answer: object) -> None:
    """Who made a call had closed the connection when its answer was there, as where a `docker run`
    is interrupted. What was had for it was given back.
    """


@_at("warning", advice="See that NTP runs, unless the host slept.")
def clock_jumped(*, seconds: int, cause: str) -> None:
    """The host slept (`cause` is `slept`), or its clock was set (`set`), by `seconds`. All leases
    are confirmed.
    """


@_at("warning", advice="Nothing, if you changed it. Else see `ip link`, and who did.")
def parent_changed(*, link: str, changes: str, formerly: str | None, untold: int) -> None:
    """The interface `link`, which a network stands on: `changes` tells what became of it within a
    moment (`came`, `went`, `renamed`, `replaced` by another of its name, `up`, `down`, `mac`,
    `addresses`), `formerly` its name before. The same again is a line once a minute; `untold`
    counts those that were not logged.
    """


@_at("debug", advice=_NOTHING)
def link_changed(*, link: str, changes: str, formerly: str | None) -> None:
    """An interface on which no network stands: see `parent_changed`."""


@_at("debug", advice=_NOTHING)
def routes_changed() -> None:
    """The host's routes are others: how DHCP servers are reached is decided anew."""


@_at("info", advice=_NOTHING)
def engine_activated() -> None:
    """dockerd was started, or began to use D4D."""


@_at("error", advice=_REPORT)
def call_failed(*, call: str, exc_info: BaseException) -> None:
    """D4D has a bug, and could not answer a call of Docker's. The line has the traceback."""


@_at(
    "error",
    advice="Report it, with the traceback, unless D4D had run out of files or memory.",
)
def background_task_failed(*, task: str, exc_info: BaseException, times: int = 1) -> None:
    """D4D has a bug in what it does beside Docker's calls: `task` says in which part. That is tried
    again, at growing intervals of up to a minute; `/readyz` reports it until it succeeds. The same
    failure is logged once a minute at most; `times` says how often it happened.
    """


@_at("warning", advice="Give the log room.")
def log_lines_lost(*, count: int) -> None:
    """The log could not be written: its disk was full, or its reader had ended or was asleep.
    `count` lines are missing before this one. Docker was served all the same.
    """


@_at("warning", advice="Install the extra, or unset the variables.")
def tracing_unavailable(*, error: str) -> None:
    """OpenTelemetry's variables ask for [traces](monitoring.md#traces), and `d4d[otel]` is not
    installed.
    """


@_at("warning", advice=_NOTHING)
def spans_unsent() -> None:
    """D4D has ended, and the collector did not take its last spans."""


# Docker


@_at(
    "warning",
    advice="Nothing while Docker is down. Else check `D4D_DOCKER_SOCKET`, and that D4D may use it "
    "(group `docker`).",
)
def docker_unavailable(*, error: str) -> None:
    """Docker's API does not answer, so leases are not reconciled with it, and none is freed. Logged
    once until it answers again.
    """


@_at("info", advice=_NOTHING)
def docker_available_again() -> None:
    """Docker's API answers again."""


@_at("warning", advice=_SEE_ERROR)
def reconciliation_interrupted(*, error: str) -> None:
    """The store failed while leases were reconciled with Docker."""


@_at("info", advice=_NOTHING)
def container_missing(*, address: str, mac: str) -> None:
    """A lease has no container in Docker's API. If it is still missing at the next look, the lease
    is released.
    """


@_at("warning", advice="Nothing: its subnet can be used again.")
def unused_pool_released(*, pool: str) -> None:
    """Docker's release of the pool was never heard, and its API shows no network that has it:
    twice, with time between.
    """


@_at(
    "warning",
    advice="Nothing if the network comes back, as a swarm's may. If it is gone for good: "
    "`d4d release` the addresses that the line names.",
)
def network_missing(*, error: str) -> None:
    """Docker's API does not show the network of a pool that Docker never released, so nobody knows
    whether the containers of leases that it does not show still run. Those leases stay, and none of
    them is freed. Logged once until the network is seen again.
    """


@_at(
    "warning",
    advice="See the error: often the parent interface is absent. A container whose address belongs "
    "to another by now must be restarted.",
)
def adoption_failed(*, error: str) -> None:
    """A network or container that Docker has could not be taken up."""


# Operators


@_at("info", advice=_NOTHING)
def reserved_by_operator(*, address: str, segment: str, whom: str, note: str) -> None:
    """`d4d reserve` reserved an address; `whom` says for whom."""


@_at("info", advice=_NOTHING)
def unreserved_by_operator(*, address: str, segment: str, whom: str) -> None:
    """`d4d unreserve` removed a reservation."""


@_at("warning", advice=_NOTHING)
def released_by_operator(*, address: str, pool: str) -> None:
    """`d4d release` was used."""


@_at("warning", advice=_SEE_ERROR)
def admin_api_unavailable(*, bind: str, error: str) -> None:
    """The socket or address of `D4D_ADMIN_BIND` can't be had. Docker is served all the same."""


@_at("error", advice=_REPORT)
def admin_api_failed(*, exc_info: BaseException) -> None:
    """D4D has a bug, and operators are not served any more. The line has the traceback. Docker is
    served all the same.
    """


@_at(
    "warning",
    advice="See who holds them (`ss -xp`, `ss -tp`), and "
    "[What operators may take](web-page.md#what-operators-may-take).",
)
def admin_connections_refused(*, reason: str, connections: int) -> None:
    """All the connections that D4D serves at `D4D_ADMIN_BIND` are in use (`reason`), and
    `connections` more were answered 503. Logged once a minute at most; Docker is served all the
    same.
    """


@_at("error", advice=_REPORT)
def admin_request_failed(*, method: str, target: str, exc_info: BaseException) -> None:
    """D4D has a bug, and answered 500 to a request to the operator's API."""


# The store, and the hosts that share it


@_at("error", advice=_SEE_ERROR)
def serving_without_store(*, error: str) -> None:
    """Redis was away when D4D started, or another machine has this host's name there. Docker's
    calls are answered with an error until that is over; what Docker releases meanwhile is
    remembered.
    """


@_at("info", advice=_NOTHING)
def store_available_again() -> None:
    """The store answers again."""


@_at("warning", advice="See [Redis](shared-store.md#redis).")
def redis_may_lose_leases(*, redis: str, reason: str) -> None:
    """Redis's settings allow it to forget what D4D has stored; `reason` says how. Logged once for
    each start.
    """


@_at("warning", advice=_SEE_ERROR)
def heartbeat_failed(*, error: str) -> None:
    """The store is away, another host drains this one, or another machine has its name. Logged once
    for each reason.
    """


@_at("warning", advice=_NOTHING)
def host_drain_requested(*, host: str, force: bool) -> None:
    """`d4d host drain` was used."""


@_at("warning", advice="See whether that host is off: if only its D4D is, start it.")
def automatic_host_drain_started(*, host: str) -> None:
    """`D4D_RECLAIM=auto`, and for `D4D_HOST_GRACE` this host has heard nothing of another one. That
    one is drained, though it may still run containers.
    """


@_at("warning", advice=_NOTHING)
def host_drained(*, host: str, freed: int, failed: int) -> None:
    """What draining a host has freed, and how many addresses could not be given back."""


@_at("warning", advice=_NOTHING)
def host_drain_failed(*, host: str, error: str) -> None:
    """The host came back, another host was faster, or the store is away. Tried again after
    `D4D_HOST_GRACE`; logged once for each reason.
    """


@_at(
    "warning",
    advice="See the error. `its container still answers`: only that host's D4D is dead, start it. "
    "`nobody was asked`: often this host does not have the network's parent interface. Drain the "
    "host from one that has it, or with `--force` if you know that it is off.",
)
def address_not_reclaimed(*, address: str, error: str) -> None:
    """An address of a drained host is in use, or can't be given back from here. Tried again after
    `D4D_HOST_GRACE`; logged once for each reason.
    """


@_at("warning", advice="See what the store says.")
def ungranted_lease_not_removed(*, address: str, error: str) -> None:
    """A lease was stored while its request was on the way, the server refused it, and the store
    could not remove it. The next start asks for it or releases it.
    """


@_at("debug", advice=_NOTHING)
def claims_in_doubt(*, claims: int, error: str) -> None:
    """The range allocator does not know whether the store has taken these claims: the store still
    does not answer. It is asked again.
    """


# DHCP and ARP


@_at("debug", advice=_NOTHING)
def dhcp_message_sent(*, link: str, length: int, to: str, **fields: object) -> None:
    """D4D sent a DHCP message. See [Packets](#packets)."""


@_at("debug", advice=_NOTHING)
def dhcp_message_received(*, link: str, length: int, **fields: object) -> None:
    """A DHCP message came in that D4D was waiting for. See [Packets](#packets)."""


@_at("debug", advice=_NOTHING)
def dhcp_packet_dropped(*, link: str, error: str) -> None:
    """What came in is not a DHCP message."""


@_at("debug", advice=_NOTHING)
def dhcp_option_left_out(*, option: int, value: str, error: str) -> None:
    """An option of a DHCP message can't be read. The rest of the message is used without it."""


@_at("warning", advice="Report it, with a capture of the packet.")
def dhcp_reply_unreadable(*, link: str, xid: str, error: str, untold: int) -> None:
    """A server's answer to D4D is malformed. Each kind is logged once a minute, and sixteen at
    most; `untold` counts those that were not logged.
    """


@_at("warning", advice="See the error, and `ip link`.")
def dhcp_send_failed(*, link: str, error: str) -> None:
    """A DHCP message could not be sent. It is sent again later."""


@_at("warning", advice="See `ip link`.")
def dhcp_message_unsent(*, link: str, message: str, server: str, error: str) -> None:
    """A RELEASE waited for its server to answer ARP, and could not be sent then. The lease ends by
    itself.
    """


@_at("warning", advice="As the error says.")
def release_unsent(*, address: str, pool: str, mac: str, error: str) -> None:
    """Docker gave an address back, and its server could not be told. Logged once for each; it is
    tried again for as long as the lease runs.
    """


@_at("warning", advice="See `ip link`.")
def dhcp_link_down(*, link: str, error: str) -> None:
    """The socket on a parent or relay address failed. D4D opens it again when it is needed."""


@_at(
    "warning",
    advice="See that the server runs and is on this wire: `tcpdump -ni PARENT port 67 or port 68`.",
)
def dhcp_link_silent(*, link: str, detail: str) -> None:
    """At least three requests went out on this link within five seconds or more, and not one DHCP
    reply was heard, not even one to another host. The link's socket is opened anew, at once and
    then at growing intervals. Logged once for each silence.
    """


@_at("warning", advice="See the error, and `ip route`.")
def dhcp_relay_failed(*, link: str, server: str, error: str) -> None:
    """A message could not be sent to one of several servers."""


@_at("warning", advice="Correct `--subnet`, or find the stray server.")
def foreign_subnet_offered(*, link: str, server: str, offered: str, subnet: str) -> None:
    """When a network was created, a server on the parent offered an address outside of the
    network's `--subnet`.
    """


@_at("warning", advice="Bring the interface up before D4D, or ignore it if it comes later.")
def leases_wait_for_route(*, pool: str, error: str) -> None:
    """The parent of a pool's leases is not there. D4D looks for it every 5 s."""


@_at("warning", advice="See `ip link`.")
def arp_watch_down(*, link: str, error: str) -> None:
    """Conflicts on this parent can't be seen now. D4D looks every second whether the interface is
    back.
    """


# History, pools, webhook


@_at("warning", advice="See the error: often the disk is full.")
def history_write_failed(*, waiting: int, error: str) -> None:
    """Events can't be written to `history.db`. They wait, and are tried again every 5 s."""


@_at(
    "warning",
    advice="Delete `history.db.broken`, or see what `sqlite3 … .recover` finds in it.",
)
def history_broken(*, put_aside: str, error: str) -> None:
    """`history.db` was damaged, as it may be by a power cut: it is not synced. It was put aside,
    and a new one begun.
    """


@_at("warning", advice=_SEE_ERROR)
def history_prune_failed(*, error: str) -> None:
    """Events older than `D4D_HISTORY_DAYS` can't be removed now."""


@_at(
    "warning",
    advice="Make the range larger, or look for containers that need no address.",
)
def pool_nearly_full(*, pool: str, size: int, free: int) -> None:
    """A pool has become as full as `D4D_POOL_NEARLY_FULL` says. Logged again after a restart, and
    whenever a tenth of that was free in between.
    """


@_at("warning", advice=_SEE_ERROR)
def webhook_unreachable(*, receiver: str, error: str) -> None:
    """The receiver does not answer, or answers with an error. Logged once until it takes a message
    again; D4D keeps trying.
    """


@_at("info", advice="Nothing. `d4d events` has what it missed.")
def webhook_reachable_again(*, receiver: str, dropped: int) -> None:
    """The receiver takes messages again; `dropped` of them were lost meanwhile."""


@_at("error", advice="Correct `D4D_WEBHOOK_URL`, its secret, or the receiver.")
def webhook_message_refused(*, error: str, message: str) -> None:
    """The receiver answered with a status that trying again does not change. The line has the
    message.
    """


@_at("warning", advice="See `webhook_unreachable`.")
def webhook_messages_dropped(*, waiting: int) -> None:
    """More than 1000 messages wait: the oldest are dropped."""


@_at("warning", advice="`d4d events` has them.")
def webhook_messages_unsent(*, count: int) -> None:
    """D4D stopped while the receiver was away; `count` messages were not sent."""


MESSAGES: tuple[LogMessage[...], ...] = tuple(
    each for each in tuple(globals().values()) if isinstance(each, LogMessage)
)
"""Every line but those of events, in the order of the page."""


EVENTS: Mapping[EventKind, EventMessage] = {
    EventKind.ACQUIRED: EventMessage(
        level="info",
        meaning="A container has a new lease, or has one back that was on hold.",
        advice=_NOTHING,
    ),
    EventKind.RENEWED: EventMessage(
        level="debug",
        meaning="The server extended the lease. Also logged when a lease was confirmed after a "
        "restart of D4D.",
        advice=_NOTHING,
    ),
    EventKind.REBOUND: EventMessage(
        level="info",
        meaning="A server other than the one that gave the lease extended it.",
        advice="Nothing, if you have two servers that share leases. Else look for the other "
        "server.",
    ),
    EventKind.LATE: EventMessage(
        level="warning",
        meaning="The server did not answer a renewal. The lease still holds, and D4D keeps asking; "
        "after seven eighths of the lease time, it asks any server.",
        advice="See that the server runs and can be reached, before the lease runs out.",
    ),
    EventKind.LOST: EventMessage(
        level="error",
        meaning="The server refused the lease, or nobody answered until it ran out, or another "
        "host has it in the store. The container still uses the address, and the server may give "
        "it to somebody else.",
        advice="`detail` says who refused it and how. If the server lost its leases, D4D gets the "
        "address back by itself (`recovered`). If the address belongs to another by now, restart "
        "the container, or set `D4D_ON_LOST`.",
    ),
    EventKind.RECOVERED: EventMessage(
        level="info", meaning="A lost address is ours again.", advice=_NOTHING
    ),
    EventKind.RELEASED: EventMessage(
        level="info",
        meaning="The server was told that the address is free. With a `detail`: Docker had not "
        "said so, but its API showed that the container is gone.",
        advice=_NOTHING,
    ),
    EventKind.DECLINED: EventMessage(
        level="warning",
        meaning="The server gave an address that another host uses. D4D gave it back as unusable "
        "(DHCPDECLINE) and asked for another. See [what is declined](#what-is-declined).",
        advice="Take the address out of the server's range, or the other host off the address. "
        "Servers keep a declined address out of use for a day or so.",
    ),
    EventKind.CONFLICT: EventMessage(
        level="warning",
        meaning="Another MAC address claims the address by ARP, before it was handed out or while "
        "a container has it. Logged at most once a minute for each. `not declined` in `detail`: "
        "see [what is declined](#what-is-declined).",
        advice="Find the MAC address that `detail` names, and give that host another address. A "
        "router with proxy ARP for the whole subnet does this for every address: turn it off, or "
        "set `D4D_CONFLICT_PROBE=0s`.",
    ),
    EventKind.ADOPTED: EventMessage(
        level="info",
        meaning="A running container was found whose lease was not in the store. It is confirmed "
        "with the server.",
        advice="Nothing. Unless the store was lost, it should not happen often.",
    ),
    EventKind.MISMATCH: EventMessage(
        level="warning",
        meaning="What the server says does not fit the network: its router is not the network's "
        "gateway, or it offers addresses of another subnet.",
        advice="Create the network with the server's subnet and router "
        "([on a bridge](networks.md#bridges) that is no matter of `--gateway`), or correct the "
        "server.",
    ),
    EventKind.ACTED: EventMessage(
        level="warning",
        meaning="What `D4D_ON_LOST` asks for was done to a container, or failed.",
        advice="It is tried up to 30 times, a reconnection until Docker has done it. On failure "
        "read `detail`; the container is as it was, or disconnected.",
    ),
    EventKind.DRAINED: EventMessage(
        level="warning",
        meaning="The address was taken back from a host that was silent for `D4D_HOST_GRACE`, or "
        "that an operator said is off; nobody answered for it by ARP, as far as could be asked.",
        advice="Nothing, if that host is off. Else its containers share their addresses with "
        "whoever gets them next: restart them.",
    ),
}
"""How each kind of event is logged, under its own name."""
