"""The doctor on settings as they are written: each finding names the file and the line."""

import os
from pathlib import Path

import pytest

from d4d.doctor.checks.settings import WrittenSettings, read_settings
from d4d.doctor.run import examine
from tests.support.diagnostics_cases import SETTINGS_CASES


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith(("D4D_", "DHCP_SERVER", "LISTEN_ADDR", "IPAM_DEBUG")):
            monkeypatch.delenv(name)


@pytest.fixture
def conf(tmp_path: Path) -> Path:
    return tmp_path / "d4d.conf"


def read(conf: Path, text: str) -> WrittenSettings:
    conf.write_text(text, encoding="utf-8", errors="surrogateescape", newline="")
    return read_settings((conf,))


@pytest.mark.parametrize(("code", "text"), SETTINGS_CASES.items())
def test_what_is_wrong_in_a_file_is_found(conf: Path, code: str, text: str) -> None:
    written = read(conf, text)
    assert [each.code for each in written.findings] == [code]
    assert str(conf) in written.findings[0].found
    is_usable = code == "setting-ignored"
    assert (written.settings is not None) is is_usable


def test_settings_that_are_right_have_nothing_found(conf: Path) -> None:
    written = read(conf, "# a comment\n\nexport D4D_PARENT='eth0'\nDHCP_SERVER=10.77.0.1\n")
    assert (written.findings, written.sources) == ((), (str(conf),))
    assert written.settings is not None
    assert written.settings.parent == "eth0"


def test_no_file_has_to_be_there(tmp_path: Path, conf: Path) -> None:
    conf.write_text("")
    written = read_settings((tmp_path / "none.conf", conf / "below-a-file.conf"))
    assert (written.findings, written.sources) == ((), ())
    assert written.settings is not None


@pytest.mark.parametrize(
    ("before", "line"),
    [
        ("", 1),
        ("D4D_HOLD=1s\n", 2),
        ("\n\n# a comment\n\n", 5),
        ("   \n\t\n", 3),
        ("D4D_HOLD=1s\r\n\r\n  \r\n", 4),
        ("D4D_HOSTNAME='{name}\n'\n", 3),
        ("# a comment\n    ", 2),
    ],
)
def test_the_line_is_the_one_that_an_editor_shows(conf: Path, before: str, line: int) -> None:
    (finding,) = read(conf, f"{before}D4D_PARNET=eth0\n").findings
    assert finding.found == f"{conf} line {line}: D4D_PARNET: did you mean D4D_PARENT?"


def test_a_wrong_value_is_placed_under_either_name(conf: Path) -> None:
    (finding,) = read(conf, "\nD4D_HOLD=soon\nDHCP_SERVER=nobody\n").findings
    assert f"D4D_DHCP_SERVER: {conf} line 3" in finding.found
    assert f"D4D_HOLD: {conf} line 2" in finding.found


def test_the_environment_wins_and_is_named(conf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("D4D_HOLD", "soon")
    (finding,) = read(conf, "D4D_HOLD=1s\n").findings
    assert "(D4D_HOLD: environment)" in finding.found


def test_a_line_that_is_no_setting_is_not_shown_as_it_may_be_a_secret(conf: Path) -> None:
    written = read(conf, "D4D_ADMIN_TOKEN: 0123456789abcdef\nD4D_PARENT\n")
    first, second = (each.found for each in written.findings)
    assert first == f"{conf} line 1 is no setting: write NAME=value"
    assert second == f"{conf} line 2: D4D_PARENT has no = and no value"


def test_a_directory_that_can_not_be_looked_into_is_found(tmp_path: Path) -> None:
    """A name of 300 characters stands for it: root, which tests may be, is let in everywhere."""
    hidden = tmp_path / ("x" * 300) / "d4d.conf"
    written = read_settings((hidden,))
    assert [each.code for each in written.findings] == ["settings-unreadable"]
    assert written.sources == ()


async def test_nothing_else_is_looked_at_with_wrong_settings(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value, code in (
        ("D4D_PARNET", "eth0", "setting-unknown"),
        ("D4D_HOLD", "soon", "setting-invalid"),
        ("D4D_STORE", "paper", "setting-invalid"),
    ):
        with monkeypatch.context() as environment:
            environment.setenv(name, value)
            (outcome,) = await examine()
        assert [each.code for each in outcome.findings] == [code]
        assert "before they are right" in outcome.summary
