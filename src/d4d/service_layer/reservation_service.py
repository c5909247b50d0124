"""What an operator reserves: held against pools and leases, then stored for all hosts."""

from collections.abc import Collection
from dataclasses import dataclass

from d4d.domain.addressing import Address, MacAddress
from d4d.domain.errors import AddressInUse, BadRequest, StoreUnavailable, UnknownPool
from d4d.domain.pools import PoolId, PoolRecord
from d4d.domain.ports.clock import Clock
from d4d.domain.ports.docker import DockerEngine
from d4d.domain.ports.reservations import ReservationStore
from d4d.domain.reservations import Reservation
from d4d.domain.segments import segment_of
from d4d.service_layer.ipam_service import IpamService


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """A reservation that was made, and what its operator should know."""

    reservation: Reservation
    warnings: tuple[str, ...] = ()


class ReservationService:
    """The operator's side of reservations."""

    def __init__(
        self, *, ipam: IpamService, store: ReservationStore, containers: DockerEngine, clock: Clock
    ) -> None:
        self._ipam = ipam
        self._store = store
        self._containers = containers
        self._clock = clock
        self.known: tuple[Reservation, ...] = ()
        """As they were last read, for who can't wait."""

    async def reserve(
        self, pool: str, address: Address, *, whom: str | None = None, note: str = ""
    ) -> Outcome:
        """Keep ``address`` for ``whom``, a MAC or a name, or from all without.

        ``pool`` is an id or a subnet. Raises UnknownPool, BadRequest, AddressInUse,
        StoreUnavailable.
        """
        records = self._records(pool)
        for record in records:
            record.pool.refuse_unusable(address)
            _refuse_network(record, address)
        mac, name = _read(whom)
        reservation = Reservation(
            segment=segment_of(records[0].pool.id),
            address=address,
            made_at=self._clock(),
            mac=mac,
            name=name,
            note=note,
        )
        is_leased = await self._store.reserve(reservation)
        await self.refresh()
        return Outcome(reservation=reservation, warnings=self._warnings(reservation, is_leased))

    async def unreserve(self, pool: str, address: Address) -> Reservation:
        """Take a reservation away. Raises UnknownPool, AddressInUse, StoreUnavailable."""
        found = [each for each in await self.all(pool) if each.address == address]
        if len(found) > 1:
            several = ", ".join(each.segment for each in found)
            raise AddressInUse(f"{address} is reserved in several places, name one: {several}")
        removed = await self._store.unreserve(found[0].segment, address) if found else None
        await self.refresh()
        if removed is None:
            raise UnknownPool(f"no reservation of {address} in {pool}: see d4d reservations")
        return removed

    async def all(self, pool: str | None = None) -> tuple[Reservation, ...]:
        """Every reservation, or those that hold in ``pool``. Raises StoreUnavailable."""
        self.known = await self._store.reservations()
        if pool is None:
            return self.known
        names = {pool, segment_of(PoolId(pool))}
        return tuple(
            each
            for each in self.known
            if each.segment in names or each.segment.partition("?")[0] == pool
        )

    async def refresh(self) -> None:
        """Read them anew; what is known stays while the store is away."""
        try:
            self.known = await self._store.reservations()
        except StoreUnavailable:
            return  # the store's own health tells

    def pool_of(self, reservation: Reservation) -> str:
        """The pool that it is shown with: one in use here, else where it holds."""
        for record in self._ipam.pools:
            if segment_of(record.pool.id) == reservation.segment:
                return record.pool.id
        return reservation.segment

    def kept_in(self, record: PoolRecord) -> Collection[Address]:
        """The addresses reserved where the pool is, as far as known."""
        segment = segment_of(record.pool.id)
        return [each.address for each in self.known if each.segment == segment]

    def _records(self, pool: str) -> list[PoolRecord]:
        """The pools of one segment that ``pool`` names. Raises UnknownPool, BadRequest."""
        records = self._ipam.pools
        found = [
            record
            for record in records
            if pool in (record.pool.id, str(record.pool.subnet), segment_of(record.pool.id))
        ]
        if not found:
            known = ", ".join(record.pool.id for record in records) or "none"
            raise UnknownPool(f"no pool {pool!r} is in use on this host: known are {known}")
        segments = dict.fromkeys(segment_of(record.pool.id) for record in found)
        if len(segments) > 1:
            raise BadRequest(f"{pool} is in several places, name one: {', '.join(segments)}")
        return [each for each in records if segment_of(each.pool.id) in segments]

    def _warnings(self, reservation: Reservation, is_leased: bool) -> tuple[str, ...]:
        warnings = []
        holder = next(
            (
                lease
                for lease in self._ipam.leasing.leases
                if lease.address == reservation.address
                and segment_of(lease.pool) == reservation.segment
                and lease.is_held
            ),
            None,
        )
        until = "it keeps the address, and the reservation holds from the end of that lease"
        if holder is not None and not reservation.is_for(holder.endpoint):
            warnings.append(f"{reservation.address} is leased to {holder.endpoint} now: {until}")
        elif holder is None and is_leased:
            warnings.append(
                f"{reservation.address} is leased to a container of another host now: if that is "
                f"not {reservation.whom}, {until}"
            )
        if reservation.name is not None and not self._containers.gives_names:
            warnings.append(
                f"Docker Engine tells a container's name from 29 on; this host's is older, or was "
                f"not heard of yet: where it is, {reservation.whom} can't be known, so reserve by "
                f"MAC, and run it with --mac-address"
            )
        return tuple(warnings)


def _read(whom: str | None) -> tuple[MacAddress | None, str | None]:
    """A MAC, or a name. Raises BadRequest."""
    if whom is None:
        return None, None
    if ":" in whom:  # no container's name has one
        return MacAddress.parse(whom), None
    if not whom.strip():
        raise BadRequest("--for names nobody: give a container's name or a MAC, or leave it out")
    return None, whom


def _refuse_network(record: PoolRecord, address: Address) -> None:
    """Raises AddressInUse where the pool keeps ``address`` from all containers already."""
    purpose = record.reserved.get(address)
    if purpose is not None:
        raise AddressInUse(
            f"{address} is the {purpose.value} address of a network in {record.pool.subnet}, which "
            f"no container gets anyway: choose another"
        )
