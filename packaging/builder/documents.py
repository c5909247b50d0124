"""What a package has beside the program, made from it: settings file, manual, completions."""

import gzip
import os
import sys
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from email.parser import HeaderParser
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import typer.main

from builder.release import Release, call
from builder.settings_page import settings
from d4d.entrypoints.cli.app import cli

_CONF_HEAD = """\
# Settings of D4D, DHCP for Docker. Each stands here with its default, or where it has none with an
# example: take the # off and write what you want. They count from the next start on, which releases
# nothing: systemctl restart d4d.service. More in d4d.conf(5).
"""


_FREE = """\
Copyright (C) {year} the D4D developers, and those named below.

D4D is free software under the GNU General Public License, version 2 or later; on Debian its text is
/usr/share/common-licenses/GPL-2. The package brings these libraries with it:"""


def settings_file() -> str:
    """/etc/d4d/d4d.conf, with every setting in a comment."""
    blocks = [_CONF_HEAD]
    for each in settings():
        meaning = each.meaning
        if not each.is_value:
            meaning = f"{meaning} Default: {each.default}."
        told = textwrap.fill(
            meaning, 98, initial_indent="# ", subsequent_indent="# ", break_on_hyphens=False
        )
        blocks.append(f"{told}\n#{each.line}\n")
    return "\n".join(blocks)


def manual_pages(release: Release) -> dict[str, str]:
    """The pages by file name, such as ``d4d-leases.1``, in roff."""
    group: Any = typer.main.get_command(cli)
    pages = {
        f"{'-'.join(words)}.1": _command_page(words, command, release)
        for words, command in _commands(("d4d",), group)
    }
    pages["oam-docker-ipam.1"] = ".so man1/d4d.1\n"
    pages["d4d.conf.5"] = _settings_page(release)
    return pages


def completions() -> Mapping[str, str]:
    """What each shell reads to complete the words of ``d4d``, by the shell's name."""
    program = Path(sys.executable).with_name("d4d")
    return {
        shell: call([program], env={**os.environ, "_D4D_COMPLETE": f"source_{shell}"}).strip()
        + "\n"
        for shell in ("bash", "zsh", "fish")
    }


def copyright_page(tree: Path, release: Release) -> str:
    """Whose the parts are and under which licences; their texts lie in the tree."""
    own: list[str] = []
    others: list[str] = []
    for folder in tree.glob("*.dist-info"):
        about = HeaderParser().parsestr((folder / "METADATA").read_text())
        block = [
            f"{about['Name']} {about['Version']}",
            f"  Licence: {_licence(about)}",
            f"  Author: {about['Author'] or about['Author-Email'] or 'see the package'}",
        ]
        for name in about.get_all("License-File", []):
            places = (folder / "licenses" / name, folder / name)
            found = [place for place in places if place.exists()]
            block += [f"  Text: /usr/lib/d4d/{place.relative_to(tree)}" for place in found]
        (own if about["Name"] == "d4d" else others).append("\n".join(block))
    return "\n\n".join(
        [_FREE.format(year=_year(release)), *own, *sorted(others, key=str.lower), ""]
    )


def bill_of_materials(tree: Path, release: Release) -> str:
    """The SBOM in CycloneDX's JSON: each part of the tree with version and licence."""
    with TemporaryDirectory() as scratch:
        # an environment that has the tree and nothing else
        bare = Path(scratch) / "bare"
        call([sys.executable, "-m", "venv", "--without-pip", bare])
        (packages,) = bare.glob("lib/python3*/site-packages")
        (packages / "tree.pth").write_text(f"{tree}\n")
        tool = [sys.executable, "-m", "cyclonedx_py", "environment"]
        options = ["--output-reproducible", "--of", "JSON", str(bare / "bin" / "python")]
        return call([*tool, *options], env=release.environment)


def zipped(text: str) -> bytes:
    """As gzip packs it, without a time."""
    return gzip.compress(text.encode(), mtime=0)


def _year(release: Release) -> int:
    return datetime.fromtimestamp(release.epoch, UTC).year


def _licence(about: Any) -> str:
    if expression := about["License-Expression"]:
        return str(expression)
    kinds = [
        text.rpartition(" :: ")[2]
        for text in about.get_all("Classifier", [])
        if text.startswith("License :: ")
    ]
    stated = (about["License"] or "").splitlines()[:1]  # some have the whole text there
    return ", ".join(kinds or stated) or "see the package"


