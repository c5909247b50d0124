"""Reads all that a store holds into a backup, and puts it back while no driver runs."""

from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from typing import Protocol

from d4d.adapters.stores.backup_file import Backup
from d4d.adapters.system.state_directory import StateDirectory
from d4d.domain.errors import AddressInUse, BadRequest, StoreUnavailable
from d4d.domain.leases import Lease
from d4d.domain.ports.clock import Clock
from d4d.domain.ports.hosts import NameRegistry
from d4d.domain.ports.stores import LeaseStore
from d4d.domain.reservations import Reservation
from d4d.domain.stored import StoreContents
from d4d.settings.model import Settings

Agree = Callable[[str], None]
"""Tells what will be done, and does not return where that is not wanted."""


class StoreParts(Protocol):
    """What a composed driver has that a backup needs; nothing is opened before it is used."""

    def settings(self) -> Settings:
        """By which the rest is chosen."""

    def state_dir(self) -> StateDirectory:
        """Whose lock a driver has while it runs."""

    def store(self) -> LeaseStore:
        """What is backed up."""

    def names(self) -> NameRegistry | None:
        """Where hosts share names. Raises BadRequest."""

    def clock(self) -> Clock:
        """The time of the backup."""


@dataclass(slots=True)
class Restored:
    """What became of a backup; ``refused`` says why some of it could not be put back."""

    host: str
    pools: int = 0
    leases: int = 0
    reservations: int = 0
    outdated: int = 0
    """Freed leases, kept only as a memory, whose address another has by now."""
    refused: list[str] = field(default_factory=list)


async def back_up(parts: StoreParts, *, everyone: bool) -> Backup:
    """What the store holds of this host, or of ``everyone``. A driver may run. Raises D4DError."""
    _refuse_memory(parts)
    state_dir = parts.state_dir()
    host = state_dir.known_host()
    if host is None:
        raise BadRequest(
            f"no D4D ever ran with the state directory {parts.settings().state_dir}: there is "
            f"nothing to back up. Set D4D_STATE_DIR, and the rest, as the driver has it"
        )
    with state_dir.as_its_owner():
        store = parts.store()
        try:
            hosts = {host, *(await _owners(store) if everyone else ())}
            return Backup(
                host=host,
                made_at=parts.clock()(),
                version=version("d4d"),
                hosts={each: await store.load(each) for each in sorted(hosts)},
                reservations=await _reservations(store),
            )
        finally:
            await store.aclose()


async def restore(parts: StoreParts, backup: Backup, *, replacing: bool, agree: Agree) -> Restored:
    """Put ``backup`` into the store. Raises D4DError; where a driver runs, nothing was changed."""
    _refuse_memory(parts)
    state_dir = parts.state_dir()
    with state_dir.as_its_owner():
        state_dir.lock()
        try:
            return await _restore(parts, backup, replacing, agree)
        finally:
            await parts.store().aclose()
            state_dir.close()


async def _restore(parts: StoreParts, backup: Backup, replacing: bool, agree: Agree) -> Restored:
    store, settings, state_dir = parts.store(), parts.settings(), parts.state_dir()
    is_one = len(backup.hosts) == 1
    host = state_dir.known_host() or (backup.host if is_one else settings.host)
    targets = {host if is_one else name: held for name, held in backup.hosts.items()}
    await _refuse_alive(parts, store, targets.keys() - {host})
    present = {name: await store.load(name) for name in targets}
    _refuse_present(present, replacing)
    agree(_intent(backup, host, present))
    state_dir.host(host)
    restored = Restored(host=host)
    try:
        for name, contents in present.items():
            await _clear(store, name, contents)
        for name, contents in targets.items():
            await _fill(store, parts.names(), name, contents, restored)
        await _reserve(store, backup.reservations, restored)
    except StoreUnavailable as error:
        raise StoreUnavailable(
            f"{error}: the backup is restored in part only. Restore it again with --replace"
        ) from error
    return restored


def _refuse_memory(parts: StoreParts) -> None:
    if parts.settings().store == "memory":
        raise BadRequest(
            "D4D_STORE=memory keeps everything in the driver's memory: it can't be backed up or "
            "restored. Set D4D_STORE to a store that lasts"
        )


