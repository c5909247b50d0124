"""The host's links as the kernel told of them, and what changed since somebody was told of it."""

from d4d.adapters.network.rtnetlink import AddressTold, Link, LinkGone, LinkTold
from d4d.domain.ports.disturbances import LinkChange, LinkChanged


class LinkTable:
    """Takes news, and has for each name what became of it.

    A dump stands between ``begin`` and ``links_ended``, ``addresses_ended``: what it does not
    tell of is gone. Before the first one was whole nothing counts as a change.
    """

    def __init__(self) -> None:
        self._links: dict[int, Link] = {}
        self._index: dict[str, int] = {}
        self._addresses: dict[int, set[bytes]] = {}
        self._is_known = False
        self._unseen: set[int] = set()
        self._dumped: dict[int, set[bytes]] | None = None
        self._told_index: dict[str, int] = {}
        """Who had a name when it was last told of."""
        self._told_name: dict[int, str] = {}
        self._changes: dict[str, set[LinkChange]] = {}

    @property
    def changed(self) -> list[str]:
        """The names of which there is something to tell, or of which it came to nothing."""
        return list(self._changes)

    def pop(self, name: str) -> LinkChanged | None:
        """What became of ``name`` since the last time; None where it is as it was."""
        changes = self._changes.pop(name)
        before, now = self._told_index.pop(name, None), self._index.get(name)
        former_name = None
        if now is not None:
            former_name = self._told_name.get(now)
            self._told_index[name], self._told_name[now] = now, name
        if before is not None and before not in self._links:
            self._told_name.pop(before, None)
        if before is None and now is None:
            return None  # as the links that become a container's: nobody can have known them
        if before is None:
            changes.add(LinkChange.CAME)
        elif now is None:
            changes = {LinkChange.WENT, *changes & {LinkChange.ADDRESSES}}
        elif before != now:
            changes.add(LinkChange.REPLACED)
        if former_name in {None, name}:
            former_name = None
        else:
            changes.add(LinkChange.RENAMED)
        if not changes:
            return None
        return LinkChanged(name=name, changes=frozenset(changes), former_name=former_name)

    def begin(self) -> None:
        """A dump of all links, and one of all addresses behind it, will be told."""
        self._unseen = set(self._links)
        self._dumped = None

    def links_ended(self) -> None:
        """All links were told; the dump of the addresses begins."""
        for index in self._unseen:
            self.remove(LinkGone(index=index))
        self._unseen = set()
        self._dumped = {}

    def addresses_ended(self) -> None:
        """All addresses were told."""
        dumped, self._dumped = self._dumped or {}, None
        for index, link in self._links.items():
            if dumped.get(index, set()) != self._addresses.get(index, set()):
                self._note(link.name, LinkChange.ADDRESSES)
        self._addresses = dumped
        if not self._is_known:
            self._is_known = True
            self._told_name = {index: link.name for index, link in self._links.items()}
            self._told_index = {name: index for index, name in self._told_name.items()}

    def add(self, told: LinkTold) -> None:
        """A link is there, and as it is told."""
        link = told.link
        old = self._links.get(link.index)
        self._forget_name(old)
        self._links[link.index], self._index[link.name] = link, link.index
        self._unseen.discard(link.index)
        if old is None or old.name != link.name:
            self._note(link.name)
            if old is not None:
                self._note(old.name)
        if old is None:
            return
        if old.is_up != link.is_up:
            self._note(link.name, LinkChange.UP if link.is_up else LinkChange.DOWN)
        if old.mac != link.mac:
            self._note(link.name, LinkChange.MAC)

    def remove(self, gone: LinkGone) -> None:
        """A link is no more."""
        had_addresses = bool(self._addresses.pop(gone.index, None))
        if (old := self._links.pop(gone.index, None)) is not None:
            self._forget_name(old)
            self._note(old.name, *[LinkChange.ADDRESSES] * had_addresses)

    def address(self, told: AddressTold) -> None:
        """An address is there, or is not."""
        if self._dumped is not None:
            _put(self._dumped, told)
            return
        was_there = told.address in self._addresses.get(told.index, ())
        _put(self._addresses, told)
        if was_there != told.is_there and (link := self._links.get(told.index)) is not None:
            self._note(link.name, LinkChange.ADDRESSES)

    def _forget_name(self, link: Link | None) -> None:
        if link is not None and self._index.get(link.name) == link.index:
            del self._index[link.name]

    def _note(self, name: str, *changes: LinkChange) -> None:
        if self._is_known:
            self._changes.setdefault(name, set()).update(changes)


def _put(addresses: dict[int, set[bytes]], told: AddressTold) -> None:
    there = addresses.setdefault(told.index, set())
    if told.is_there:
        there.add(told.address)
    else:
        there.discard(told.address)
        if not there:
            del addresses[told.index]
