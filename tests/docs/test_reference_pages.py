"""What the documentation says is held against the code: a page that is out of date fails here."""

import ast
import asyncio
import json
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from functools import cache
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any, TypeVar

import pytest
import structlog
import typer.main

from d4d.adapters.observability.event_log import EventLog
from d4d.adapters.observability.log_setup import configure_logs
from d4d.bootstrap import DriverParts
from d4d.doctor.catalogue import AILMENTS
from d4d.domain import errors
from d4d.domain.addressing import MacAddress
from d4d.domain.events import EventKind, LeaseEvent
from d4d.domain.lease_states import STANDINGS, USES
from d4d.domain.leases import Endpoint
from d4d.domain.pools import PoolId, PoolOptions
from d4d.entrypoints.cli.app import cli
from d4d.settings.loading import load_settings
from d4d.settings.model import Settings
from tests.support.fake_dockerd import Docker, started
from tests.support.virtual_time import settle

VIRTUAL_TIME = True

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = (*sorted(ROOT.glob("*.md")), *sorted(DOCS.rglob("*.md")))
OPERATING = "\n".join(page.read_text() for page in sorted((DOCS / "operate").glob("*.md")))
PROTOCOL = (DOCS / "explain" / "protocol.md").read_text()

_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"`([^`]+)`")
_LONG_TEXT = 60  # a text that is returned, and longer, is an error's