def _commands(words: tuple[str, ...], command: Any) -> Iterator[tuple[tuple[str, ...], Any]]:
    yield words, command
    for name, inner in sorted(getattr(command, "commands", {}).items()):
        yield from _commands((*words, name), inner)


def _command_page(words: tuple[str, ...], command: Any, release: Release) -> str:
    name = "-".join(words)
    inner = getattr(command, "commands", {})
    arguments = [each for each in command.params if not each.opts[0].startswith("-")]
    options = [each for each in command.params if each.opts[0].startswith("-")]
    usage = [" ".join(words), *(["[OPTION]..."] if options else []), *map(_metavar, arguments)]
    usage += ["COMMAND [ARGUMENT]..."] if inner else []
    sentence, *more = command.help.split("\n\n")
    page = [
        _title(name, 1, release),
        _section(
            "NAME", f"{_escaped(name)} \\- {_escaped(' '.join(sentence.split()).rstrip('.'))}"
        ),
        _section("SYNOPSIS", _escaped(" ".join(usage))),
    ]
    if more:
        page.append(_section("DESCRIPTION", "\n.PP\n".join(map(_escaped, more))))
    for heading, parameters in (("ARGUMENTS", arguments), ("OPTIONS", options)):
        if parameters:
            terms = [(_term(each), each.help or "") for each in parameters]
            page.append(_section(heading, _terms(terms)))
    if inner:
        terms = [
            (f"{' '.join(words)} {each}", " ".join(inner[each].help.split()))
            for each in sorted(inner)
        ]
        page.append(_section("COMMANDS", _terms(terms)))
    own = [f"d4d-{each}" for each in sorted(inner)] if words == ("d4d",) else ["d4d"]
    seen = ", ".join([*(f"\\fB{_escaped(each)}\\fR(1)" for each in own), "\\fBd4d.conf\\fR(5)"])
    page.append(_section("SEE ALSO", seen))
    return "".join(page)


def _settings_page(release: Release) -> str:
    terms = []
    for each in settings():
        default = each.default if each.is_value else f"{each.default}; for example {each.example}"
        terms.append((each.name, f"{each.meaning} Default: {default}."))
    what = (
        "One setting a line, NAME=VALUE, with comments after a #. A variable of the same name in "
        "the environment wins. Durations are written as 50ms, 25s, 2m, 1h30m. A change counts "
        "from the next start of d4d.service, which releases no lease."
    )
    return "".join(
        [
            _title("d4d.conf", 5, release),
            _section("NAME", "d4d.conf \\- settings of D4D, DHCP for Docker"),
            _section("SYNOPSIS", "/etc/d4d/d4d.conf"),
            _section("DESCRIPTION", _escaped(what)),
            _section("SETTINGS", _terms(terms)),
            _section("SEE ALSO", "\\fBd4d\\fR(1), \\fBd4d\\-config\\fR(1)"),
        ]
    )


def _title(name: str, section: int, release: Release) -> str:
    return (
        f'.TH "{_escaped(name.upper())}" {section} "" "D4D {release.version}" "DHCP for Docker"\n'
    )


def _section(heading: str, text: str) -> str:
    return f".SH {heading}\n{text}\n"


def _terms(terms: Sequence[tuple[str, str]]) -> str:
    return "\n".join(f".TP\n\\fB{_escaped(term)}\\fR\n{_escaped(text)}" for term, text in terms)


def _metavar(argument: Any) -> str:
    name = argument.metavar or argument.name.upper()
    name = f"{name}..." if argument.nargs < 0 else name
    return name if argument.required else f"[{name}]"


def _term(parameter: Any) -> str:
    if not parameter.opts[0].startswith("-"):
        return _metavar(parameter)
    names = ", ".join([*parameter.opts, *parameter.secondary_opts])
    takes_value = not parameter.is_flag
    return f"{names} {parameter.metavar or 'VALUE'}" if takes_value else names


def _escaped(text: str) -> str:
    """Text in which roff finds no requests of its own."""
    plain = text.replace("\\", "\\e").replace("-", "\\-")
    return "\n".join(
        f"\\&{line}" if line.startswith((".", "'")) else line for line in plain.splitlines()
    )
