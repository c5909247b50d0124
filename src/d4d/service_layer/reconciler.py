"""What Docker has, held against what we hold: leases whose containers are gone, and the reverse.

Docker never repeats a release that it could not deliver, and an answer of ours may have been lost.
So at start, and every now and then, its API is asked. An error is no absence: it frees nothing.
Neither is a list that lacks the network itself: see ``evidence``. What is not there is released
only when it was not there twice, with time between: containers may be on their way meanwhile.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from d4d.domain.addressing import Address, MacAddress
from d4d.domain.errors import AddressInUse, D4DError
from d4d.domain.evidence import Evidence, Look
from d4d.domain.leases import Endpoint, Lease
from d4d.domain.pool_state import PoolState
from d4d.domain.pools import PoolId, PoolOptions, PoolRequest, Purpose
from d4d.domain.ports.clock import Clock
from d4d.domain.ports.docker import Attachment, DockerEngine, DockerNetwork
from d4d.service_layer.concurrency.supervised_task import its_own
from d4d.service_layer.ipam_service import IpamService

_REMEMBER = timedelta(days=7)  # how long a freed address is kept for its container's return

Key = tuple[PoolId, Address, int]


@dataclass(slots=True, kw_only=True)
class ReconcileResult:
    """What one reconciliation came to."""

    gone: list[Lease] = field(default_factory=list)
    """Released: their containers were missing twice."""
    missing: list[Lease] = field(default_factory=list)
    """Missing once."""
    adopted: list[Attachment] = field(default_factory=list)
    named: list[Attachment] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    """Networks and containers that could not be taken up, and why."""
    unused: list[PoolId] = field(default_factory=list)
    """Pools that no network has, for which Docker's release was never heard: given back."""
    unseen: list[str] = field(default_factory=list)
    """Pools that were found now to have no network, and what that means: told once of each."""


