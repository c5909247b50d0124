"""What else there is that Docker would find by the driver's name."""

from pathlib import Path

import pytest

from d4d.doctor.collectors.plugin_socket import specs_of_others

SOCKET = Path("/srv/d4d/talkingdata.sock")


@pytest.mark.parametrize(
    "text",
    [
        "tcp://192.0.2.7:8080\n",
        "unix:///run/other/talkingdata.sock\n",
        f"unix://{SOCKET}.old\n",
        "",
    ],
)
def test_a_spec_that_leads_elsewhere_is_anothers(tmp_path: Path, text: str) -> None:
    spec = tmp_path / "talkingdata.spec"
    spec.write_text(text)
    (tmp_path / "another.spec").write_text("unix:///run/another.sock\n")
    assert specs_of_others([tmp_path, tmp_path / "gone"], SOCKET) == [spec]


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("spec", f"unix://{SOCKET}\n"),
        ("json", f'{{"Name": "talkingdata", "Addr": "unix://{SOCKET}"}}'),
    ],
)
def test_a_spec_that_leads_to_the_driver_is_its_own_and_stays(
    tmp_path: Path, kind: str, text: str
) -> None:
    """It may be the only way on which Docker finds a socket that is elsewhere."""
    (tmp_path / f"talkingdata.{kind}").write_text(text)
    assert specs_of_others([tmp_path], SOCKET) == []