N = TypeVar("N", bound=ast.AST)


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A fenced block of a page."""

    page: str
    language: str
    text: str


def blocks(language: str) -> list[Block]:
    return [
        Block(page=page.name, language=match[1], text=match[2])
        for page in PAGES
        for match in _BLOCK.finditer(page.read_text())
        if match[1] == language
    ]


def tables(page: str, marker: str) -> list[list[str]]:
    """The rows of all tables between the comments ``marker``: begin and end."""
    sections = re.findall(rf"<!-- {marker}: begin.*?-->\n(.*?)<!-- {marker}: end -->", page, re.S)
    assert sections, f"there is no <!-- {marker}: begin --> in the page"
    return [
        [cell.strip() for cell in line.strip("|").split(" | ")]
        for section in sections
        for line in section.strip().splitlines()[2:]
    ]


def code(cell: str) -> str:
    match = _CODE.fullmatch(cell)
    assert match, f"{cell} is not in backticks"
    return match[1]


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith(("D4D_", "DHCP_SERVER", "LISTEN_ADDR", "IPAM_DEBUG")):
            monkeypatch.delenv(name)


# Settings


def settings_from(directory: Path, text: str) -> Settings:
    path = directory / "d4d.conf"
    path.write_text(text)
    return load_settings(files=(path,))


def test_each_setting_is_documented_once() -> None:
    documented = [code(name) for name, *_ in tables(OPERATING, "settings")]
    assert documented == [*dict.fromkeys(documented)]
    assert set(documented) == {f"D4D_{field.upper()}" for field in Settings.model_fields}


def test_each_documented_default_is_the_settings_own(tmp_path: Path) -> None:
    own = settings_from(tmp_path, "")
    for name, default, *_ in tables(OPERATING, "settings"):
        field = code(name).removeprefix("D4D_").lower()
        if not _CODE.fullmatch(default):
            assert not getattr(own, field) or field == "host", f"{name} has a default to be named"
            continue
        said = settings_from(tmp_path, f"{code(name)}={code(default)}\n")
        assert getattr(said, field) == getattr(own, field), name


def test_each_documented_example_is_taken(tmp_path: Path) -> None:
    for name, _, example, _ in tables(OPERATING, "settings"):
        field = code(name).removeprefix("D4D_").lower()
        settings = settings_from(tmp_path, f"{code(name)}={code(example)}\n")
        assert getattr(settings, field) is not None


def test_each_name_of_the_old_driver_is_told(tmp_path: Path) -> None:
    rows = {code(name): meaning for name, _, _, meaning in tables(OPERATING, "settings")}
    for field, info in Settings.model_fields.items():
        for other in getattr(info.validation_alias, "choices", ()):
            if not str(other).startswith("D4D_"):
                assert f"Also called `{other}`" in rows[f"D4D_{field.upper()}"]


@pytest.mark.parametrize(
    ("setting", "choices"),
    [
        ("D4D_STORE", DriverParts.store.providers),
        ("D4D_ALLOCATOR", DriverParts.allocators.kwargs),
    ],
)
def test_each_choice_is_told_where_it_is_made(setting: str, choices: Iterable[str]) -> None:
    (meaning,) = (row[3] for row in tables(OPERATING, "settings") if code(row[0]) == setting)
    said = set(_CODE.findall(meaning))
    assert set(choices) <= said, f"{setting}: {set(choices) - said} not told"


def test_the_readmes_settings_are_those_of_the_page() -> None:
    known = {code(row[0]): row[1] for row in tables(OPERATING, "settings")}
    known["DHCP_SERVER"] = known["D4D_DHCP_SERVER"]
    _, section = (ROOT / "README.md").read_text().split("\n## Settings\n")
    rows = re.findall(r"^\| `(\w+)` \| ([^|]+) \|", section, re.MULTILINE)
    assert rows
    for name, default in rows:
        assert name in known
        if _CODE.fullmatch(default):
            assert default == known[name], name


@pytest.mark.parametrize("block", blocks("ini"), ids=lambda block: block.page)
def test_each_settings_file_is_one(tmp_path: Path, block: Block) -> None:
    own = settings_from(tmp_path, "")
    assert settings_from(tmp_path, block.text) != own


def test_each_option_of_a_network_is_documented_once() -> None:
    rows = tables(OPERATING, "ipam-opt")
    assert [code(name) for name, *_ in rows] == [field.name for field in fields(PoolOptions)]
    for name, example, _ in rows:
        assert PoolOptions.parse({code(name): code(example)}) != PoolOptions()


# Log


async def test_each_event_is_documented_once_and_logged_at_its_level() -> None:
    rows = tables(OPERATING, "events")
    assert [code(name) for name, *_ in rows] == [kind.value for kind in EventKind]
    for name, level, _, advice in rows:
        with structlog.testing.capture_logs() as logged:
            EventLog().record(event(EventKind(code(name))))
            await asyncio.sleep(0)
        assert [line["log_level"] for line in logged] == [level], name
        assert advice


def event(kind: EventKind) -> LeaseEvent:
    return LeaseEvent(
        kind=kind,
        at=datetime.now(UTC),
        pool=PoolId("192.168.59.0/24?gateway=192.168.59.1&parent=enp0s8"),
        address=IPv4Address("192.168.59.12"),
        endpoint=Endpoint(mac=MacAddress.parse("02:42:c0:a8:3b:0c"), name="web"),
    )


async def test_the_sample_of_the_log_is_what_is_logged(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs(debug=False)
    EventLog().record(event(EventKind.ACQUIRED))
    await asyncio.sleep(0)
    structlog.reset_defaults()
    logged = json.loads(capsys.readouterr().err)
    (sample,) = (json.loads(block.text) for block in blocks("json"))
    assert sample | {"timestamp": logged["timestamp"]} == logged
    assert list(sample) == list(logged)


# Findings of the doctor


def test_each_finding_of_the_doctor_is_documented_once_with_its_severity() -> None:
    rows = tables(OPERATING, "findings")
    documented = [(code(name), severity) for name, severity, *_ in rows]
    assert documented == [(each.code, str(each.severity)) for each in AILMENTS]
    assert len({name for name, _ in documented}) == len(documented)
    assert all(meaning and remedy for _, _, meaning, remedy in rows)


# Errors


def test_each_error_of_the_code_is_in_the_troubleshooting_table() -> None:
    documented = [code(row[0]) for row in tables(OPERATING, "errors")]
    missing = [text for text in _raised() if not any(_is_of(said, text) for said in documented)]
    assert not missing, f"say in docs/operate/troubleshooting.md what to do about {missing}"


def test_each_error_of_the_troubleshooting_table_is_in_the_code() -> None:
    found = [text for node in _nodes(ast.expr) if (text := _text(node))]
    texts = [text for text in found if len(re.findall(r"[a-z]", text)) >= 4]
    for row in tables(OPERATING, "errors"):
        said = code(row[0])
        assert any(_is_of(said, text) or _is_of(text, said) for text in texts), said
        assert row[1]


def _is_of(pattern: str, text: str) -> bool:
    """Whether ``text`` is what ``pattern`` says, an ellipsis being anything."""
    return _compiled(pattern).fullmatch(text) is not None


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(".*".join(map(re.escape, pattern.split("…"))), re.S)


def _raised() -> Iterator[str]:
    """The texts that the code gives to errors for operators, with an ellipsis for what varies."""
    internal = {"Superseded"}
    names = {
        name
        for name, each in vars(errors).items()
        if isinstance(each, type) and issubclass(each, errors.D4DError)
    }
    named = (names - internal) | {"SocketTaken", "NotFound"}
    for call in _nodes(ast.Call):
        if isinstance(call.func, ast.Name) and call.func.id in named and call.args:
            yield from filter(None, [_text(call.args[0])])
    for node in _nodes(ast.Return):  # of functions that make the text of an error
        text = _text(node.value) if node.value else None
        if text and len(text) > _LONG_TEXT:
            yield text


@cache
def _sources() -> tuple[ast.Module, ...]:
    return tuple(ast.parse(path.read_text()) for path in (ROOT / "src").rglob("*.py"))


def _nodes(kind: type[N]) -> Iterator[N]:
    for tree in _sources():
        for node in ast.walk(tree):
            if isinstance(node, kind):
                yield node


def _text(node: ast.expr) -> str | None:
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else None
    if isinstance(node, ast.JoinedStr):
        text = "".join(_text(part) or "…" for part in node.values)
        return re.sub("…+", "…", text)
    return None


# Commands


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    page: str
    words: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.page}: {' '.join(self.words)}"


def commands(program: str) -> list[Command]:
    found = []
    for block in (*blocks("sh"), *blocks("")):
        for line in block.text.replace("\\\n", " ").splitlines():
            if line.split(" ")[0] == program:
                words = tuple(shlex.split(line, comments=True))
                found.append(Command(page=block.page, words=words))
    assert found
    return found


@pytest.mark.parametrize("command", commands("d4d"), ids=str)
def test_each_d4d_command_is_one(command: Command) -> None:
    group = typer.main.get_command(cli)
    name, subcommand, rest = group.resolve_command(  # type: ignore[attr-defined]  # it is a group
        group.make_context("d4d", [], resilient_parsing=True), list(command.words[1:])
    )
    subcommand.make_context(name, rest)


@pytest.mark.skipif(not shutil.which("docker"), reason="there is no docker command here")
@pytest.mark.parametrize("command", commands("docker"), ids=str)
def test_each_docker_command_has_options_that_docker_knows(command: Command) -> None:
    verbs = 2 if command.words[1] in ("network", "container", "plugin") else 1
    known = _docker_options(command.words[1 : 1 + verbs])
    given = [word.partition("=")[0] for word in command.words[1 + verbs :] if word[0] == "-"]
    options = given if verbs == 2 else _before_image(command)
    assert options or command.words[1] == "plugin"  # most of its commands need none
    assert [option for option in options if option not in known] == []


def _before_image(command: Command) -> list[str]:
    """The options before the image's name: what stands behind it is the container's."""
    options, words = [], iter(command.words[2:])
    for word in words:
        if word[0] != "-":
            break
        options.append(word.partition("=")[0])
        if "=" not in word and word not in ("-d", "--rm", "--privileged", "-it"):
            next(words)
    return options


@cache
def _docker_options(verbs: tuple[str, ...]) -> set[str]:
    helped = subprocess.run(
        ["docker", *verbs, "--help"], capture_output=True, text=True, check=True
    )
    return set(re.findall(r"(?<![\w-])(--?[a-z][\w-]*)", helped.stdout))


@pytest.mark.parametrize("block", [*blocks("sh"), *blocks("")], ids=lambda block: block.page)
def test_each_block_of_commands_is_one_for_the_shell(block: Block) -> None:
    if "─" in block.text:
        return  # a drawing
    subprocess.run(["bash", "-n"], input=block.text, text=True, check=True)
    for path in re.findall(r"(?<![\w/])(?:contrib|scripts)/[\w./-]+", block.text):
        assert (ROOT / path).exists(), path


# The protocol


async def test_each_sample_of_the_protocol_is_answered_as_it_says(tmp_path: Path) -> None:
    samples = [block.text for block in blocks("http")]
    assert len(samples) > 5
    async with started(Docker(tmp_path)) as docker:
        docker.allocator.router = IPv4Address("192.168.59.1")
        for sample in samples:
            asked, answered = sample.split("\n\n", 1)
            first, _, body = asked.partition("\n")
            status, _, content = answered.partition("\n")
            response = await docker.post(first.removeprefix("POST /"), body)
            assert response.status_code == int(status), f"{first}: {response.text}"
            said, content = json.loads(response.content), json.loads(content)
            assert said == content, first
            await settle()


def test_each_message_that_the_protocols_table_names_is_golden() -> None:
    golden = (ROOT / "tests/unit/adapters/dhcp/wire/test_golden_packets.py").read_text()
    named = [code(row[1]) for row in tables(PROTOCOL, "messages")]
    assert set(named) == set(re.findall(r'^    "([^"]+)": \($', golden, re.MULTILINE))


# Pages


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_each_link_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if target.startswith("http"):
            continue
        path, _, anchor = target.partition("#")
        linked = page.parent / path if path else page
        assert linked.exists(), target
        if anchor:
            assert anchor in _anchors(linked), target


def _anchors(page: Path) -> set[str]:
    """As hosts of git repositories make them of headings."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("block", blocks("mermaid"), ids=lambda block: block.page)
