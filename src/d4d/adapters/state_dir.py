"""The directory where D4D keeps what must outlive it; one driver at a time has it."""

import fcntl
import os
from pathlib import Path

from d4d.domain.errors import StoreUnavailable


class StateDir:
    """The state directory, locked from ``lock`` to ``close``, or until the process dies."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock: int | None = None

    def lock(self) -> None:
        """Have the directory, made if missing. Raises StoreUnavailable where another has it."""
        path = self._path / "lock"
        try:
            self._path.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StoreUnavailable(
                f"state directory {self._path} can't be used: {error.strerror}. "
                f"Set D4D_STATE_DIR to a directory that can be written"
            ) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            other = os.read(descriptor, 20).decode(errors="replace").strip() or "unknown"
            os.close(descriptor)
            raise StoreUnavailable(
                f"another D4D (pid {other}) uses the state directory {self._path}: one driver "
                f"serves a host, by one worker. Stop it, or set D4D_STATE_DIR and D4D_PLUGIN_SOCKET"
            ) from error
        os.truncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        self._lock = descriptor

    def host(self, name: str) -> str:
        """The name under which this host's leases are stored: ``name`` as it was at first.

        A host that is renamed must find its leases again. Raises StoreUnavailable.
        """
        path = self._path / "host"
        try:
            if path.exists() and (stored := path.read_text().strip()):
                return stored
            path.write_text(name + "\n")
        except OSError as error:
            raise StoreUnavailable(f"{path} can't be used: {error.strerror}") from error
        return name

    def close(self) -> None:
        """Let another driver have the directory."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None
