"""Under which names Docker finds our plugin: its users may link the socket, or write a .spec."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import urlsplit

_SOCKETS = Path("/run/docker/plugins")
_SPECS = (Path("/etc/docker/plugins"), Path("/usr/lib/docker/plugins"))


class PluginNames:
    """Looks a name up where Docker does, and in its order: the first hit counts."""

    def __init__(
        self, socket: Path, *, sockets: Path = _SOCKETS, specs: Sequence[Path] = _SPECS
    ) -> None:
        """``socket`` is the plugin's, which has its file's name, and stands where others may."""
        self._socket = socket
        self._sockets = dict.fromkeys((socket.parent, sockets))
        self._specs = specs

    def is_ours(self, name: str) -> bool:
        """Whether Docker calls us where a network's IPAM driver is ``name``.

        False also where that is not known, as of a name that leads to a TCP port.
        """
        if name == self._socket.stem:
            return True
        if not name or "/" in name or name.startswith("."):
            return False
        try:
            for path in self._places(name):
                if path.exists():
                    return path.samefile(self._socket)
        except (OSError, ValueError):  # gone meanwhile, not ours to read, or no such file at all
            return False
        return False

    def _places(self, name: str) -> Iterator[Path]:
        """The sockets that ``name`` may stand for."""
        for directory in self._sockets:
            yield directory / f"{name}.sock"
            yield directory / name / f"{name}.sock"
        for directory in self._specs:
            for stem in (directory / name, directory / name / name):
                for spec in (stem.with_name(f"{name}.spec"), stem.with_name(f"{name}.json")):
                    if spec.exists():
                        yield _socket_in(spec)


def _socket_in(spec: Path) -> Path:
    """Raises OSError, or ValueError where it tells no unix socket."""
    text = spec.read_text().strip()
    if spec.suffix == ".json":
        content = json.loads(text)
        text = str(content.get("Addr", "")) if isinstance(content, dict) else ""
    url = urlsplit(text)
    if url.scheme != "unix":
        raise ValueError(f"{spec} leads to {text}")
    return Path(url.path)
