"""Everything that an operator can set: by environment, or in a file of the same names."""

import difflib
import os
import re
import socket
from collections.abc import Collection, Iterable, Sequence
from datetime import timedelta
from enum import Enum
from ipaddress import IPv4Address
from pathlib import Path
from typing import Annotated, Any

import durationpy
from pydantic import (
    AfterValidator,
    AliasChoices,
    BeforeValidator,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from d4d.domain.client_identity import IdentityPolicy, check_template
from d4d.domain.errors import BadRequest
from d4d.domain.pools import Mode, parse_address, parse_servers
from d4d.service_layer.host_drain import Reclaim
from d4d.service_layer.lost_leases import LossAction
from d4d.settings.files import FILES, PLUGIN_SOCKET, values_in
from d4d.settings.types import AdminBind, WebhookUrl, parse_bind, parse_url


def _duration(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return durationpy.from_str(value.strip())
    except durationpy.DurationError as error:
        raise ValueError(f"{value!r} is no duration: write it as 50ms, 25s or 1h30m") from error


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


def _seed(name: str) -> AliasChoices:
    """Our name of a setting, or the seed's."""
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
    dhcp_server: Servers = Field((), validation_alias=_seed("DHCP_SERVER"))
    listen_addr: ListenAddr = Field(None, validation_alias=_seed("LISTEN_ADDR"))
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
    reclaim: Reclaim = Reclaim.MANUAL
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


def load_settings(*, files: Sequence[Path] = FILES, **given: Any) -> Settings:
    """The settings from ``files``, environment and ``given``, the later ones winning.

    Raises BadRequest, naming each setting that is wrong or unknown.
    """
    _refuse_unknown([*os.environ, *(name for path in files for name in values_in(path))])
    try:
        return Settings(_env_file=tuple(files), **given)  # type: ignore[call-arg]  # pydantic-settings' own, which mypy takes for a field
    except ValidationError as error:
        wrong = "; ".join(
            f"D4D_{str(each['loc'][0]).removeprefix('D4D_').upper()}: {each['msg']}"
            for each in error.errors()
        )
        raise BadRequest(f"settings: {wrong}") from error


def shown(settings: Settings, field: str) -> str:
    """A setting's value in print: as it is written, and without its secrets."""
    value = getattr(settings, field)
    if isinstance(value, timedelta):
        return durationpy.to_str(value) if value else "0s"
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    if isinstance(value, Enum):
        return str(value.value)
    if isinstance(value, bool):
        return str(value).lower()
    return re.sub(r"(?<=://)[^/@]*(?=@)", "***", str(value)) if value is not None else ""


def source(field: str, *, files: Sequence[Path] = FILES, given: Collection[str] = ()) -> str:
    """Where a setting was taken from: command line, a variable, a file, or its default.

    Raises BadRequest.
    """
    if field in given:
        return "command line"
    alias = Settings.model_fields[field].validation_alias
    names = alias.choices if isinstance(alias, AliasChoices) else [f"D4D_{field.upper()}"]
    for name in names:
        if os.environ.get(str(name)):
            return f"environment {name}"
    for path in reversed(files):
        written = values_in(path)
        for name in names:
            if written.get(str(name)):
                return f"{path} {name}"
    return "default"


def correction(name: str) -> str | None:
    """What may be meant by a ``D4D_`` name that there is not; None for one that there is."""
    known = [f"D4D_{field.upper()}" for field in Settings.model_fields]
    if not name.startswith("D4D_") or name in known:
        return None
    close = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {close[0]}?" if close else f"known are {', '.join(known)}"


def is_read(name: str) -> bool:
    """Whether there is a setting of this name, ours or the seed's."""
    return len(names_of(name)) > 1 or (name.startswith("D4D_") and correction(name) is None)


def names_of(name: str) -> tuple[str, ...]:
    """All names of the setting that has this one, ours and the seed's."""
    for field in Settings.model_fields.values():
        if isinstance(field.validation_alias, AliasChoices):
            names = tuple(map(str, field.validation_alias.choices))
            if name in names:
                return names
    return (name,)


def _refuse_unknown(names: Iterable[str]) -> None:
    """A misspelt setting would be ignored in silence. Raises BadRequest."""
    for name in names:
        if meant := correction(name):
            raise BadRequest(f"unknown setting {name}: {meant}")
