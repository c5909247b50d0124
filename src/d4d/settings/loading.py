"""Reads the settings, and tells where each was taken from."""

import difflib
import os
import re
from collections.abc import Collection, Iterable, Sequence
from datetime import timedelta
from enum import Enum
from pathlib import Path
from typing import Any

from pydantic import AliasChoices, ValidationError

from d4d.domain.errors import BadRequest
from d4d.settings.durations import format_duration
from d4d.settings.files import FILES, values_in
from d4d.settings.model import Settings


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
    """A setting's value as it would be written, without its secrets."""
    value = getattr(settings, field)
    if isinstance(value, timedelta):
        return format_duration(value)
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
    """What an unknown ``D4D_`` name may have meant; None for a known one."""
    known = [f"D4D_{field.upper()}" for field in Settings.model_fields]
    if not name.startswith("D4D_") or name in known:
        return None
    close = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {close[0]}?" if close else f"known are {', '.join(known)}"


def is_read(name: str) -> bool:
    """Whether there is a setting of this name, ours or the predecessor's."""
    return len(names_of(name)) > 1 or (name.startswith("D4D_") and correction(name) is None)


def names_of(name: str) -> tuple[str, ...]:
    """All names of the setting that has this one, ours and the predecessor's."""
    for field in Settings.model_fields.values():
        if isinstance(field.validation_alias, AliasChoices):
            names = tuple(map(str, field.validation_alias.choices))
            if name in names:
                return names
    return (name,)


def _refuse_unknown(names: Iterable[str]) -> None:
    """A misspelt setting would be silently ignored. Raises BadRequest."""
    for name in names:
        if meant := correction(name):
            raise BadRequest(f"unknown setting {name}: {meant}")