async def _owners(store: LeaseStore) -> list[str]:
    hosts = getattr(store, "hosts", None)  # a store of one host alone has none
    return await hosts.owners() if hosts is not None else []


async def _reservations(store: LeaseStore) -> tuple[Reservation, ...]:
    read = getattr(store, "reservations", None)  # another package's store may keep none
    return await read() if read is not None else ()


async def _refuse_alive(parts: StoreParts, store: LeaseStore, others: Collection[str]) -> None:
    """No driver of another host may find its leases changed behind its back."""
    hosts = getattr(store, "hosts", None)  # a store of one host alone has none
    if hosts is None:
        return
    heard = await hosts.heard(parts.clock()())
    for name in others:
        age = heard.age(name)
        if age is not None and age < parts.settings().host_grace:
            raise BadRequest(
                f"{name} was heard of {age.total_seconds():.0f} s ago: stop D4D on each "
                f"host of the backup, and wait for D4D_HOST_GRACE"
            )


def _refuse_present(present: dict[str, StoreContents], replacing: bool) -> None:
    for name, contents in present.items():
        if (contents.pools or contents.leases) and not replacing:
            raise BadRequest(
                f"the store has {_count(contents)} of {name} already: add --replace to have those "
                f"of the backup in their place"
            )


def _intent(backup: Backup, host: str, present: dict[str, StoreContents]) -> str:
    """What an operator must know before it is done."""
    said = [f"{backup}, of {', '.join(backup.hosts)}, made at {backup.made_at:%Y-%m-%d %H:%M:%S}Z"]
    if len(backup.hosts) == 1 and host not in backup.hosts:
        said.append(
            f"They become those of {host}, this host: see that {backup.host} is switched off, or "
            f"both will have the same addresses"
        )
    said += [
        f"What the store has of {name} is forgotten, without giving it back: {_count(contents)}"
        for name, contents in present.items()
        if contents.pools or contents.leases
    ]
    return "To be restored: " + ".\n".join(said) + "."


def _count(contents: StoreContents) -> str:
    return f"{len(contents.pools)} pools, {len(contents.leases)} leases"


async def _clear(store: LeaseStore, owner: str, contents: StoreContents) -> None:
    for lease in contents.leases:
        await store.remove(lease)
    for record in contents.pools:
        await store.save_pool(replace(record, users=0), owner)


async def _fill(
    store: LeaseStore,
    names: NameRegistry | None,
    owner: str,
    contents: StoreContents,
    restored: Restored,
) -> None:
    for record in contents.pools:
        await store.save_pool(record, owner)
        restored.pools += 1
    for lease in sorted(contents.leases, key=_turn):
        try:
            stored = await store.add(replace(lease, owner=owner), unless_held=True)
        except AddressInUse as error:
            if lease.is_held:
                restored.refused.append(f"the lease of {lease.endpoint}: {error}")
            else:
                restored.outdated += 1
        else:
            restored.leases += 1
            if names is not None and lease.endpoint.name and lease.is_held:
                await _claim(names, stored, restored)


async def _claim(names: NameRegistry, lease: Lease, restored: Restored) -> None:
    """Let other hosts know whose the container's name is: one of theirs would get its address."""
    try:
        await names.settle_name(lease)
    except AddressInUse as error:
        restored.refused.append(f"the name of {lease.endpoint}: {error}")


def _turn(lease: Lease) -> tuple[bool, int]:
    """Freed ones first, as they keep no held one out; then the newest last, as it was."""
    return lease.is_held, lease.generation


async def _reserve(
    store: LeaseStore, reservations: tuple[Reservation, ...], restored: Restored
) -> None:
    present = set(await _reservations(store))
    reserve = getattr(store, "reserve", None)  # another package's store may keep none
    for each in reservations:
        if each in present:
            continue
        if reserve is None:
            restored.refused.append(f"{each}: {store!r} keeps no reservations")
            continue
        try:
            await reserve(each)
        except AddressInUse as error:
            restored.refused.append(f"a reservation: {error}")
        else:
            restored.reservations += 1
