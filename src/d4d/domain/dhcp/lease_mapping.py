"""A lease as the domain stores it, and as its DHCP client holds it: one from the other."""

from dataclasses import replace
from datetime import timedelta
from ipaddress import IPv4Address
from typing import Any

from d4d.domain.dhcp.effects import Grant
from d4d.domain.dhcp.messages import NO_ADDRESS, Identity
from d4d.domain.lease_states import Standing
from d4d.domain.leases import Endpoint, Lease, Terms
from d4d.domain.pools import Pool


def identity_of(lease: Lease) -> Identity:
    """What the lease's client is to the server."""
    return Identity(chaddr=lease.endpoint.mac, client_id=lease.client_id, hostname=lease.hostname)


def granted_lease(
    pool: Pool, endpoint: Endpoint, identity: Identity, owner: str, grant: Grant
) -> Lease:
    """The lease of a new grant; its generation is still to be set."""
    return Lease(
        pool=pool.id,
        address=grant.address,
        endpoint=endpoint,
        owner=owner,
        acquired_at=grant.bound_at,
        client_id=identity.client_id,
        hostname=identity.hostname,
        **_changes(grant),
    )


def confirmed(lease: Lease, grant: Grant) -> Lease:
    """The lease with what the server granted now."""
    return replace(lease, **_changes(grant))


def _changes(grant: Grant) -> dict[str, Any]:
    """What each grant says anew of its lease."""
    return {
        "standing": Standing.GRANTED,
        "bound_at": grant.bound_at,
        "renew_at": grant.renew_at,
        "rebind_at": grant.rebind_at,
        "expires_at": grant.expires_at,
        "terms": grant.terms,
        "form": grant.form,
    }


def grant_of(lease: Lease) -> Grant:
    """What the client needs of a stored lease. One that no server gave has an unknown server."""
    assert isinstance(lease.address, IPv4Address)
    return Grant(
        address=lease.address,
        terms=lease.terms or Terms(server=NO_ADDRESS, lease_time=timedelta(0)),
        bound_at=lease.bound_at or lease.acquired_at,
        renew_at=lease.renew_at,
        rebind_at=lease.rebind_at,
        expires_at=lease.expires_at,
        form=lease.form,
    )
