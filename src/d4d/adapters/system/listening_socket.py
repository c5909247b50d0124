"""The sockets at which dockerd finds the driver, and operators do: made, or systemd's."""

import os
import socket
from pathlib import Path

from d4d.domain.errors import D4DError

_FIRST_INHERITED = 3  # sd_listen_fds(3)
_LONGEST_PATH = 107  # sun_path, less its zero
_BACKLOG = 1024


class SocketTaken(D4DError):
    """Another process serves this socket."""


class ListeningSocket:
    """A listening unix socket, hidden from dockerd until ``publish``."""

    def __init__(
        self,
        path: Path,
        *,
        inherited: int | None = _FIRST_INHERITED,
        setting: str = "D4D_PLUGIN_SOCKET",
    ) -> None:
        """``inherited`` is the descriptor that systemd hands over, if it does.

        ``setting`` is what gives the path, for errors.
        """
        self._setting = setting
        self._path = path
        self._inherited = inherited
        self._hidden = path.with_name(f".{path.name}.{os.getpid()}")
        self._socket: socket.socket | None = None
        self._inode: int | None = None
        self._is_ours = False

    def detach(self) -> int:
        """The descriptor to serve, which is the caller's to close from now on."""
        assert self._socket is not None
        descriptor = self._socket.detach()
        self._socket = None
        return descriptor

    def open(self) -> None:
        """Listen, mode 0600, or take over the socket that systemd listens at for us.

        A socket that nobody listens at is replaced. Raises SocketTaken where somebody does.
        """
        if self._inherited is not None and _is_inherited():
            self._socket = socket.socket(fileno=self._inherited)
            return
        if len(os.fsencode(self._hidden)) > _LONGEST_PATH:
            raise D4DError(f"socket path {self._path} is too long: shorten {self._setting}")
        if _is_served(self._path):
            raise SocketTaken(
                f"another process serves {self._path}: stop it (is a D4D running already?), "
                f"or set {self._setting}"
            )
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            self._hidden.unlink(missing_ok=True)
            before = os.umask(0o177)
            try:
                self._socket.bind(str(self._hidden))
                self._is_ours = True
            finally:
                os.umask(before)
            self._socket.listen(_BACKLOG)
        except OSError as error:
            self.close()
            raise D4DError(
                f"can't listen at {self._path}: {error.strerror}. Run as root, or let systemd "
                f"make the socket"
            ) from error

    def publish(self) -> None:
        """Let dockerd find the socket: it is ready to be served."""
        if self._is_ours:  # an inherited one's directory may be closed to us
            self._inode = self._hidden.stat().st_ino
            self._hidden.rename(self._path)

    def close(self) -> None:
        """Take the socket away, unless it is systemd's or another's by now."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        if self._is_ours:
            self._hidden.unlink(missing_ok=True)
        if self._inode is not None and self._path.exists():
            if self._path.stat().st_ino == self._inode:
                self._path.unlink()
            self._inode = None


def _is_inherited() -> bool:
    pid, count = os.environ.get("LISTEN_PID"), os.environ.get("LISTEN_FDS", "0")
    return pid == str(os.getpid()) and count.isdigit() and int(count) > 0


def _is_served(path: Path) -> bool:
    if not path.exists():
        return False
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            return False
    return True
