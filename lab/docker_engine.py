"""Docker engines: one for each machine of the lab, each with its own /run/docker."""

import io
import json
import os
import shutil
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from ipaddress import IPv4Address
from pathlib import Path

from lab.network import Namespace
from lab.processes import Daemon, LabError, eventually, run

IMAGE = "lab:busybox"
FOR_EVER = ("sleep", "1000000")
_CGROUPS = Path("/sys/fs/cgroup")
_READY = "API listen on"
_APPLETS = ("sh", "sleep", "ping", "arping", "ip", "cat", "env", "hostname", "ls", "true", "false")


@dataclass(frozen=True, slots=True, kw_only=True)
class Attachment:
    """A running container's end on a network, as Docker reports it."""

    address: IPv4Address
    mac: str
    """In lower case, with colons."""


class Engine:
    """A dockerd in a namespace, and what the docker command does with it.

    It has a mount and a PID namespace that outlive it. The first shows a directory of the lab as
    /run/docker, where the engine looks for plugins, and another one as /run/containerd. The first
    process of the second reaps what dockerd leaves when it crashes, and its end ends all the rest.
    """

    def __init__(self, namespace: Namespace, *flags: str) -> None:
        """``flags`` go to dockerd, such as ``--live-restore``."""
        self.namespace = namespace
        self.directory = namespace.directory / "docker"
        self.plugins = self.directory / "run" / "plugins"
        """This engine's /run/docker/plugins."""
        self.socket = self.directory / "docker.sock"
        self.plugins.mkdir(parents=True)
        self._init = namespace.daemon("init", self._namespaces(), forks=True)
        self._init.start(ready=lambda log: "mounted" in log)
        self.daemon: Daemon = namespace.daemon("dockerd", self._command(flags), forks=True)

    def _namespaces(self) -> list[str | Path]:
        """A command that makes the namespaces, mounts, says so and stays."""
        containerd = self.directory / "containerd"
        containerd.mkdir()
        script = (
            "set -e; mkdir -p /run/docker /run/containerd; "
            f"mount --bind {self.directory / 'run'} /run/docker; "
            f"mount --bind {containerd} /run/containerd; "
            "echo mounted; while :; do sleep 1000 & wait $!; done"  # a shell reaps while it waits
        )
        return ["unshare", "--mount", "--pid", "--fork", "--mount-proc", "sh", "-c", script]

    def _command(self, flags: Sequence[str]) -> list[str | Path]:
        settings = self.directory / "daemon.json"
        settings.write_text("{}\n")  # not the real machine's
        places = {
            "--config-file": settings,
            "--data-root": self.directory / "data",
            "--exec-root": self.directory / "exec",
            "--pidfile": self.directory / "pid",
            "--host": f"unix://{self.socket}",
            "--cgroup-parent": f"/{self.namespace.full_name}",
            "--exec-opt": "native.cgroupdriver=cgroupfs",
        }
        fixed = ("--bridge=none", "--iptables=false", "--ip6tables=false")
        return [
            *self.command(["dockerd"]),
            *(*fixed, *(f"{flag}={place}" for flag, place in places.items()), *flags),
        ]

    def command(self, words: Sequence[str | Path]) -> list[str | Path]:
        """``words`` as a command that sees the engine's mounts and processes."""
        of_init = Path("/proc") / str(self._init.pid)
        enter = {
            "--mount": of_init / "ns/mnt",
            "--pid": of_init / "ns/pid_for_children",
            "--root": of_init / "root",
        }
        return ["nsenter", *(f"{flag}={place}" for flag, place in enter.items()), "--", *words]

    def start(self) -> None:
        """Start dockerd and, the first time, make its image. Raises LabError."""
        self.daemon.start(ready=lambda log: _READY in log)
        if IMAGE not in self.docker("image", "ls", "--format", "{{.Repository}}:{{.Tag}}").split():
            image = self.directory / "image.tar"
            image.write_bytes(_busybox_image())
            self.docker("import", str(image), IMAGE)

    def stop(self) -> None:
        """Ask dockerd to end: without ``--live-restore`` it stops its containers first."""
        self.daemon.stop(timeout=timedelta(seconds=30))

    def kill(self) -> None:
        """End dockerd as a crash does; its containers live on."""
        self.daemon.kill()

    def close(self) -> None:
        """End dockerd and its containers at once, without a word to any plugin."""
        self._init.kill()
        self.daemon.kill()
        remove_cgroups(self.namespace.full_name)

    def docker(self, *words: str, timeout: timedelta = timedelta(seconds=60)) -> str:
        """What ``docker`` prints for these words. Raises LabError, with its complaint."""
        kept = {name: value for name, value in os.environ.items() if "DOCKER" not in name}
        env = {**kept, "DOCKER_CONFIG": str(self.directory / "config")}
        return run(["docker", "-H", f"unix://{self.socket}", *words], env=env, timeout=timeout)

    def network_create(self, name: str, *options: str) -> None:
        """``docker network create OPTIONS name``."""
        self.docker("network", "create", *options, name)

    def network_rm(self, name: str) -> None:
        """``docker network rm name``."""
        self.docker("network", "rm", name)

    def run(
        self, name: str, *options: str, network: str = "lan", command: Sequence[str] = FOR_EVER
    ) -> Attachment:
        """Run a container that stays; answers its end on the network. Raises LabError."""
        # PID 1 ignores signals that it does not handle: SIGKILL saves ten seconds at each stop.
        fixed = ("--detach", "--stop-signal", "KILL", "--name", name, "--network", network)
        self.docker("run", *fixed, *options, IMAGE, *command)
        return self.inspect(name, network=network)

    def inspect(self, name: str, *, network: str = "lan") -> Attachment:
        """The running container's end on the network. Raises LabError if it has none."""
        (container,) = json.loads(self.docker("container", "inspect", name))
        attached = container["NetworkSettings"]["Networks"].get(network, {})
        if not attached.get("IPAddress"):
            raise LabError(f"container {name} has no address on network {network}")
        return Attachment(
            address=IPv4Address(attached["IPAddress"]), mac=attached["MacAddress"].lower()
        )

    def exec(self, name: str, *command: str) -> str:
        """What the command prints in the container. Raises LabError if it fails."""
        return self.docker("exec", name, *command)

    def ping(self, name: str, address: IPv4Address) -> None:
        """Raises LabError if the container gets no echo from ``address``."""
        self.exec(name, "ping", "-c", "1", "-W", "2", str(address))

    def start_container(self, name: str, *, network: str = "lan") -> Attachment:
        """``docker start name``; answers its end on the network."""
        self.docker("start", name)
        return self.inspect(name, network=network)

    def stop_container(self, *names: str) -> None:
        """``docker stop names``."""
        self.docker("stop", *names)

    def rm(self, *names: str) -> None:
        """``docker rm --force names``."""
        self.docker("rm", "--force", *names)

    def tidy(self) -> None:
        """Remove every container, and every network that was created."""
        if containers := self.docker("ps", "--all", "--quiet").split():
            self.rm(*containers)
        if networks := self.docker("network", "ls", "--quiet", "--filter", "type=custom").split():
            self.docker("network", "rm", *networks)


def _busybox_image() -> bytes:
    """A root file system with a static busybox under the names that tests call."""
    busybox = shutil.which("busybox")
    if busybox is None:
        raise LabError("busybox is not installed: scripts/prepare installs busybox-static")
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        tar.add(Path(busybox).resolve(), arcname="bin/busybox")
        for applet in _APPLETS:
            link = tarfile.TarInfo(f"bin/{applet}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            tar.addfile(link)
    return buffer.getvalue()


def cgroups(full_name: str) -> list[Path]:
    """The cgroups of an engine's containers: one tree, or in version 1 one for each controller."""
    return [*_CGROUPS.glob(full_name), *_CGROUPS.glob(f"*/{full_name}")]


def remove_cgroups(full_name: str) -> None:
    """Remove what is left of an engine's containers, which are dead."""
    for top in cgroups(full_name):
        for group in [*sorted(top.rglob("*/"), reverse=True), top]:
            eventually(partial(_is_removed, group), what=f"{group} can't be removed")


def _is_removed(cgroup: Path) -> bool:
    try:
        cgroup.rmdir()
    except FileNotFoundError:
        return True
    except OSError:  # busy until the last process has gone
        return False
    return True
