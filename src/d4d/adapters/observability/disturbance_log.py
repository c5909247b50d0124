"""What happened to the host and its engine, in the log: one line for each, in bounds."""

import asyncio
from collections.abc import Callable, Hashable

from d4d.adapters.observability.seldom import Seldom
from d4d.domain.ports.disturbances import (
    ClockJumped,
    Disturbance,
    EngineRestarted,
    LinkChanged,
    RoutesChanged,
)
from d4d.service_layer import log_messages as log

_AT_MOST = 32  # lines a minute


class DisturbanceLog:
    """A listener to disturbances. The same again is a line once a minute.

    Links come and go with every container: of those that no network stands on the log has nothing
    but at debug level.
    """

    def __init__(self, is_parent: Callable[[str], bool]) -> None:
        """``is_parent`` tells whether a network stands on the interface of that name."""
        self._is_parent = is_parent
        self._seldom = Seldom(at_most=_AT_MOST)

    def __call__(self, disturbance: Disturbance) -> None:
        """See ``Notify``."""
        match disturbance:
            case LinkChanged():
                self._link(disturbance)
            case RoutesChanged():
                log.routes_changed()
            case ClockJumped(cause=cause, by=by):
                if self._may_tell(cause):
                    seconds = round(by.total_seconds())
                    log.clock_jumped(seconds=seconds, cause=cause.value)
            case EngineRestarted():
                if self._may_tell(EngineRestarted):
                    log.engine_activated()

    def _link(self, changed: LinkChanged) -> None:
        name, formerly = changed.name, changed.former_name
        changes = " ".join(sorted(each.value for each in changed.changes))
        if not self._is_parent(name):
            log.link_changed(link=name, changes=changes, formerly=formerly)
        elif self._may_tell((name, changed.changes)):
            untold = self._seldom.untold()
            log.parent_changed(link=name, changes=changes, formerly=formerly, untold=untold)

    def _may_tell(self, what: Hashable) -> bool:
        return self._seldom.may_tell(what, asyncio.get_running_loop().time())
