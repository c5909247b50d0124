"""What the Redis store writes of a claim; its scripts are tested on real servers."""

from datetime import UTC, datetime, timedelta
from ipaddress import ip_address, ip_network

import pytest

from d4d.adapters.stores.redis.records import claim_to_text, lease_to_body
from d4d.domain.address_selection import AddressClaim
from d4d.domain.addressing import MacAddress
from d4d.domain.leases import Endpoint
from d4d.domain.pools import Pool

MAC = MacAddress.parse("02:42:0a:01:00:02")
AT = datetime(2025, 3, 1, 12, 0, 0, 123457, tzinfo=UTC)


@pytest.mark.parametrize("name", [None, "web", 'a "b" ü\n'])
@pytest.mark.parametrize("address", [None, "10.1.0.3"])
def test_a_claim_has_the_body_of_the_lease_that_comes_of_it(
    name: str | None, address: str | None
) -> None:
    claim = AddressClaim(
        pool=Pool(subnet=ip_network("10.1.0.0/29")),
        endpoint=Endpoint(mac=MAC, name=name),
        owner="host-a",
        at=AT,
        rest=timedelta(seconds=60),
        address=ip_address(address) if address else None,
    )
    words, _, body = claim_to_text(claim, 50).partition("\n")
    assert body == lease_to_body(claim.lease(ip_address("10.1.0.2"), generation=7))
    assert words.split(" ")[6:9] == ["1740830340123457", "0a010003" if address else "", ""]
