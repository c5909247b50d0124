"""Judges the settings as they are written: each finding names the file and the line."""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dotenv.parser import parse_stream

from d4d.doctor import catalogue
from d4d.doctor.findings import Finding
from d4d.domain.errors import BadRequest
from d4d.settings.files import FILES
from d4d.settings.loading import correction, is_read, load_settings, names_of
from d4d.settings.model import Settings

_NAME = re.compile(r"D4D_[A-Z_]+")
_LINE_END = re.compile(r"\r\n|\n|\r")


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenSettings:
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
    has_value: bool = True


def read_settings(files: Sequence[Path] = FILES) -> WrittenSettings:
    """The settings as a driver started here would have them."""
    findings: list[Finding] = []
    lines: list[_Line] = []
    sources: list[str] = []
    for path in files:
        try:
            lines += _lines(path)
            sources.append(str(path))
        except (FileNotFoundError, NotADirectoryError):
            continue  # neither file has to be there
        except (OSError, UnicodeDecodeError) as error:
            findings.append(catalogue.SETTINGS_UNREADABLE.found(f"{path} can't be read: {error}"))
    lines += [
        _Line(place="environment", name=name) for name in os.environ if name.startswith("D4D_")
    ]
    findings += _judge_names(lines)
    settings = None
    if not any(each.severity is catalogue.SETTING_UNKNOWN.severity for each in findings):
        try:
            settings = load_settings(files=files)
        except BadRequest as error:
            places = {name: line.place for line in lines for name in names_of(line.name or "")}
            findings.append(catalogue.SETTING_INVALID.found(_with_places(str(error), places)))
    return WrittenSettings(settings=settings, sources=tuple(sources), findings=tuple(findings))


def _lines(path: Path) -> Iterator[_Line]:
    """Raises OSError, UnicodeDecodeError."""
    with path.open(encoding="utf-8") as stream:
        for binding in parse_stream(stream):
            text = binding.original.string
            before = text[: len(text) - len(text.lstrip())]
            number = binding.original.line + len(_LINE_END.findall(before))
            if binding.key is not None or binding.error:
                place, has_value = f"{path} line {number}", binding.value is not None
                yield _Line(place=place, name=binding.key, has_value=has_value)


def _judge_names(lines: Sequence[_Line]) -> Iterator[Finding]:
    for line in lines:
        if line.name is None:
            # The line itself is not told: what is written wrong may be a secret.
            yield catalogue.SETTING_IGNORED.found(f"{line.place} is no setting: write NAME=value")
        elif meant := correction(line.name):
            yield catalogue.SETTING_UNKNOWN.found(f"{line.place}: {line.name}: {meant}")
        elif not is_read(line.name):
            text = f"{line.place}: {line.name} is no setting of D4D"
            yield catalogue.SETTING_IGNORED.found(text)
        elif not line.has_value:
            yield catalogue.SETTING_IGNORED.found(
                f"{line.place}: {line.name} has no = and no value"
            )


def _with_places(text: str, places: Mapping[str, str]) -> str:
    """The error's text, with the place of each setting that it names."""
    named = dict.fromkeys(_NAME.findall(text))
    told = [f"{name}: {places[name]}" for name in named if name in places]
    return f"{text} ({'; '.join(told)})" if told else text
