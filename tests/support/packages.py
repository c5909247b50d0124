"""Packages as packaging/ builds them, and the roots of distributions that they are installed in."""

import fcntl
import os
import shutil
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Self

from lab.d4d_driver import Driver
from lab.docker_engine import Engine
from lab.network import Namespace
from lab.processes import run

ROOT = Path(__file__).parents[2]
_ROOTS = ROOT / "dist" / "roots"
_SLOW = timedelta(minutes=8)
_OWN = ("D4D_", "DHCP_SERVER", "LISTEN_ADDR", "IPAM_DEBUG", "PYTHON")
_ENTER = 'mount -t proc proc "$0/proc" && exec chroot "$0" "$@"'


def build(what: str, into: Path, *words: str) -> Path:
    """Run a script of packaging/; answers what it made. Raises LabError."""
    into.mkdir(parents=True, exist_ok=True)
    said = run([ROOT / "packaging" / f"build-{what}", "--into", into, *words], timeout=_SLOW)
    return Path(said.splitlines()[-1])


class Root:
    """A distribution in a folder, as fresh as its installer leaves it, with Python and systemd."""

    def __init__(self, suite: str, path: Path, *packages: str) -> None:
        """Debian's ``suite`` in ``path``/root, with more ``packages``. Raises LabError."""
        self.path = path / "root"
        """Where it is, for as long as it is open: a layer above a root that was made once."""
        memory = path / "layer"  # dpkg waits for the disk at each file
        self.path.mkdir()
        memory.mkdir()
        run(["mount", "-t", "tmpfs", "d4d-root", memory])
        layers = {name: memory / name for name in ("above", "work")}
        for layer in layers.values():
            layer.mkdir()
        options = (
            f"lowerdir={_base(suite, packages)},upperdir={layers['above']},workdir={layers['work']}"
        )
        run(["mount", "-t", "overlay", "d4d-root", "-o", options, self.path])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for mounted in (self.path, self.path.with_name("layer")):
            run(["umount", "--lazy", mounted])

    def command(self, *words: str | Path) -> list[str | Path]:
        """``words`` as a command in it, with a /proc; the process itself becomes the program."""
        return ["unshare", "--mount", "sh", "-c", _ENTER, self.path, *words]

    def run(self, *words: str | Path, namespace: Namespace | None = None) -> str:
        """What ``words`` print in it: without any network, or on a machine of the lab's.

        Raises LabError.
        """
        inside = self.command(*words)
        offline: list[str | Path] = ["unshare", "--net", *inside]
        return run(
            offline if namespace is None else namespace.command(inside),
            env=self.environment,
            timeout=_SLOW,
        )

    @property
    def environment(self) -> dict[str, str]:
        """Of programs in it: no setting of this machine's."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(_OWN)}
        return {
            **kept,
            "DEBIAN_FRONTEND": "noninteractive",
            "LC_ALL": "C.UTF-8",
            "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        }

    def install(self, package: Path) -> str:
        """``dpkg --install`` without a network. Raises LabError."""
        return self.run("dpkg", "--force-confold", "--install", self.take(package))

    def take(self, file: Path) -> Path:
        """Copy a file into it; answers its path there."""
        (self.path / "root" / file.name).write_bytes(file.read_bytes())
        return Path("/root") / file.name

    def there(self, path: str) -> Path:
        """A path in it, as seen from outside."""
        return self.path / path.lstrip("/")


def lacks(*programs: str) -> bool:
    """Whether one of them can't be run here, or we are not root."""
    return os.geteuid() != 0 or not all(map(shutil.which, programs))


class PackagedDriver(Driver):
    """The driver of a package, started in its root on a machine of the lab's, with its defaults."""

    def __init__(self, root: Root, namespace: Namespace) -> None:
        plugins = root.there("/run/docker/plugins")
        super().__init__(
            namespace,
            socket=plugins / "talkingdata.sock",
            docker_socket=root.there("/run/docker.sock"),
        )
        self.root = root
        self.daemon = namespace.daemon(
            "d4d", root.command("/usr/bin/d4d", "server"), env=root.environment
        )

    def cli(self, *words: str) -> str:
        """What ``d4d WORDS`` prints in the root. Raises LabError if it fails."""
        return self.root.run("/usr/bin/d4d", *words, namespace=self.namespace)


class RootedEngine(Engine):
    """The engine of a root: its dockerd sees the root's files, and the lab's for this machine."""

    def __init__(self, root: Root, namespace: Namespace) -> None:
        self._root = root
        super().__init__(namespace, "--host=unix:///run/docker.sock")

    def _namespaces(self) -> list[str | Path]:
        root, own = self._root.path, self.namespace.directory
        script = (
            "set -e; mount --make-rprivate /; "
            f"for each in sys dev; do mount --rbind /$each {root}/$each; done; "
            f"mount -t proc proc {root}/proc; mount -t tmpfs run {root}/run/containerd; "
            f"mkdir -p {root}{own}; mount --rbind {own} {root}{own}; "
            f"cd {root}; pivot_root . mnt; umount --lazy /mnt; "
            "echo mounted; while :; do sleep 1000 & wait $!; done"  # a shell reaps while it waits
        )
        self._root.there("/run/containerd").mkdir(exist_ok=True)
        return ["unshare", "--mount", "--pid", "--fork", "sh", "-c", script]


def _base(suite: str, packages: Sequence[str] = ()) -> Path:
    """A root of the suite, made once and never changed. Raises LabError."""
    _ROOTS.mkdir(parents=True, exist_ok=True)
    base = _ROOTS / "-".join([suite, *packages])
    with base.with_name(f"{base.name}.lock").open("w") as alone:
        fcntl.flock(alone, fcntl.LOCK_EX)
        if not base.exists():
            new = base.with_name(f"{base.name}.new")
            shutil.rmtree(new, ignore_errors=True)  # of one that was interrupted
            included = ",".join(["python3", "systemd", *packages])
            make = ["mmdebstrap", "--quiet", "--variant=minbase", f"--include={included}"]
            run([*make, "--format=directory", suite, new], timeout=_SLOW)
            # nothing in it starts a daemon: the tests start what they want
            policy = new / "usr/sbin/policy-rc.d"
            policy.write_text("#!/bin/sh\nexit 101\n")
            policy.chmod(0o755)
            new.rename(base)
    return base
