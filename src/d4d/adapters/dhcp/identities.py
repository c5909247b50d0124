"""What a container is to DHCP servers: its MAC, its client id, its hostname."""

from collections.abc import Callable
from dataclasses import replace

from d4d.adapters.dhcp.policy import DhcpPolicy
from d4d.adapters.dhcp.routes import Route, Routes
from d4d.domain.client_identity import client_id, hostname
from d4d.domain.dhcp.messages import Identity
from d4d.domain.leases import Endpoint, Lease
from d4d.domain.policies import IdentityPolicy
from d4d.domain.pools import Pool


class Identities:
    """Makes them, by the operator's policy."""

    def __init__(self, routes: Routes, policy: DhcpPolicy) -> None:
        self._routes = routes
        self._policy = policy

    def of(
        self, pool: Pool, endpoint: Endpoint, route: Route, *, is_anothers: Callable[[bytes], bool]
    ) -> Identity:
        """Of a container that gets a new lease.

        ``is_anothers`` tells of a client id whether another container uses a lease by it: two of
        one client id would get one address. Its name was this one's then, or both have it.
        """
        # Looking at the host's interfaces takes long, and only a name needs to be anchored.
        anchor = self._routes.anchor(route) if endpoint.name else b""

        def identify(by: IdentityPolicy) -> bytes:
            return client_id(
                endpoint, policy=by, host=self._policy.host, anchor=anchor, subnet=pool.subnet
            )

        identified = identify(self._policy.identity)
        if is_anothers(identified):
            identified = identify(IdentityPolicy.MAC)
        return Identity(
            chaddr=endpoint.mac, client_id=identified, hostname=self._hostname(endpoint)
        )

    def renamed(self, lease: Lease, name: str) -> Lease:
        """The lease under the container's name; its client id stays what it is."""
        endpoint = replace(lease.endpoint, name=name)
        return replace(lease, endpoint=endpoint, hostname=self._hostname(endpoint))

    def _hostname(self, endpoint: Endpoint) -> str | None:
        policy = self._policy
        return hostname(endpoint, template=policy.hostname_template, host=policy.host)