class Reconciler:
    """Compares, and remembers between two runs what was missing."""

    def __init__(
        self, *, ipam: IpamService, containers: DockerEngine, clock: Clock, grace: timedelta
    ) -> None:
        """Leases younger than ``grace`` are left alone: Docker may still be starting those.

        It is D4D_RECONCILE, and half of it lies between two looks that both count.
        """
        self._ipam = ipam
        self._containers = containers
        self._clock = clock
        self._grace = grace
        self._missed: dict[Key, datetime] = {}
        """Since when each lease is missing."""
        self._unseen: set[PoolId] = set()
        self._unused: dict[PoolId, datetime] = {}
        """Since when no network was seen of each pool that networks used."""

    async def run(self) -> ReconcileResult:
        """Release what is gone, take up what is unknown, learn names.

        Raises DockerUnavailable, or StoreUnavailable where it is not known what is held here: then
        nothing was changed.
        """
        await self._ipam.heartbeat.confirm()
        before = [
            lease for lease in self._ipam.leasing.leases if lease.is_live
        ]  # leases come first
        began = self._clock()
        look = await self._look()
        findings = ReconcileResult()
        await self._release_gone(before, look, began, findings)
        await self._ipam.leasing.forget_claims(
            lambda pool, address: look.of_address(pool, address) is Evidence.GONE
        )
        await self._learn(look, began, findings)
        await self._forget_unused(look, began, findings)
        await self._ipam.leasing.forget_freed(_REMEMBER)
        return findings

    async def learn(self) -> ReconcileResult:
        """Only take up what is unknown, and learn names: after a container has started.

        Raises what ``run`` does.
        """
        await self._ipam.heartbeat.confirm()
        began = self._clock()
        look = await self._look()
        findings = ReconcileResult()
        await self._learn(look, began, findings)
        return findings

    async def _look(self) -> Look:
        """Raises DockerUnavailable."""
        pools = self._ipam.pools
        return Look(
            networks=await self._containers.networks(),
            attachments=await self._containers.attachments(),
            pools=pools,
        )

    async def _release_gone(
        self, leases: list[Lease], look: Look, began: datetime, findings: ReconcileResult
    ) -> None:
        missed: dict[Key, datetime] = {}
        withheld: dict[PoolId, list[Lease]] = {}
        leasing = self._ipam.leasing
        for lease in leases:
            if look.of(lease) is Evidence.HERE:
                continue
            is_given_back = leasing.is_given_back(lease)
            if not is_given_back and began - leasing.answered_at(lease) < self._grace:
                continue
            if look.of(lease) is Evidence.UNKNOWN:
                withheld.setdefault(lease.pool, []).append(lease)
                continue
            key = (lease.pool, lease.address, lease.generation)
            since = self._missed.get(key)
            if is_given_back:
                reason = "Docker gave it back, and no container has it"
            elif since is not None and began - since >= self._grace / 2:
                reason = "its container is gone, and Docker did not say so"
            else:
                missed[key] = since or self._clock()
                findings.missing.append(lease)
                continue
            with its_own(f"release of {lease.address}", but=D4DError):
                await leasing.give_up(lease, reason, proven=True)
                findings.gone.append(lease)
        self._missed = missed
        leasing.missing = frozenset(missed)
        self._tell_unseen(look, withheld, findings)

    def _tell_unseen(
        self, look: Look, withheld: dict[PoolId, list[Lease]], findings: ReconcileResult
    ) -> None:
        self._unseen = {pool for pool in self._unseen if not look.shows(pool)}
        for pool, leases in withheld.items():
            if pool in self._unseen:
                continue
            self._unseen.add(pool)
            addresses = ", ".join(str(lease.address) for lease in leases)
            findings.unseen.append(
                f"Docker shows no network of pool {pool}, and never released it: whether "
                f"containers have {addresses} is unknown, and they stay leased. If the network is "
                f"gone for good, release them with d4d release"
            )

    async def _forget_unused(self, look: Look, began: datetime, findings: ReconcileResult) -> None:
        """Give back pools that no network has, seen twice: Docker says that once, and it got lost.

        A network that Docker does not show, as a swarm's without a task here, is none the worse:
        its pool is made anew from its id. One with a lease in use waits for what becomes of that.
        """
        in_use = {lease.pool for lease in self._ipam.leasing.leases if lease.is_live}
        unused = {
            record.pool.id: self._unused.get(record.pool.id, began)
            for record in self._ipam.pools
            if record.users and record.pool.id not in in_use and not look.may_show(record.pool)
        }
        for pool, since in tuple(unused.items()):
            if began - since >= self._grace / 2:
                del unused[pool]
                await self._ipam.forget_pool(pool)
                findings.unused.append(pool)
        self._unused = unused

    async def _learn(self, look: Look, began: datetime, findings: ReconcileResult) -> None:
        """By the networks' own ends: the list of containers has those of one that ends for longer.

        That it has an address is no reason to take it up again, if Docker has just released it.
        """
        held = {(lease.address, lease.endpoint.mac): lease for lease in self._ipam.leasing.leases}
        for network in look.networks:
            with its_own(f"network {network.name}", but=D4DError):
                await self._learn_of(network, held, began, findings)

    async def _learn_of(
        self,
        network: DockerNetwork,
        held: Mapping[tuple[Address, MacAddress], Lease],
        began: datetime,
        findings: ReconcileResult,
    ) -> None:
        unknown = []
        for each in network.ends:
            lease = held.get((each.address, each.mac))
            if lease is not None and lease.released_at and lease.released_at >= began:
                continue
            if lease is None or not lease.is_live:
                unknown.append(each)
            elif each.name and lease.endpoint.name != each.name:
                await self._ipam.leasing.name(lease, each.name)
                findings.named.append(each)
        if unknown and network.is_ours:
            await self._adopt(network, unknown, findings)

    async def _adopt(
        self, network: DockerNetwork, unknown: list[Attachment], findings: ReconcileResult
    ) -> None:
        """Take up the containers of a network whose leases we don't know: the store was lost."""
        try:
            requests = list(_requests(network))
            pools = [await self._ipam.adopt_pool(each, _reserved(network)) for each in requests]
        except D4DError as error:
            findings.refused.append(f"network {network.name}: {error}")
            return
        for each in unknown:
            for pool, request in zip(pools, requests, strict=True):
                if request.subnet is not None and each.address in request.subnet:
                    await self._adopt_one(network, pool, each, findings)

    async def _adopt_one(
        self, network: DockerNetwork, pool: PoolState, each: Attachment, findings: ReconcileResult
    ) -> None:
        try:
            endpoint = Endpoint(mac=each.mac, name=each.name)
            if await self._ipam.leasing.adopt(
                pool, endpoint, each.address, named=self._containers.gives_names
            ):
                findings.adopted.append(each)
        except AddressInUse as error:
            findings.refused.append(
                f"network {network.name}: container {each.name or each.mac} uses {each.address}: "
                f"{error}. Restart it, so that it gets an address of its own"
            )
        except D4DError as error:
            findings.refused.append(f"network {network.name}: {error}")


def _requests(network: DockerNetwork) -> list[PoolRequest]:
    """What Docker asked when it made the network, as far as its API tells."""
    options = PoolOptions.parse(network.options)
    return [
        PoolRequest(
            subnet=config.subnet,
            range=config.range,
            options=options,
            version=config.subnet.version,
        )
        for config in network.subnets
    ]


def _reserved(network: DockerNetwork) -> dict[Address, Purpose]:
    reserved: dict[Address, Purpose] = {}
    for config in network.subnets:
        reserved |= dict.fromkeys(config.auxiliary, Purpose.AUXILIARY)
        if config.gateway is not None:
            reserved[config.gateway] = Purpose.GATEWAY
    return reserved
