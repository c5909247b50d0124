"""Pools and leases in Redis or Valkey, shared by many hosts.

Each write is one script, so it happens as a whole, and compares owner and generation before it
changes anything. All keys of one subnet are in one hash slot: the subnet is their hash tag. Names
of owners and parents are percent-encoded. An address is a number in hex, as long as its version
needs. With the default prefix:

    d4d:schema                             which layout this is: 1
    d4d:owners                             set: every host that stored anything
    d4d:subnets:OWNER                      set: the subnets in which it did
    d4d:operator                           set: the segments in which an operator reserved any
    d4d:hosts                              hash: when each host was last heard of, in microseconds

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

A generation is higher than any before it in its subnet; over all subnets, as far as the clock of
Redis goes forward.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime
from hashlib import sha1
from importlib.resources import files
from typing import Any, NamedTuple

import structlog
from redis.exceptions import NoPermissionError, NoScriptError

from d4d.adapters.stores.redis_client import (
    CONNECTIONS,
    FAILURES,
    Client,
    connect,
    redacted,
    unavailable,
)
from d4d.adapters.stores.redis_lease import (
    Place,
    lease_from_value,
    lease_to_body,
    owner_of,
    record_from_value,
    record_to_body,
    reservation_from_value,
    reservation_to_parts,
    reservations_from_hash,
    reserved_numbers,
    token,
    wishes,
)
from d4d.adapters.stores.serialize import LeaseReader, from_microseconds, to_microseconds
from d4d.domain.errors import BadRequest, StoreTooNew, StoreUnavailable, Superseded
from d4d.domain.leases import Lease
from d4d.domain.pools import Address, PoolId, PoolRecord
from d4d.domain.ports import Contents
from d4d.domain.ranges import (
    MOST_RESTING,
    Claim,
    freed_at,
    from_number,
    refuse_full,
    refuse_leased,
    refuse_reserved,
    to_number,
)
from d4d.domain.reserved import (
    OperatorReservation,
    Reserved,
    refuse_reserved_already,
    refuse_second,
)

_SCHEMA = 1
_SCRIPTS = ("add", "load", "remove", "reserve", "save_pool", "take", "unreserve", "update")
_STEPS = 10_000  # addresses that one run of a script may pass by: others wait for so long

log = structlog.get_logger()


class _Script(NamedTuple):
    text: str
    digest: str

    @classmethod
    def named(cls, name: str) -> "_Script":
        lua = files("d4d.adapters.stores") / "lua"
        text = (lua / "common.lua").read_text() + (lua / f"{name}.lua").read_text()
        return cls(text, sha1(text.encode(), usedforsecurity=False).hexdigest())


class RedisLeaseStore:
    """A RangeStore, with Reservations and Hosts, in Redis.

    It connects at the first call, and again whenever it must. A call that fails is not repeated
    in here: nobody knows whether it was done.
    """

    def __init__(self, url: str, *, prefix: str = "d4d:", steps: int = _STEPS) -> None:
        """Raises BadRequest where ``url`` or ``prefix`` can't be used."""
        if "{" in prefix or "}" in prefix:
            raise BadRequest(f"D4D_REDIS_PREFIX {prefix!r} has braces, which Redis Cluster reads")
        self._url = url
        self.prefix = prefix
        """What the names of all keys begin with."""
        self._steps = steps
        self._client: Client = connect(url)
        self._scripts = {name: _Script.named(name) for name in _SCRIPTS}
        self._slots = asyncio.Semaphore(CONNECTIONS)
        self._checking = asyncio.Lock()
        self._is_checked = False
        self._warned: set[str] = set()
        self._is_closed = False

    def __repr__(self) -> str:
        closed = " closed" if self._is_closed else ""
        return f"<RedisLeaseStore {redacted(self._url)} {self.prefix}{closed}>"

    async def load(self, owner: str) -> Contents:
        """Everything that ``owner`` stored. Raises StoreUnavailable, StoreTooNew."""
        async with self._use(f"load what {owner} has") as client:
            subnets = await client.execute_command("SMEMBERS", self._subnets_key(owner))
            answers = await asyncio.gather(
                *(
                    self._evaluate(client, "load", self._root(subnet), token(owner))
                    for subnet in sorted(subnets)
                )
            )
        return self._contents(answers)

    async def save_pool(self, record: PoolRecord, owner: str) -> None:
        """Insert or replace ``owner``'s record of a pool; one without users is removed."""
        parts = [record_to_body(record), *reserved_numbers(record)] if record.users > 0 else [""]
        await self._write("save a pool", "save_pool", record.pool.id, owner, parts)

    async def add(self, lease: Lease) -> Lease:
        """Store a new acquisition; returns it with its generation."""
        parts = [to_number(lease.address), lease.state.value, lease_to_body(lease)]
        doing = f"store the lease of {lease.address}"
        generation = await self._write(doing, "add", lease.pool, lease.owner, parts)
        return replace(lease, generation=int(generation))

    async def take(self, claim: Claim) -> Lease:
        """Choose an address and store its lease, in one round trip.

        Raises AddressInUse, NoAddress.
        """
        window, lease = claim.window, claim.lease(claim.pool.subnet.network_address, generation=0)
        parts = [
            *map(to_number, window),
            to_microseconds(claim.at - claim.rest),
            MOST_RESTING,
            self._steps,
            _optional_number(claim.address),
            _optional_number(claim.hint),
            lease.state.value,
            lease_to_body(lease),
            *wishes(claim.endpoint),
            *map(to_number, dict.fromkeys(claim.reserved)),
        ]
        doing = f"take an address of {claim.pool.assignable}"
        answer = ["again"]
        while answer == ["again"]:
            answer = await self._write(doing, "take", claim.pool.id, claim.owner, parts)
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
        parts = [lease.state.value, lease_to_body(lease), to_microseconds(freed_at(lease))]
        if not await self._compare("update the lease", "update", lease, parts):
            raise Superseded(
                f"lease {lease.address} of {lease.owner!r}, generation {lease.generation}, "
                f"is not the one stored in Redis at {redacted(self._url)}"
            )

    async def remove(self, lease: Lease) -> bool:
        """Remove the lease of the same pool, address, owner and generation, if there is one."""
        parts = [to_microseconds(freed_at(lease))]
        return await self._compare("remove the lease", "remove", lease, parts)

    async def reserve(self, reservation: OperatorReservation) -> bool:
        """Store a reservation; returns whether a lease holds its address. Raises AddressInUse."""
        segment = reservation.segment
        async with self._use(f"reserve {reservation.address}") as client:
            place, number = Place.at(segment), to_number(reservation.address)
            parts = [place.parent, number, *reservation_to_parts(reservation)]
            await client.execute_command("SADD", self.prefix + "operator", segment)
            answer = await self._evaluate(client, "reserve", self._root(place.subnet), *parts)
        match answer:
            case ["reserved", held]:
                return bool(held)
            case ["taken", stored, value]:
                found = self._reservation(segment, stored, value)
                if found.address == reservation.address:
                    refuse_reserved_already(found)
                refuse_second(found)
        raise self._nonsense(answer)

    async def unreserve(self, segment: str, address: Address) -> OperatorReservation | None:
        """Take away the reservation of ``address``, and return it."""
        async with self._use(f"take away the reservation of {address}") as client:
            place, number = Place.at(segment), to_number(address)
            root = self._root(place.subnet)
            value = await self._evaluate(client, "unreserve", root, place.parent, number)
        return self._reservation(segment, number, value) if value else None

    async def reserved(self, segment: str) -> Reserved:
        """Those of one segment, in one round trip."""
        async with self._use("read what is reserved") as client:
            return await self._reserved(client, segment)

    async def reservations(self) -> tuple[OperatorReservation, ...]:
        """Those of all segments."""
        async with self._use("read what is reserved") as client:
            segments = await client.execute_command("SMEMBERS", self.prefix + "operator")
            found = await asyncio.gather(
                *(self._reserved(client, segment) for segment in sorted(segments))
            )
        return tuple(each for segment in found for each in segment)

    async def beat(self, host: str, at: datetime) -> None:
        """``host`` is alive."""
        async with self._use("store a heartbeat") as client:
            key = self.prefix + "hosts"
            await client.execute_command("HSET", key, token(host), to_microseconds(at))

    async def beats(self) -> dict[str, datetime]:
        """When each host was last heard of."""
        async with self._use("read heartbeats") as client:
            stored = await client.execute_command("HGETALL", self.prefix + "hosts")
        return {owner_of(host): from_microseconds(int(at)) for host, at in stored.items()}

    async def owners(self) -> list[str]:
        """Every host that ever stored anything."""
        async with self._use("read the hosts") as client:
            stored = await client.execute_command("SMEMBERS", self.prefix + "owners")
        return sorted(map(owner_of, stored))

    async def forget_host(self, host: str) -> None:
        """Forget its heartbeats."""
        async with self._use("forget a host") as client:
            await client.execute_command("HDEL", self.prefix + "hosts", token(host))

    async def aclose(self) -> None:
        """Close all connections."""
        self._is_closed = True
        await self._client.aclose()

    # Scripts

    async def _write(
        self, doing: str, name: str, pool: PoolId, owner: str, parts: Sequence[object]
    ) -> Any:
        """What a script answers that stores something for ``owner``.

        An owner's first write in a subnet must be in the list of its subnets before, which is in
        another slot: the script tells when it is not.
        """
        async with self._use(doing) as client:
            place = Place.of(pool)
            root = self._root(place.subnet)
            # a record's pool and a lease's place come in one order for all scripts
            rest = [pool, place.parent, *parts]
            answer = await self._evaluate(client, name, root, token(owner), "", *rest)
            if answer in ("register", ["register"]):
                key = self._subnets_key(owner)
                await client.execute_command("SADD", self.prefix + "owners", token(owner))
                await client.execute_command("SADD", key, place.subnet)
                answer = await self._evaluate(client, name, root, token(owner), "1", *rest)
            return answer

    async def _compare(self, doing: str, name: str, lease: Lease, parts: Sequence[object]) -> bool:
        """Whether a script found the lease of this owner and generation, and changed it."""
        async with self._use(f"{doing} of {lease.address}") as client:
            place = Place.of(lease.pool)
            number, generation = to_number(lease.address), lease.generation
            key = [token(lease.owner), lease.pool, place.parent, number, generation]
            return bool(await self._evaluate(client, name, self._root(place.subnet), *key, *parts))

    async def _evaluate(self, client: Client, name: str, root: str, *arguments: object) -> Any:
        script = self._scripts[name]
        try:
            return await client.execute_command("EVALSHA", script.digest, 1, root, *arguments)
        except NoScriptError:  # it was restarted, or this is its first time
            return await client.execute_command("EVAL", script.text, 1, root, *arguments)

    def _root(self, subnet: str) -> str:
        return f"{self.prefix}{{{subnet}}}"

    def _subnets_key(self, owner: str) -> str:
        return f"{self.prefix}subnets:{token(owner)}"

    # Connections

    @asynccontextmanager
    async def _use(self, doing: str) -> AsyncIterator[Client]:
        """The client, checked, for one call among ``CONNECTIONS``."""
        if self._is_closed:
            raise StoreUnavailable(f"the lease store {self!r} is closed: D4D is stopping")
        async with self._slots:
            try:
                if not self._is_checked:
                    await self._check()
                yield self._client
            except FAILURES as error:
                self._is_checked = False
                raise unavailable(self._url, doing, error) from error
            except UnicodeEncodeError as error:
                raise BadRequest(f"{error.object!r} is no text that can be stored") from error

    async def _check(self) -> None:
        """See that this is a Redis for us. Raises StoreTooNew."""
        async with self._checking:
            if self._is_checked:
                return
            key = self.prefix + "schema"
            await self._client.execute_command("SET", key, _SCHEMA, "NX")
            schema = await self._client.execute_command("GET", key)
            if int(schema) > _SCHEMA:
                raise StoreTooNew(
                    f"what Redis at {redacted(self._url)} holds under {self.prefix} has version "
                    f"{schema}, and this D4D knows version {_SCHEMA}: run the later D4D that "
                    f"wrote it, or choose another D4D_REDIS_PREFIX to start afresh"
                )
            await self._warn()
            self._is_checked = True

    async def _warn(self) -> None:
        """Say what of this Redis's settings may lose leases, as far as it tells."""
        try:
            info = await self._client.execute_command("INFO")
        except NoPermissionError:
            return
        risks = []
        if info.get("maxmemory") and info.get("maxmemory_policy") != "noeviction":
            risks.append("it may evict leases: set maxmemory-policy noeviction")
        if not info.get("aof_enabled"):
            risks.append("it forgets the last writes in a crash: set appendonly yes")
        for risk in risks:
            if risk not in self._warned:
                log.warning("Redis may lose leases", redis=redacted(self._url), reason=risk)
                self._warned.add(risk)

    # What comes back

    def _contents(self, answers: list[Any]) -> Contents:
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
        return Contents(pools=tuple(records), leases=tuple(leases))

    def _lease(
        self, pool: str, number: str, value: str, reader: LeaseReader | None = None
    ) -> Lease:
        try:
            return lease_from_value(reader or LeaseReader(), pool, number, value)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise self._damaged(f"{number} {value}", error) from error

    async def _reserved(self, client: Client, segment: str) -> Reserved:
        place = Place.at(segment)
        key = f"{self._root(place.subnet)}:operator:{place.parent}"
        stored = await client.execute_command("HGETALL", key)
        try:
            return Reserved(reservations_from_hash(segment, stored))
        except (ValueError, TypeError) as error:
            raise self._damaged(str(stored), error) from error

    def _reservation(self, segment: str, number: str, value: str) -> OperatorReservation:
        try:
            return reservation_from_value(segment, number, value)
        except (ValueError, TypeError) as error:
            raise self._damaged(f"{number} {value}", error) from error

    def _nonsense(self, answer: object) -> StoreUnavailable:
        return StoreUnavailable(f"Redis answered what no script of D4D says: {answer!r}")

    def _damaged(self, value: str, error: Exception) -> StoreUnavailable:
        return StoreUnavailable(
            f"Redis at {redacted(self._url)} holds under {self.prefix} what D4D never wrote "
            f"({error!r}): {value!r}"
        )


def _optional_number(address: Address | None) -> str:
    return to_number(address) if address is not None else ""
