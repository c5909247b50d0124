"""The socket at which dockerd finds the driver."""

import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from d4d.adapters.system.listening_socket import ListeningSocket, SocketTaken
from d4d.domain.errors import D4DError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "plugins" / "talkingdata.sock"


@pytest.fixture
def made(path: Path) -> Iterator[ListeningSocket]:
    opened = ListeningSocket(path)
    yield opened
    opened.close()


def connects(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        try:
            client.connect(str(path))
        except OSError:
            return False
    return True


def test_dockerd_finds_it_only_when_it_is_ready(made: ListeningSocket, path: Path) -> None:
    made.open()
    assert not path.exists()
    assert not [each for each in path.parent.iterdir() if not each.name.startswith(".")]
    made.publish()
    assert connects(path)


def test_only_its_owner_may_connect(made: ListeningSocket, path: Path) -> None:
    made.open()
    made.publish()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_the_umask_is_as_it_was(made: ListeningSocket) -> None:
    before = os.umask(0o022)
    os.umask(before)
    made.open()
    assert os.umask(before) == before


def test_it_is_gone_at_the_end(made: ListeningSocket, path: Path) -> None:
    made.open()
    made.publish()
    made.close()
    made.close()
    assert list(path.parent.iterdir()) == []


def test_it_is_gone_at_the_end_when_it_was_never_ready(made: ListeningSocket, path: Path) -> None:
    made.open()
    made.close()
    assert list(path.parent.iterdir()) == []


def test_a_detached_socket_goes_on_listening(made: ListeningSocket, path: Path) -> None:
    made.open()
    descriptor = made.detach()
    made.publish()
    assert connects(path)
    os.close(descriptor)
    made.close()
    assert not path.exists()


def test_a_stale_socket_is_replaced(made: ListeningSocket, path: Path) -> None:
    path.parent.mkdir()
    with socket.socket(socket.AF_UNIX) as left_behind:
        left_behind.bind(str(path))
    made.open()
    made.publish()
    assert connects(path)


def test_a_served_socket_is_left_alone(made: ListeningSocket, path: Path) -> None:
    made.open()
    made.publish()
    with pytest.raises(SocketTaken, match="is a D4D running already"):
        ListeningSocket(path).open()
    assert connects(path)


def test_the_end_leaves_the_socket_of_a_later_driver(made: ListeningSocket, path: Path) -> None:
    made.open()
    made.publish()
    path.unlink()
    with socket.socket(socket.AF_UNIX) as later:
        later.bind(str(path))
        later.listen()
        made.close()
        assert connects(path)


def test_a_path_that_is_too_long_is_an_error_that_says_so(tmp_path: Path) -> None:
    with pytest.raises(D4DError, match="too long: shorten D4D_PLUGIN_SOCKET"):
        ListeningSocket(tmp_path / ("x" * 100) / "talkingdata.sock").open()


def test_a_path_where_nothing_can_be_made_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "plugins").write_text("a file")
    opened = ListeningSocket(tmp_path / "plugins" / "talkingdata.sock")
    with pytest.raises(D4DError, match="can't listen at"):
        opened.open()


def test_systemds_socket_is_taken_over_and_left_at_the_end(
    tmp_path: Path, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LISTEN_PID", str(os.getpid()))
    monkeypatch.setenv("LISTEN_FDS", "1")
    systemds = tmp_path / "systemd.sock"
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(systemds))
        listening.listen()
        handed_over = os.dup(listening.fileno())
    taken = ListeningSocket(path, inherited=handed_over)
    taken.open()
    taken.publish()
    assert connects(systemds)
    assert not path.exists()
    taken.close()
    assert systemds.exists()
    assert not connects(systemds)


@pytest.mark.parametrize(("pid", "count"), [("1", "1"), (None, "1"), ("own", "0"), ("own", "x")])
def test_a_socket_for_another_process_is_not_ours(
    made: ListeningSocket, path: Path, monkeypatch: pytest.MonkeyPatch, pid: str | None, count: str
) -> None:
    if pid is None:
        monkeypatch.delenv("LISTEN_PID", raising=False)
    else:
        monkeypatch.setenv("LISTEN_PID", str(os.getpid()) if pid == "own" else pid)
    monkeypatch.setenv("LISTEN_FDS", count)
    made.open()
    made.publish()
    assert path.exists()