def test_each_arrow_of_a_sequence_is_between_those_named(block: Block) -> None:
    if not block.text.startswith("sequenceDiagram"):
        return
    named = set(re.findall(r"^ +participant (\w+)", block.text, re.MULTILINE))
    arrows = re.findall(r"^ +(\w+) ?-{1,2}>>?[+-]?(\w+): ", block.text, re.MULTILINE)
    assert arrows
    assert {end for arrow in arrows for end in arrow} == named


def test_each_picture_is_there_and_not_large() -> None:
    for page in PAGES:
        for name in re.findall(r"!\[[^\]]+\]\(([^)]+)\)", page.read_text()):
            size = (page.parent / name).stat().st_size
            assert 0 < size < 200_000, name


ARCHITECTURE = ROOT / "docs" / "explain" / "architecture.md"


@pytest.mark.parametrize(("name", "table"), [("uses", USES), ("standings", STANDINGS)])
def test_each_transition_of_a_lease_is_drawn(name: str, table: Mapping[Any, Any]) -> None:
    text = ARCHITECTURE.read_text().partition(f"<!-- {name}: begin")[2].partition("<!--")[0]
    drawn = [re.findall(r"`(\w+)`", line) for line in text.splitlines() if "`" in line]
    assert drawn == [[now, change, after] for (now, change), after in table.items()]
