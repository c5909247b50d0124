"""What a start does not import: Docker waits for it, and its first answers need few libraries.

``lazy`` stands for a module that is imported when it is first used. ``import_lazy`` imports all of
them, once Docker is served. ``without_packages`` hides a library from those that import it only
because it happens to be there.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

_lazy: list["_LazyModule"] = []


class _LazyModule:
    """A module, imported by the first who wants something of it."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        return getattr(self.imported(), attribute)

    def imported(self) -> Any:
        """The module itself."""
        return import_module(self._name)


def lazy(name: str) -> Any:
    """The module ``name``, not imported yet. Type checkers are to be shown the plain import."""
    module = _LazyModule(name)
    _lazy.append(module)
    return module


def import_lazy() -> None:
    """Import what was late, so that no later call waits for it. It may run in a thread."""
    for module in _lazy:
        module.imported()


@contextmanager
def without_packages(*names: str) -> Iterator[None]:
    """Whatever is imported meanwhile finds none of these packages."""
    hidden = [name for name in names if name not in sys.modules]
    for name in hidden:
        sys.modules[name] = None  # type: ignore[assignment]  # what import takes for "there is none"
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]
