"""Sockets on interfaces that networks name, told when a name is another interface's."""

from typing import Protocol, TypeVar
from weakref import WeakSet

from d4d.domain.ports.disturbances import Disturbance, LinkChanged
from d4d.service_layer.concurrency.supervised_task import its_own


class Follower(Protocol):
    """What has a socket on an interface."""

    name: str
    """The interface's."""

    def follow(self) -> None:
        """The name may be another interface's now."""


_T = TypeVar("_T", bound=Follower)


class NameFollowers:
    """A listener to disturbances. It keeps nobody alive."""

    def __init__(self) -> None:
        self._all: WeakSet[Follower] = WeakSet()

    def add(self, follower: _T) -> _T:
        """Have ``follower`` told from now on; returns it."""
        self._all.add(follower)
        return follower

    def __call__(self, disturbance: Disturbance) -> None:
        """See ``Notify``."""
        if isinstance(disturbance, LinkChanged):
            for follower in tuple(self._all):
                if follower.name == disturbance.name:
                    with its_own(f"socket on {follower.name}"):
                        follower.follow()
