"""Pools and leases in Redis or Valkey, shared by many hosts.

Each write is one script, so it happens as a whole, and compares owner and generation before it
changes anything. All keys of one subnet are in one hash slot: the subnet is their hash tag. Names
of owners and parents are percent-encoded. An address is a number in hex, as long as its version
needs. With the default prefix:

    d4d:schema                             which layout this is: 1
    d4d:owners                             set: every host that stored anything
    d4d:subnets:OWNER                      set: the subnets in which it did
    d4d:operator                           set: the segments in which an operator reserved any
    d4d:hosts                              hash: when each host was last heard of, in microseconds,
                                           and by which installation; or, while it is drained,
                                           since when and by whom

    d4d:{SUBNET}:owners                    set: the hosts that are in both lists above
    d4d:{SUBNET}:generation                the last generation: the time in microseconds, or more
    d4d:{SUBNET}:records:OWNER             hash: pool id -> reserved addresses, and its record
    d4d:{SUBNET}:leases:POOL               hash: address -> generation, state, owner, and the rest
    d4d:{SUBNET}:pools:OWNER               set: the pools in which it has leases
    d4d:{SUBNET}:of:OWNER:POOL             set: the addresses of these leases
    d4d:{SUBNET}:held:PARENT               hash: address -> generation of the lease that holds it
    d4d:{SUBNET}:reserved:PARENT           hash: address -> how many pool records reserve it
    d4d:{SUBNET}:operator:PARENT           hash: address -> an operator's reservation; and whom it
                                           is for, a MAC or a name -> address
    d4d:{SUBNET}:marks:PARENT              hash: range -> its lowest address never looked at
    d4d:{SUBNET}:rest:PARENT:RANGE         sorted set: freed addresses of the range by time
    d4d:{SUBNET}:names:PARENT              hash: container name -> owner, when claimed, and lease

A generation is higher than any before it in its subnet; over all subnets, as far as the clock of
Redis goes forward.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from d4d.adapters.stores.lease_codec import LeaseReader, state_word, to_microseconds
from d4d.adapters.stores.redis.connection import RedisConnection
from d4d.adapters.stores.redis.hosts import RedisHosts, RedisNames
from d4d.adapters.stores.redis.records import (
    Place,
    claim_to_text,
    lease_from_value,
    lease_to_body,
    record_from_value,
    record_to_body,
    reservation_from_value,
    reservation_to_parts,
    reservations_from_hash,
    reserved_numbers,
    token,
)
from d4d.adapters.stores.redis.scripts import RedisScripts
from d4d.domain.address_selection import (
    AddressClaim,
    freed_at,
    refuse_full,
    refuse_leased,
    refuse_reserved,
)
from d4d.domain.addressing import Address, from_number, to_number
from d4d.domain.errors import BadRequest, StoreUnavailable, Superseded
from d4d.domain.leases import Lease
from d4d.domain.pools import PoolId, PoolRecord
from d4d.domain.reservations import (
    Reservation,
    ReservationSet,
    refuse_reserved_already,
    refuse_second,
)
from d4d.domain.stored import StoreContents

_READ_TOGETHER = 32  # leases read from what Redis said without a turn for others: a millisecond
_STEPS = 10_000  # addresses that one run of a script may pass by: others wait for so long


class RedisLeaseStore:
    """A RangeStore and Reservations in Redis. What fails is not repeated: it may be done."""

    def __init__(
        self, url: str, *, prefix: str = "d4d:", wait: int = 0, steps: int = _STEPS
    ) -> None:
        """``wait`` replicas have each write before it counts. Raises BadRequest."""
        self.redis = RedisScripts(url, prefix=prefix, wait=wait)
        self.hosts = RedisHosts(self.redis)
        self.names = RedisNames(self.redis)
        self._steps = steps

    def __repr__(self) -> str:
        return f"<RedisLeaseStore {self.redis}>"

    async def load(self, owner: str) -> StoreContents:
        """Everything that ``owner`` stored. Raises StoreUnavailable, StoreTooNew."""
        return await self._contents(await self._of_owner(f"load what {owner} has", "load", owner))

    async def count(self, owner: str) -> int:
        """How many addresses ``owner`` holds."""
        return sum(await self._of_owner(f"count what {owner} has", "count", owner))

    async def save_pool(self, record: PoolRecord, owner: str) -> None:
        """Insert or replace ``owner``'s record of a pool; one without users is removed."""
        body = record_to_body(record) if record.users > 0 else ""
        numbers = reserved_numbers(record) if body else []
        parts = [record.version, body, *numbers]
        answer = await self._write("save a pool", "save_pool", record.pool.id, owner, parts)
        if answer == "superseded":
            raise Superseded(
                f"a newer record of pool {record.pool.id} is stored in Redis at {self.redis.place}"
            )

    async def add(self, lease: Lease, *, unless_held: bool = False) -> Lease:
        """Store a new acquisition; returns it with its generation. Raises AddressInUse."""
        number = to_number(lease.address)
        at = to_microseconds(lease.acquired_at)
        parts = [number, state_word(lease), lease_to_body(lease), "1" if unless_held else "", at]
        doing = f"store the lease of {lease.address}"
        answer = await self._write(doing, "add", lease.pool, lease.owner, parts)
        if isinstance(answer, list):
            _, value = answer
            refuse_leased(lease.address, self._lease(lease.pool, number, value) if value else None)
        return replace(lease, generation=int(answer))

    async def take(self, claim: AddressClaim) -> Lease:
        """Choose an address and store its lease, in one round trip.

        Raises AddressInUse, NoAddress.
        """
        pool, owner = claim.pool.id, claim.owner
        answer = ["again"]
        while answer == ["again"]:
            async with self.redis.use("take an address of", claim.pool.assignable) as client:
                place = Place.of(pool)
                answer = await self._registered(
                    client, "take", place.subnet, owner, claim_to_text(claim, self._steps)
                )
        match answer:
            case ["taken", number, generation]:
                return claim.lease(from_number(number), generation=int(generation))
            case ["full", reserved]:
                refuse_full(claim, reserved=int(reserved))
            case ["reserved", value] if claim.address is not None:
                number, segment = to_number(claim.address), claim.segment
                kept = self._reservation(segment, number, value) if value else None
                refuse_reserved(claim.address, claim, kept)
            case ["held", value] if claim.address is not None:
                number = to_number(claim.address)
                refuse_leased(
                    claim.address, self._lease(claim.pool.id, number, value) if value else None
                )
        raise self._nonsense(answer)

    async def update(self, lease: Lease) -> None:
        """Replace the lease of the same pool, address, owner, generation. Raises Superseded."""
        parts = [state_word(lease), lease_to_body(lease), to_microseconds(freed_at(lease))]
        if not await self._compare("update the lease", "update", lease, parts):
            raise Superseded(
                f"lease {lease.address} of {lease.owner!r}, generation {lease.generation}, "
                f"is not the one stored in Redis at {self.redis.place}"
            )

    async def remove(self, lease: Lease) -> bool:
        """Remove the lease of the same pool, address, owner and generation, if there is one."""
        parts = [to_microseconds(freed_at(lease))]
        return await self._compare("remove the lease", "remove", lease, parts)

    async def reserve(self, reservation: Reservation) -> bool:
        """Store a reservation; returns whether a lease holds its address. Raises AddressInUse."""
        segment = reservation.segment
        async with self.redis.use(f"reserve {reservation.address}") as client:
            place, number = Place.at(segment), to_number(reservation.address)
            parts = [place.parent, number, *reservation_to_parts(reservation)]
            await client.execute_command("SADD", self.redis.prefix + "operator", segment)
            answer = await self.redis.evaluate(
                client, "reserve", self.redis.root(place.subnet), *parts
            )
        match answer:
            case ["reserved", held]:
                return bool(held)
            case ["taken", stored, value]:
                found = self._reservation(segment, stored, value)
                if found.address == reservation.address:
                    refuse_reserved_already(found)
                refuse_second(found)
        raise self._nonsense(answer)

    async def unreserve(self, segment: str, address: Address) -> Reservation | None:
        """Take away the reservation of ``address``, and return it."""
        async with self.redis.use(f"take away the reservation of {address}") as client:
            place, number = Place.at(segment), to_number(address)
            root = self.redis.root(place.subnet)
            value = await self.redis.evaluate(client, "unreserve", root, place.parent, number)
        return self._reservation(segment, number, value) if value else None

    async def reserved(self, segment: str) -> ReservationSet:
        """Those of one segment, in one round trip."""
        async with self.redis.use("read what is reserved") as client:
            return await self._reserved(client, segment)

    async def reservations(self) -> tuple[Reservation, ...]:
        """Those of all segments."""
        async with self.redis.use("read what is reserved") as client:
            segments = await client.execute_command("SMEMBERS", self.redis.prefix + "operator")
            found = await asyncio.gather(
                *(self._reserved(client, segment) for segment in sorted(segments))
            )
        return tuple(each for segment in found for each in segment)

    async def aclose(self) -> None:
        """Close all connections."""
        await self.redis.aclose()

    # Scripts

    async def _write(
        self, doing: str, name: str, pool: PoolId, owner: str, parts: Sequence[object]
    ) -> Any:
        """What a script answers that stores something for ``owner`` in ``pool``."""
        async with self.redis.use(doing) as client:
            place = Place.of(pool)
            # a record's pool and a lease's place come in one order for all scripts
            rest = [pool, place.parent, *parts]
            return await self._registered(client, name, place.subnet, owner, token(owner), *rest)

    async def _registered(
        self, client: RedisConnection, name: str, subnet: str, owner: str, first: str, *rest: object
    ) -> Any:
        """What a script answers that stores something for ``owner``; ``first`` tells of whom.

        An owner's first write in a subnet must be in the list of its subnets before, which is in
        another slot: the script tells when it is not.
        """
        root = self.redis.root(subnet)
        answer = await self.redis.evaluate(client, name, root, first, "", *rest)
        if answer in ("register", ["register"]):
            key = self._subnets_key(owner)
            await client.execute_command("SADD", self.redis.prefix + "owners", token(owner))
            await client.execute_command("SADD", key, subnet)
            answer = await self.redis.evaluate(client, name, root, first, "1", *rest)
        return answer

    async def _of_owner(self, doing: str, name: str, owner: str) -> list[Any]:
        """What a script answers that reads what ``owner`` has, for each of its subnets."""
        async with self.redis.use(doing) as client:
            subnets = await client.execute_command("SMEMBERS", self._subnets_key(owner))
            return await asyncio.gather(
                *(
                    self.redis.evaluate(client, name, self.redis.root(subnet), token(owner))
                    for subnet in sorted(subnets)
                )
            )

    async def _compare(self, doing: str, name: str, lease: Lease, parts: Sequence[object]) -> bool:
        """Whether a script found the lease of this owner and generation, and changed it."""
        async with self.redis.use(f"{doing} of {lease.address}") as client:
            place = Place.of(lease.pool)
            number, generation = to_number(lease.address), lease.generation
            key = [token(lease.owner), lease.pool, place.parent, number, generation]
            return bool(
                await self.redis.evaluate(client, name, self.redis.root(place.subnet), *key, *parts)
            )

    def _subnets_key(self, owner: str) -> str:
        return f"{self.redis.prefix}subnets:{token(owner)}"

    # What comes back

    async def _contents(self, answers: list[Any]) -> StoreContents:
        """Of thousands of leases, with others' turns between: an operator may ask for them."""
        reader, records, leases = LeaseReader(), [], []
        for stored_records, *pools in answers:
            pairs = zip(stored_records[::2], stored_records[1::2], strict=True)
            for pool, value in pairs:
                try:
                    records.append(record_from_value(pool, value))
                except (ValueError, KeyError, TypeError, BadRequest) as error:
                    raise self._damaged(value, error) from error
            for pool, stored in pools:
                for number, value in zip(stored[::2], stored[1::2], strict=True):
                    leases.append(self._lease(pool, number, value, reader))
                    if not len(leases) % _READ_TOGETHER:
                        await asyncio.sleep(0)
        return StoreContents(pools=tuple(records), leases=tuple(leases))

    def _lease(
        self, pool: str, number: str, value: str, reader: LeaseReader | None = None
    ) -> Lease:
        try:
            return lease_from_value(reader or LeaseReader(), pool, number, value)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise self._damaged(f"{number} {value}", error) from error

    async def _reserved(self, client: RedisConnection, segment: str) -> ReservationSet:
        place = Place.at(segment)
        key = f"{self.redis.root(place.subnet)}:operator:{place.parent}"
        stored = await client.execute_command("HGETALL", key)
        try:
            return ReservationSet(reservations_from_hash(segment, stored))
        except (ValueError, TypeError) as error:
            raise self._damaged(str(stored), error) from error

    def _reservation(self, segment: str, number: str, value: str) -> Reservation:
        try:
            return reservation_from_value(segment, number, value)
        except (ValueError, TypeError) as error:
            raise self._damaged(f"{number} {value}", error) from error

    def _nonsense(self, answer: object) -> StoreUnavailable:
        return StoreUnavailable(f"Redis answered what no script of D4D says: {answer!r}")

    def _damaged(self, value: str, error: Exception) -> StoreUnavailable:
        return StoreUnavailable(
            f"Redis at {self.redis.place} holds under {self.redis.prefix} what D4D never wrote "
            f"({error!r}): {value!r}"
        )
