"""What is held of one pool: who uses it, which addresses are reserved, which are leased."""

from collections.abc import Iterator

from d4d.domain.addressing import Address, MacAddress
from d4d.domain.claims import Claims
from d4d.domain.leases import Lease
from d4d.domain.pools import Pool, PoolRecord, Purpose, ReservedAddress


class PoolState:
    """One pool's users, reservations and leases, in memory. Nothing here waits or writes."""

    def __init__(self, record: PoolRecord) -> None:
        self.pool: Pool = record.pool
        self.users = record.users
        self._reservations = {
            each.address: each
            for each in record.reservations
            if each.purpose is not Purpose.CLAIMED
        }
        self.version = record.version
        """How often it was stored: an older record never takes the place of a newer."""
        self.claims = Claims(record.reservations)
        """How often Docker was answered with which address."""
        self._leases: dict[Address, Lease] = {}
        self._by_mac: dict[MacAddress, Address] = {}
        self._by_name: dict[str, Address] = {}

    @property
    def record(self) -> PoolRecord:
        """The pool as it is stored."""
        return PoolRecord(
            pool=self.pool,
            users=self.users,
            reservations=(*self._reservations.values(), *self.claims.stored),
            version=self.version,
        )

    @property
    def is_used(self) -> bool:
        """Whether a network uses the pool, or a lease of it is still held."""
        return self.users > 0 or any(lease.is_held for lease in self._leases.values())

    # Reservations

    def reserve(self, address: Address, purpose: Purpose) -> None:
        """Reserve ``address`` once more."""
        held = self._reservations.get(address)
        self._reservations[address] = ReservedAddress(
            address=address,
            purpose=held.purpose if held else purpose,
            count=held.count + 1 if held else 1,
        )

    def unreserve(self, address: Address) -> bool:
        """Let go of one reservation of ``address``; False where there is none."""
        held = self._reservations.pop(address, None)
        if held is not None and held.count > 1:
            self._reservations[address] = ReservedAddress(
                address=address, purpose=held.purpose, count=held.count - 1
            )
        return held is not None

    def clear_reservations(self) -> None:
        """Let go of all reservations: the last network that made any has gone."""
        self._reservations.clear()

    def reservation(self, address: Address) -> str | None:
        """Why ``address`` is reserved, or None where it is not."""
        held = self._reservations.get(address)
        if held is not None:
            return held.purpose.value
        is_gateway = address == self.pool.gateway and address in self.record.reserved
        return Purpose.GATEWAY.value if is_gateway else None

    def is_gateway(self, address: Address) -> bool:
        """Whether ``address`` is the network's gateway, learnt or given."""
        held = self._reservations.get(address)
        return address == self.pool.gateway or (
            held is not None and held.purpose is Purpose.GATEWAY
        )

    # Leases

    def leases(self) -> Iterator[Lease]:
        """Every lease in any state, the freed ones that are remembered included."""
        return iter(tuple(self._leases.values()))

    def lease(self, address: Address) -> Lease | None:
        """The lease of ``address`` that Docker still uses."""
        lease = self._leases.get(address)
        return lease if lease is not None and lease.is_live else None

    def latest(self, address: Address) -> Lease | None:
        """The lease of ``address`` in any state."""
        return self._leases.get(address)

    def put(self, lease: Lease) -> None:
        """Take in a lease, in place of whatever had its address."""
        self.discard(lease.address)
        self._leases[lease.address] = lease
        if self._leads(lease, self.of_mac(lease.endpoint.mac)):
            self._by_mac[lease.endpoint.mac] = lease.address
        if lease.endpoint.name and self._leads(lease, self.of_name(lease.endpoint.name)):
            self._by_name[lease.endpoint.name] = lease.address

    def _leads(self, lease: Lease, other: Lease | None) -> bool:
        """Whether a container is better known by ``lease``: the live one, then the newest."""
        if other is None:
            return True
        return (lease.is_live, lease.generation) >= (other.is_live, other.generation)

    def discard(self, address: Address) -> None:
        """Forget the lease of ``address``, if there is one."""
        lease = self._leases.pop(address, None)
        if lease is None:
            return
        if self._by_mac.get(lease.endpoint.mac) == address:
            del self._by_mac[lease.endpoint.mac]
        name = lease.endpoint.name
        if name and self._by_name.get(name) == address:
            del self._by_name[name]

    def of_mac(self, mac: MacAddress) -> Lease | None:
        """The newest lease of ``mac``, in any state."""
        address = self._by_mac.get(mac)
        return self._leases.get(address) if address is not None else None

    def of_name(self, name: str | None) -> Lease | None:
        """The newest lease of the container ``name``, in any state."""
        address = self._by_name.get(name) if name else None
        return self._leases.get(address) if address is not None else None
