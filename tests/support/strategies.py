"""Hypothesis strategies for the domain's values: all that they may be, not only what is usual."""

from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Network, IPv6Network

from hypothesis import strategies as st

from d4d.domain.addressing import MacAddress
from d4d.domain.lease_states import Standing, Use
from d4d.domain.leases import Endpoint, Lease, RenewalForm, Terms
from d4d.domain.policies import Mode
from d4d.domain.pools import Pool, PoolId, PoolOptions, PoolRecord, Purpose, ReservedAddress

ipv4 = st.ip_addresses(v=4)
addresses = ipv4 | st.ip_addresses(v=6)
ipv4_networks = st.builds(
    lambda address, prefix: IPv4Network((address, prefix), strict=False), ipv4, st.integers(0, 32)
)
ipv6_networks = st.builds(
    lambda address, prefix: IPv6Network((address, prefix), strict=False),
    st.ip_addresses(v=6),
    st.integers(0, 128),
)
networks = ipv4_networks | ipv6_networks
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)
instants = st.datetimes(
    min_value=datetime(1970, 1, 1),  # noqa: DTZ001 - hypothesis adds the zone itself
    timezones=st.just(UTC),
)
durations = st.timedeltas(min_value=timedelta()) | st.just(timedelta.max)
macs = st.binary(min_size=6, max_size=6).map(MacAddress)

pool_options = st.builds(
    PoolOptions,
    parent=st.none() | names,
    allocator=st.none() | names,
    server=st.none() | st.lists(ipv4.filter(lambda a: not a.is_unspecified)).map(tuple),
    mode=st.none() | st.sampled_from(Mode),
)
pools = st.builds(
    Pool,
    subnet=networks,
    range=st.none() | networks,
    gateway=st.none() | addresses,
    options=pool_options,
)
reservations = st.builds(
    ReservedAddress,
    address=addresses,
    purpose=st.sampled_from(Purpose),
    count=st.integers(1, 1000),
)
pool_records = st.builds(
    PoolRecord,
    pool=pools,
    users=st.integers(1, 1000),
    reservations=st.lists(reservations, max_size=3).map(tuple),
)

terms = st.builds(
    Terms,
    server=ipv4,
    lease_time=durations,
    renewal_time=st.none() | durations,
    rebinding_time=st.none() | durations,
    subnet_mask=st.none() | ipv4,
    routers=st.lists(ipv4, max_size=2).map(tuple),
    dns_servers=st.lists(ipv4, max_size=2).map(tuple),
    ntp_servers=st.lists(ipv4, max_size=2).map(tuple),
    domain=st.none() | texts,
    mtu=st.none() | st.integers(68, 65535),
    static_routes=st.lists(st.tuples(ipv4_networks, ipv4), max_size=2).map(tuple),
)
endpoints = st.builds(Endpoint, mac=macs, name=st.none() | texts)
leases = st.builds(
    Lease,
    pool=names.map(PoolId),
    address=addresses,
    endpoint=endpoints,
    acquired_at=instants,
    use=st.sampled_from(Use),
    standing=st.sampled_from(Standing),
    owner=st.just("host-a"),
    client_id=st.none() | st.binary(max_size=8),
    hostname=st.none() | texts,
    bound_at=st.none() | instants,
    renew_at=st.none() | instants,
    rebind_at=st.none() | instants,
    expires_at=st.none() | instants,
    released_at=st.none() | instants,
    terms=st.none() | terms,
    form=st.sampled_from(RenewalForm),
)
"""Leases of ``host-a`` that no store has seen."""
