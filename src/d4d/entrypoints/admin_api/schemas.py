"""What the admin API answers: JSON for the command line, the page, and scripts.

Instants are ISO 8601 in UTC, durations are seconds, null is what is not known; an instant that is
null where the lease has no end says so in its field.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field
from pydantic.json_schema import CoreRef, DefsRef, GenerateJsonSchema, JsonSchemaMode

from d4d.domain.dhcp.messages import INFINITE
from d4d.domain.leases import Lease, Terms
from d4d.domain.pools import PoolRecord, Purpose, ReservedAddress
from d4d.domain.ports.history import HistoryEntry
from d4d.domain.reservations import Reservation
from d4d.domain.utilization import PoolUtilization
from d4d.service_layer.host_drain import DrainResult, Host

if TYPE_CHECKING:
    from d4d.operations.readiness import Health


def _published(name: str) -> str:
    """The name of a class as /api/schema has it: scripts and the page look schemas up by it."""
    return name.replace("Schema", "Form").replace("Response", "Answer")


class Schema(BaseModel):
    """What all schemas share."""

    model_config = ConfigDict(
        frozen=True, model_title_generator=lambda model: _published(model.__name__)
    )


class _PublishedNames(GenerateJsonSchema):
    def get_defs_ref(self, core_mode_ref: tuple[CoreRef, JsonSchemaMode]) -> DefsRef:
        """See GenerateJsonSchema: the name of a schema within another."""
        name, mode = core_mode_ref
        return super().get_defs_ref((CoreRef(_published(name)), mode))


class ReservationSchema(Schema):
    """An address that no container gets."""

    address: str
    purpose: str = Field(description="gateway, auxiliary")
    count: int = Field(description="How often Docker asked for it")

    @classmethod
    def of(cls, reservation: ReservedAddress) -> "ReservationSchema":
        """The reservation in print."""
        return cls(
            address=str(reservation.address),
            purpose=reservation.purpose.value,
            count=reservation.count,
        )


class OperatorReservationSchema(Schema):
    """An address that an operator keeps, for whom ``mac`` or ``name`` tells, or from all."""

    pool: str = Field(description="One in use here; it holds in all of that subnet and parent")
    address: str
    name: str | None
    mac: str | None
    note: str
    made_at: datetime

    @classmethod
    def of(cls, reservation: Reservation, *, pool: str) -> "OperatorReservationSchema":
        """The reservation in print."""
        return cls(
            pool=pool,
            address=str(reservation.address),
            name=reservation.name,
            mac=_text(reservation.mac),
            note=reservation.note,
            made_at=reservation.made_at,
        )


class PoolSchema(Schema):
    """A pool, and how full it is within its range."""

    id: str
    subnet: str
    range: str | None
    gateway: str | None = Field(description="Learnt from the server; a given one is a reservation")
    parent: str | None
    allocator: str | None = Field(description="Null where it is the default one")
    networks: int = Field(description="Docker networks that use it")
    reservations: list[ReservationSchema]
    size: int = Field(description="Addresses that hosts may have")
    used: int
    reserved: int
    free: int

    @classmethod
    def of(cls, record: PoolRecord, fill: PoolUtilization) -> "PoolSchema":
        """The pool in print."""
        pool = record.pool
        return cls(
            id=pool.id,
            subnet=str(pool.subnet),
            range=_text(pool.range),
            gateway=_text(pool.gateway),
            parent=pool.options.parent,
            allocator=pool.options.allocator,
            networks=record.users,
            reservations=[
                ReservationSchema.of(each)
                for each in record.reservations
                if each.purpose is not Purpose.CLAIMED  # those are containers'
            ],
            size=fill.size,
            used=fill.used,
            reserved=fill.reserved,
            free=fill.free,
        )


class TermsSchema(Schema):
    """What the server said with the address."""

    server: str
    lease_time: float | None = Field(description="Seconds; null is for ever")
    renewal_time: float | None
    rebinding_time: float | None
    subnet_mask: str | None
    routers: list[str] = Field(description="Option 121's default routes, else option 3")
    dns_servers: list[str]
    ntp_servers: list[str]
    domain: str | None
    mtu: int | None
    static_routes: list[tuple[str, str]] = Field(description="Destination, and via which router")

    @classmethod
    def of(cls, terms: Terms) -> "TermsSchema":
        """The terms in print."""
        return cls(
            server=str(terms.server),
            lease_time=_seconds(terms.lease_time),
            renewal_time=_seconds(terms.renewal_time),
            rebinding_time=_seconds(terms.rebinding_time),
            subnet_mask=_text(terms.subnet_mask),
            routers=list(map(str, terms.default_routers)),
            dns_servers=list(map(str, terms.dns_servers)),
            ntp_servers=list(map(str, terms.ntp_servers)),
            domain=terms.domain,
            mtu=terms.mtu,
            static_routes=[(str(to), str(via)) for to, via in terms.static_routes],
        )


class LeaseSchema(Schema):
    """A lease that a host holds, or remembers."""

    pool: str
    address: str
    mac: str
    name: str | None = Field(description="The container's, where Docker told it")
    state: str = Field(description="bound, doubtful, lost, released, freed")
    host: str
    hostname: str | None = Field(description="What the server heard (option 12)")
    client_id: str | None = Field(description="Hexadecimal, with its type byte (option 61)")
    generation: int
    acquired_at: datetime
    bound_at: datetime | None = Field(description="When the server last confirmed it")
    renew_at: datetime | None = Field(description="T1; null is never")
    rebind_at: datetime | None = Field(description="T2; null is never")
    expires_at: datetime | None = Field(description="Null is never")
    released_at: datetime | None
    overdue: bool = Field(description="Whether its renewal is late")
    terms: TermsSchema | None = Field(description="Null where no server has confirmed it yet")

    @classmethod
    def of(cls, lease: Lease, *, overdue: bool) -> "LeaseSchema":
        """The lease in print."""
        return cls(
            pool=lease.pool,
            address=str(lease.address),
            mac=str(lease.endpoint.mac),
            name=lease.endpoint.name,
            state=lease.state.value,
            host=lease.owner,
            hostname=lease.hostname,
            client_id=lease.client_id.hex() if lease.client_id else None,
            generation=lease.generation,
            acquired_at=lease.acquired_at,
            bound_at=lease.bound_at,
            renew_at=lease.renew_at,
            rebind_at=lease.rebind_at,
            expires_at=lease.expires_at,
            released_at=lease.released_at,
            overdue=overdue,
            terms=TermsSchema.of(lease.terms) if lease.terms else None,
        )


class EventSchema(Schema):
    """Something that happened to an address."""

    at: datetime
    kind: str
    host: str
    pool: str
    address: str
    mac: str | None
    name: str | None
    detail: str

    @classmethod
    def of(cls, entry: HistoryEntry) -> "EventSchema":
        """The event in print."""
        event, endpoint = entry.event, entry.event.endpoint
        return cls(
            at=event.at,
            kind=event.kind.value,
            host=entry.host,
            pool=event.pool,
            address=str(event.address),
            mac=str(endpoint.mac) if endpoint else None,
            name=endpoint.name if endpoint else None,
            detail=event.detail,
        )


class WebhookMessage(Schema):
    """What is posted to D4D_WEBHOOK_URL."""

    id: str = Field(description="The same where a message is sent again")
    kind: str = Field(description="lost, conflict, pool_nearly_full")
    at: datetime
    host: str
    pool: str
    detail: str
    address: str | None = Field(None, description="Of a lease")
    mac: str | None = None
    name: str | None = None
    size: int | None = Field(None, description="Of a pool: its addresses")
    used: int | None = None
    reserved: int | None = None
    free: int | None = None


class Following(Schema):
    """How a list goes on."""

    next: str | None = Field(
        None, description="Asked for as ``after`` it gives the next page; null: this is the last"
    )


class PoolsResponse(Schema):
    """GET /api/pools."""

    pools: list[PoolSchema]


class ReservationsResponse(Following):
    """GET /api/reservations: a page of them."""

    reservations: list[OperatorReservationSchema]


class ReservedResponse(Schema):
    """POST /api/reservations?pool=&address=&for=&note=, the last two of which may be left out."""

    reservation: OperatorReservationSchema
    warnings: list[str] = Field(description="What the operator should know")


class LeasesResponse(Following):
    """GET /api/leases: a page of them, by pool and address."""

    leases: list[LeaseSchema]


class LeaseResponse(Schema):
    """GET /api/leases/ADDRESS."""

    lease: LeaseSchema
    history: list[EventSchema] = Field(description="Of its address, the newest first")


class HistoryResponse(Following):
    """GET /api/history: a page of it. With ``at``: the last event of each that had the address."""

    events: list[EventSchema]


class HostSchema(Schema):
    """A host that uses the store."""

    host: str
    is_self: bool
    seen_at: datetime | None = Field(
        description="Its last heartbeat, as old as it is by the store's clock; null: none"
    )
    beat_age: float | None = Field(description="Seconds, by the store's clock; null: no heartbeat")
    silent_for: float = Field(
        description="Seconds in which this host saw no heartbeat of it, by its own clock, while it "
        "read the store without a gap"
    )
    state: str = Field(
        description="alive: heard of within D4D_HOST_GRACE; silent: this host saw no heartbeat for "
        "that long; unknown: by the store's clock it is silent, but this host has not watched long "
        "enough to say so"
    )
    is_alive: bool = Field(description="Whether the state is alive")
    leases: int = Field(description="Addresses that it holds")

    @classmethod
    def of(cls, host: Host, *, self_name: str, now: datetime) -> "HostSchema":
        """The host in print."""
        return cls(
            host=host.name,
            is_self=host.name == self_name,
            seen_at=now - host.age if host.age is not None else None,
            beat_age=host.age.total_seconds() if host.age is not None else None,
            silent_for=host.silent_for.total_seconds(),
            state=host.life.value,
            is_alive=host.is_alive,
            leases=host.leases,
        )


class HostsResponse(Schema):
    """GET /api/hosts."""

    grace: float = Field(description="Seconds of D4D_HOST_GRACE")
    hosts: list[HostSchema]


class FailureSchema(Schema):
    """A lease that could not be given back, and why."""

    address: str
    pool: str
    error: str


class DrainResponse(Schema):
    """POST /api/hosts/HOST/drain."""

    host: str
    freed: list[str] = Field(description="Addresses that were given back")
    unasked: list[FailureSchema] = Field(
        description="Those that were given back though nobody could be asked who uses them, and why"
    )
    failed: list[FailureSchema] = Field(description="These stay the host's: drain it again")

    @classmethod
    def of(cls, drained: DrainResult) -> "DrainResponse":
        """What a drain came to, in print."""

        def failures(leases: list[tuple[Lease, str]]) -> list[FailureSchema]:
            return [
                FailureSchema(address=str(lease.address), pool=lease.pool, error=error)
                for lease, error in leases
            ]

        return cls(
            host=drained.host,
            freed=[str(lease.address) for lease in drained.freed],
            unasked=failures(drained.unasked),
            failed=failures(drained.failed),
        )


class CheckSchema(Schema):
    """One thing that must be so."""

    name: str
    ok: bool
    detail: str


class HealthResponse(Schema):
    """GET /healthz, GET /readyz."""

    ok: bool
    version: str
    checks: list[CheckSchema]

    @classmethod
    def of(cls, health: "Health") -> "HealthResponse":
        """The health in print."""
        checks = [
            CheckSchema(name=each.name, ok=each.ok, detail=each.detail) for each in health.checks
        ]
        return cls(ok=health.ok, version=version("d4d"), checks=checks)


class SettingSchema(Schema):
    """A setting as it is in effect. Secrets are masked."""

    name: str
    value: str
    source: str = Field(description="default, the file or the variable that set it, command line")


class ConfigResponse(Schema):
    """GET /api/config."""

    settings: list[SettingSchema]


class ErrorResponse(Schema):
    """Any answer of 400 and above."""

    error: str


RESPONSES: tuple[type[Schema], ...] = (
    PoolsResponse,
    ReservationsResponse,
    ReservedResponse,
    OperatorReservationSchema,
    LeasesResponse,
    LeaseResponse,
    LeaseSchema,
    EventSchema,
    WebhookMessage,
    HistoryResponse,
    HostsResponse,
    DrainResponse,
    HealthResponse,
    ConfigResponse,
    ErrorResponse,
)
"""Each body that the API answers with, or sends as an event."""


def published(schemas: Iterable[type[Schema]]) -> dict[str, Any]:
    """The JSON schema of each, by its name."""
    return {
        _published(each.__name__): each.model_json_schema(schema_generator=_PublishedNames)
        for each in schemas
    }


def _seconds(duration: timedelta | None) -> float | None:
    return None if duration is None or duration == INFINITE else duration.total_seconds()


def _text(value: object | None) -> str | None:
    return None if value is None else str(value)
