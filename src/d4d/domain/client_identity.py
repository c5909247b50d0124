"""What a container is called towards the DHCP server: its client id and its hostname."""

import re
from dataclasses import dataclass
from hashlib import blake2b
from string import Formatter

from d4d.domain.addressing import MacAddress, Subnet
from d4d.domain.errors import BadRequest
from d4d.domain.leases import Endpoint
from d4d.domain.policies import IdentityPolicy

_HARDWARE_ETHERNET, _NOT_HARDWARE = b"\x01", b"\x00"  # RFC 2132 section 9.14, the type byte
_LONGEST_LABEL = 63  # RFC 1123 section 2.1, by RFC 1035


@dataclass(frozen=True, slots=True, kw_only=True)
class Anchor:
    """What is kept of a parent, so that client ids outlive its MAC: a bridge's is a port's."""

    value: bytes
    hardware: frozenset[bytes]
    """The MACs that this machine's interfaces were made with; empty where none tells."""

    def seen_now(self, *, value: bytes, hardware: frozenset[bytes]) -> "Anchor":
        """What is to be kept from now on, where the parent is so at present.

        Where no interface is one that was there, this was copied to another machine: it must not
        have the client ids of the first.
        """
        is_copied = self.hardware and hardware and not self.hardware & hardware
        return Anchor(value=value if is_copied else self.value, hardware=hardware or self.hardware)


def client_id(
    endpoint: Endpoint,
    *,
    policy: IdentityPolicy,
    host: str,
    anchor: bytes,
    subnet: Subnet,
) -> bytes:
    """Option 61 for ``endpoint``, with its type byte: 7 or 21 bytes.

    A name alone is not unique among hosts. ``anchor`` is what only this host can have on its
    network, as the parent's MAC address when it was first seen: two hosts with one ``host`` name,
    or cloned from one image, still differ. Raises BadRequest where the policy needs a name and
    there is none.
    """
    if policy is IdentityPolicy.MAC or (policy is IdentityPolicy.AUTO and not endpoint.name):
        return _HARDWARE_ETHERNET + endpoint.mac
    if not endpoint.name:
        raise BadRequest(
            f"D4D_IDENTITY={policy.value}, but Docker sent no container name: engines do so from "
            "29.0 on. Set D4D_IDENTITY=auto"
        )
    digest = blake2b(digest_size=8)
    place = () if policy is IdentityPolicy.CLUSTER_NAME else (host.encode(), anchor)
    for part in (*place, str(subnet).encode(), endpoint.name.encode()):
        digest.update(len(part).to_bytes(2, "big") + part)
    return _NOT_HARDWARE + b"d4d:" + digest.hexdigest().encode()


def synthetic_mac(anchor: bytes, *, purpose: bytes = b"") -> MacAddress:
    """A locally administered address for asking in nobody's name, the same for each ``anchor``.

    A server keeps what it offered for minutes: another address each time would cost one each time.
    """
    octets = blake2b(anchor, digest_size=6, person=purpose).digest()
    return MacAddress(bytes([octets[0] & 0xFC | 0x02]) + octets[1:])


def hostname(endpoint: Endpoint, *, template: str, host: str) -> str | None:
    """Option 12 for ``endpoint``: ``template`` filled in, as RFC 1123 allows.

    None without a name.
    """
    if not endpoint.name:
        return None
    filled = template.format(name=endpoint.name, host=host)
    label = re.sub(r"[^a-z0-9]+", "-", filled.lower()).strip("-")
    return label[:_LONGEST_LABEL].rstrip("-") or None


def check_template(template: str) -> str:
    """The template, if it can be filled in. Raises ValueError."""
    known = {"name", "host"}
    fields = {field for _, field, _, _ in Formatter().parse(template) if field is not None}
    if not fields <= known:
        raise ValueError(f"hostname template {template!r}: only {{name}} and {{host}} are known")
    template.format(name="web", host="host-a")  # a conversion or format that is none shows here
    return template
