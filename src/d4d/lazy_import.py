"""What a start does not import: Docker waits for it, and its first answers need few libraries.

``lazy`` stands for a module that is imported when it is first used. ``import_lazy`` imports all of
them, once Docker is served. ``without_packages`` hides a library from those that import it only
because it happens to be there.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from threading import Lock
from typing import Any, TypeVar

T = TypeVar("T")

_UNWANTED = ("rich", "pygments", "h2")
"""What httpx takes because it is there: for a command line of its own, and for HTTP/2."""

_lazy: list[Callable[[], object]] = []
_alone = Lock()
"""One thread at a time imports: what one of them frees again stays in the way of two."""


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
    _lazy.append(module.imported)
    return module


def import_lazy() -> None:
    """Import what was late, so that no later call waits for it. It may run in a thread."""
    with _alone, without_packages(*_UNWANTED):
        for each in _lazy:
            each()


def first_of_lazy(job: Callable[[], T]) -> Callable[[], T]:
    """What imports by itself, and is called before all others that are late."""
    _lazy.insert(0, job)
    return job


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
