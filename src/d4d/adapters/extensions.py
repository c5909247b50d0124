"""Allocators and stores that other packages bring, by Python's entry points.

The groups are ``d4d.allocators`` and ``d4d.stores``; an entry's name is what the settings call it.
"""

from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from d4d.domain.errors import BadRequest


def load_extensions(group: str, *, known: Callable[[str], bool]) -> dict[str, Callable[..., Any]]:
    """What makes each that is installed; ``known`` names are ours, and nobody else's.

    Nothing is imported before it is made. Raises BadRequest.
    """
    makers: dict[str, Callable[..., Any]] = {}
    for entry in entry_points(group=group):
        if known(entry.name) or entry.name in makers:
            raise BadRequest(
                f"{_origin(entry)} brings {entry.name!r} in {group}, which there is already: "
                f"uninstall one of the two"
            )
        makers[entry.name] = _maker(entry)
    return makers


def _maker(entry: EntryPoint) -> Callable[..., Any]:
    def make(**given: object) -> Any:
        try:
            return entry.load()(**given)
        except Exception as error:  # whatever the package does, its name must be told
            raise BadRequest(
                f"{_origin(entry)} can't make its {entry.name!r} in {entry.group}: {error!r}: "
                f"repair or uninstall it"
            ) from error

    return make


def _origin(entry: EntryPoint) -> str:
    return f"package {entry.dist.name}" if entry.dist else entry.value
