"""The host's ``d4d`` finds the operator's socket of a D4D that is a plugin of Docker's."""

from pathlib import Path

from d4d.adapters.admin_client import sockets_of_plugins


def test_only_plugins_with_an_operators_socket_are_d4d(tmp_path: Path) -> None:
    for name, file in (("aa", "admin.sock"), ("bb", "other.sock"), ("cc", "admin.sock")):
        (tmp_path / name).mkdir()
        (tmp_path / name / file).touch()
    (tmp_path / "admin.sock").touch()  # no plugin's
    assert sockets_of_plugins(tmp_path) == [
        tmp_path / "aa" / "admin.sock",
        tmp_path / "cc" / "admin.sock",
    ]
