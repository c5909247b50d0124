"""The directory where D4D keeps what must outlive it; one driver at a time has it."""

import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from d4d.domain.client_identity import Anchor
from d4d.domain.errors import StoreUnavailable


class StateDirectory:
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
        return self.known_host() or self._write("host", name)

    def known_host(self) -> str | None:
        """The name under which this host's leases are stored; None before the first start.

        Raises StoreUnavailable.
        """
        return self._read("host")

    def installation(self) -> str:
        """What tells this host from another of the same name: made up at the first start.

        Raises StoreUnavailable.
        """
        return self._read("id") or self._write("id", uuid4().hex)

    def anchor(self, parent: str, mac: bytes, hardware: frozenset[bytes]) -> bytes:
        """What client ids of names are anchored by on ``parent``: its MAC at the first time.

        ``mac`` and ``hardware`` are what it is now: see ``Anchor``. Who has not the directory, as
        a doctor that only asks servers, gets ``mac``. Raises StoreUnavailable.
        """
        if self._lock is None:
            return mac
        name = f"anchor-{parent}"
        kept = self._read(name)
        now = Anchor(value=mac, hardware=hardware)
        if kept is not None:
            now = self._anchor_of(name, kept).seen_now(value=mac, hardware=hardware)
        text = " ".join([now.value.hex(), *sorted(each.hex() for each in now.hardware)])
        if text != kept:
            self._write(name, text)
        return now.value

    def _anchor_of(self, name: str, text: str) -> Anchor:
        value, *hardware = text.split()
        try:
            return Anchor(
                value=bytes.fromhex(value), hardware=frozenset(map(bytes.fromhex, hardware))
            )
        except ValueError as error:
            raise StoreUnavailable(f"{self._path / name} can't be used: it is damaged") from error

    @contextmanager
    def as_its_owner(self) -> Iterator[None]:
        """What root makes in the directory meanwhile becomes the directory's owner's.

        A driver that runs unprivileged could not open it else.
        """
        if os.geteuid() != 0:
            yield
            return
        before = self._files()
        try:
            yield
        finally:
            if made := self._files() - before:
                owner = self._path.stat()
                for path in made:
                    _give(path, owner.st_uid, owner.st_gid)

    def _read(self, name: str) -> str | None:
        path = self._path / name
        try:
            return path.read_text().strip() or None
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StoreUnavailable(f"{path} can't be used: {error.strerror}") from error

    def _write(self, name: str, text: str) -> str:
        """Replace the file as a whole: half of it, after a power cut, would count for ever."""
        path = self._path / name
        draft = self._path / f"{name}.new"
        try:
            with draft.open("w") as file:
                file.write(text + "\n")
                file.flush()
                os.fsync(file.fileno())
            draft.replace(path)
        except OSError as error:
            raise StoreUnavailable(f"{path} can't be used: {error.strerror}") from error
        return text

    def _files(self) -> set[Path]:
        return set(self._path.iterdir()) if self._path.is_dir() else set()

    def close(self) -> None:
        """Let another driver have the directory."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def _give(path: Path, user: int, group: int) -> None:
    """Give a plain file to ``user``, unless it is a link by which another file would change."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return  # of SQLite's, gone when the database was closed
    try:
        found = os.fstat(descriptor)
        if stat.S_ISREG(found.st_mode) and found.st_nlink == 1:
            os.fchown(descriptor, user, group)
    finally:
        os.close(descriptor)
