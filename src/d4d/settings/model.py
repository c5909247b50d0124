"""Everything that an operator can set: by environment, or in a file of the same names."""

import socket
from datetime import timedelta
from ipaddress import IPv4Address
from pathlib import Path
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    AliasChoices,
    BeforeValidator,
    Field,
    SecretStr,
    ValidationInfo,
    field_validator,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from d4d.domain.addressing import parse_address
from d4d.domain.client_identity import check_template
from d4d.domain.errors import BadRequest
from d4d.domain.policies import IdentityPolicy, LossAction, Mode, ReclaimPolicy
from d4d.domain.pools import parse_servers
from d4d.settings.durations import parse_duration
from d4d.settings.files import PLUGIN_SOCKET
from d4d.settings.types import AdminBind, WebhookUrl, parse_bind, parse_url


def _duration(value: Any) -> Any:
    return parse_duration(value) if isinstance(value, str) else value


def _servers(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return parse_servers(value)
    except BadRequest as error:
        raise ValueError(str(error)) from error


def _listen_addr(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        address = parse_address(value.strip(), what="listen address")
    except BadRequest as error:
        raise ValueError(str(error)) from error
    return None if address.is_unspecified else address


def _not_negative(value: timedelta) -> timedelta:
    if value < timedelta(0):
        raise ValueError("must not be less than 0s")
    return value


def _above_zero(value: timedelta) -> timedelta:
    if not value:
        raise ValueError("must be longer than 0s")
    return value


Duration = Annotated[timedelta, BeforeValidator(_duration), AfterValidator(_not_negative)]
Servers = Annotated[tuple[IPv4Address, ...], NoDecode, BeforeValidator(_servers)]
ListenAddr = Annotated[IPv4Address | None, BeforeValidator(_listen_addr)]
Template = Annotated[str, BeforeValidator(check_template)]
Bind = Annotated[AdminBind, NoDecode, BeforeValidator(parse_bind)]
Webhook = Annotated[WebhookUrl | None, NoDecode, BeforeValidator(parse_url)]


def _predecessors(name: str) -> AliasChoices:
    """Our name of a setting, or that of oam-docker-ipam, the predecessor."""
    return AliasChoices(f"D4D_{name}", name)


BEYOND = timedelta(seconds=2)
"""How much longer than the DHCP server may take a whole call may: its turns, and the store."""


class Settings(BaseSettings):
    """The settings as they are at start. ``D4D_`` and the name in capitals sets each."""

    model_config = SettingsConfigDict(
        env_prefix="D4D_",
        env_ignore_empty=True,
        frozen=True,
        extra="ignore",
        populate_by_name=True,
    )

    allocator: str = "dhcp"
    store: str = "sqlite"
    redis_url: str = Field("redis://127.0.0.1:6379/0", repr=False)  # it may have a password
    redis_prefix: str = "d4d:"
    redis_wait: int = Field(0, ge=0)
    """How many replicas have a write before it counts."""
    state_dir: Path = Path("/var/lib/d4d")
    plugin_socket: Path = PLUGIN_SOCKET
    docker_socket: Path = Path("/var/run/docker.sock")
    dhcp_server: Servers = Field((), validation_alias=_predecessors("DHCP_SERVER"))
    listen_addr: ListenAddr = Field(None, validation_alias=_predecessors("LISTEN_ADDR"))
    debug: bool = Field(False, validation_alias=AliasChoices("D4D_DEBUG", "IPAM_DEBUG"))
    dhcp_mode: Mode = Mode.AUTO
    dhcp_deadline: Annotated[Duration, AfterValidator(_above_zero)] = timedelta(seconds=25)
    """For the DHCP server's part of a call; all of it may take ``BEYOND`` longer."""
    dhcp_window: int = Field(64, ge=1)
    parent: str | None = None
    src_mac: bool = False
    """Send with the container's MAC as Ethernet source, where a switch checks it against chaddr."""
    identity: IdentityPolicy = IdentityPolicy.AUTO
    hostname: Template = "{name}"
    host: str = Field(default_factory=socket.gethostname, min_length=1)
    conflict_probe: Duration = timedelta(milliseconds=50)
    reconcile: Duration = timedelta(minutes=2)
    """How often Docker is asked what it has; 0 never asks."""
    on_lost: LossAction = LossAction.KEEP
    on_lost_after: Duration = timedelta(seconds=10)
    hold: Duration = timedelta(0)
    host_grace: Annotated[Duration, AfterValidator(_above_zero)] = timedelta(minutes=2)
    """A host that shares the store, and was not heard of for so long, may be drained."""
    reclaim: ReclaimPolicy = ReclaimPolicy.MANUAL
    rest: Duration = timedelta(seconds=60)
    admin_token: SecretStr | None = Field(None, min_length=16)
    admin_bind: Bind = AdminBind(path=Path("/run/d4d/admin.sock"))
    history_days: int = Field(30, ge=0)
    """How long events are kept; 0 keeps none."""
    pool_nearly_full: int = Field(90, ge=1, le=100)
    """Percent of a pool's addresses at which an operator hears of it."""
    webhook_url: Webhook = None
    webhook_secret: SecretStr | None = Field(None, min_length=16)

    @field_validator("admin_bind")
    @classmethod
    def _needs_token(cls, bind: AdminBind, info: ValidationInfo) -> AdminBind:
        """Whoever reaches a TCP address could release leases."""
        if bind.is_public and not info.data.get("admin_token"):
            raise ValueError(f"{bind} is reached from other hosts: set D4D_ADMIN_TOKEN as well")
        return bind
