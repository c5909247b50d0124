"""Judges the settings as they are written: each finding names the file and the line."""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dotenv.parser import parse_stream

from d4d.domain.errors import BadRequest
from d4d.entrypoints.doctor import ailments
from d4d.entrypoints.doctor.findings import Finding
from d4d.settings import FILES, Settings, correction, is_read, load_settings

_NAME = re.compile(r"D4D_[A-Z_]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """The settings, or what keeps them from being any."""

    settings: Settings | None
    sources: tuple[str, ...]
    """The files that there are."""
    findings: tuple[Finding, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Line:
    place: str
    name: str | None
    """None where it is no setting at all."""
    text: str


def read_settings(files: Sequence[Path] = FILES) -> Written:
    """The settings as a driver started here would have them."""
    findings: list[Finding] = []
    lines: list[_Line] = []
    for path in files:
        try:
            lines += _lines(path)
        except (OSError, UnicodeDecodeError) as error:
            findings.append(ailments.SETTINGS_UNREADABLE.found(f"{path} can't be read: {error}"))
    lines += [
        _Line(place="environment", name=name, text=name)
        for name in os.environ
        if name.startswith("D4D_")
    ]
    findings += _judge_names(lines)
    settings = None
    if not any(each.severity is ailments.SETTING_UNKNOWN.severity for each in findings):
        try:
            settings = load_settings(files=files)
        except BadRequest as error:
            places = {line.name: line.place for line in lines if line.name}
            findings.append(ailments.SETTING_INVALID.found(_with_places(str(error), places)))
    sources = tuple(str(path) for path in files if path.exists())
    return Written(settings=settings, sources=sources, findings=tuple(findings))


def _lines(path: Path) -> Iterator[_Line]:
    """Raises OSError, UnicodeDecodeError."""
    if not path.exists():
        return
    with path.open(encoding="utf-8") as stream:
        for binding in parse_stream(stream):
            text = binding.original.string
            number = binding.original.line + len(text) - len(text.lstrip("\n"))
            if binding.key is not None or binding.error:
                place = f"{path} line {number}"
                yield _Line(place=place, name=binding.key, text=text.strip())


def _judge_names(lines: Sequence[_Line]) -> Iterator[Finding]:
    for line in lines:
        if line.name is None:
            yield ailments.SETTING_IGNORED.found(f"{line.place} is no setting: {line.text!r}")
        elif meant := correction(line.name):
            yield ailments.SETTING_UNKNOWN.found(f"{line.place}: {line.name}: {meant}")
        elif not is_read(line.name):
            yield ailments.SETTING_IGNORED.found(f"{line.place}: {line.name} is no setting of D4D")


def _with_places(text: str, places: Mapping[str, str]) -> str:
    """The error's text, with the place of each setting that it names."""
    named = dict.fromkeys(_NAME.findall(text))
    told = [f"{name}: {places[name]}" for name in named if name in places]
    return f"{text} ({'; '.join(told)})" if told else text
