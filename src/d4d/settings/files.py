"""Where settings are written: the environment and the files. It is imported before all others."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from d4d.domain.errors import BadRequest

FILES = (
    Path("/etc/oam-docker-ipam/oam-docker-ipam.conf"),  # the predecessor's: its users keep it
    Path("/etc/d4d/d4d.conf"),
)
PLUGIN_SOCKET = Path("/run/docker/plugins/talkingdata.sock")
"""Where Docker finds the driver, unless D4D_PLUGIN_SOCKET says otherwise."""


def values_in(path: Path) -> Mapping[str, str | None]:
    """What is set in a file; nothing where there is no file. Raises BadRequest."""
    try:
        if not path.exists():
            return {}
        from dotenv import dotenv_values  # noqa: PLC0415 - not imported unless there is a file

        return dotenv_values(path)
    except (OSError, UnicodeDecodeError) as error:
        raise BadRequest(f"settings file {path} can't be read: {error}") from error


def plugin_socket(*, files: Sequence[Path] = FILES) -> Path:
    """The setting of that name, as ``load_settings`` reads it. Raises BadRequest.

    Docker is served there while the modules that read the settings are still being imported.
    """
    name = "d4d_plugin_socket"
    for written in (os.environ, *map(values_in, reversed(files))):
        found = [value for key, value in written.items() if key.lower() == name and value]
        if found:
            return Path(found[-1])
    return PLUGIN_SOCKET
