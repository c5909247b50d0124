"""d4d_table: addresses by a table, and leases on a shelf."""

from dataclasses import replace
from ipaddress import ip_address

from d4d.extension_api import AddressInUse, BadRequest, Lease, NoAddress, Pool, SqliteLeaseStore


class TableAllocator:
    """Each container gets the address that stands beside its name in the file ``table``."""

    def __init__(self, *, settings, store, owner, clock):
        self._table = settings.state_dir / "table"

    async def open(self, request):
        if request.subnet is None:
            raise BadRequest("the table has no subnets: create the network with --subnet")
        options = replace(request.options, allocator="table")
        return Pool(subnet=request.subnet, range=request.range, options=options)

    async def allocate(self, request):
        pool, container = request.pool, request.endpoint
        rows = dict(line.split() for line in self._table.read_text().splitlines())
        found = ip_address(rows[container.name]) if container.name in rows else None
        if found is None or found not in pool or request.address not in (None, found):
            raise NoAddress(f"{self._table} has no such address for {container}: add it there")
        if not (judgement := request.judge(found)).is_free:
            raise AddressInUse(f"{judgement.why}: give {container} another in {self._table}")
        return self.adopt(pool, container, found, at=request.at)

    def adopt(self, pool, endpoint, address, *, at):
        return Lease(pool=pool.id, address=address, endpoint=endpoint, acquired_at=at)

    def rename(self, lease, name):
        return replace(lease, endpoint=replace(lease.endpoint, name=name))

    def maintain(self, lease, observer, *, confirm=False): ...  # nothing runs out
    def forget(self, lease): ...
    async def free(self, lease): ...


def shelf(*, settings):
    """D4D's own SQLite store, elsewhere."""
    return SqliteLeaseStore(settings.state_dir / "shelf" / "leases.db")
