"""What ``d4d probe --json`` and ``d4d doctor --json`` print, in the manner of the admin API."""

from collections.abc import Collection
from ipaddress import IPv4Address, IPv4Interface
from typing import TYPE_CHECKING

from pydantic import Field

from d4d.adapters.dhcp.server_probe import Offer, ProbeResult
from d4d.entrypoints.admin_api.schemas import Schema, TermsSchema

if TYPE_CHECKING:  # the driver has the schemas, and no use for what the doctor imports
    from d4d.doctor.run import Outcome

_MILLISECONDS = 1000


class OfferSchema(Schema):
    """What one DHCP server offered."""

    server: str = Field(description="Option 54")
    server_mac: str | None = Field(description="Of the server, or of a relay before it")
    address: str = Field(description="With the prefix length, where the server names a mask")
    after_ms: float = Field(description="From the first DISCOVER to the offer")
    accepted: bool = Field(description="Whether D4D_DHCP_SERVER lets D4D take it")
    terms: TermsSchema

    @classmethod
    def of(cls, offer: Offer, *, servers: Collection[IPv4Address]) -> "OfferSchema":
        """The offer in print; ``servers`` are those of the settings, none being any."""
        mask = offer.terms.subnet_mask
        return cls(
            server=str(offer.terms.server),
            server_mac=str(offer.server_mac) if offer.server_mac else None,
            address=str(IPv4Interface(f"{offer.address}/{mask}") if mask else offer.address),
            after_ms=round(offer.after.total_seconds() * _MILLISECONDS, 1),
            accepted=not servers or offer.terms.server in servers,
            terms=TermsSchema.of(offer.terms),
        )


class ProbedSchema(Schema):
    """What came of asking on one interface, or as a relay."""

    interface: str | None
    relay: str | None = Field(description="This host's address, and whom it asked; else null")
    error: str | None = Field(description="Why nobody could be asked")
    offers: list[OfferSchema] = Field(description="The fastest first; none where nobody offered")
    useless: list[str] = Field(description="Who answered with what D4D can't use, and why")

    @classmethod
    def of(cls, probed: ProbeResult, *, servers: Collection[IPv4Address]) -> "ProbedSchema":
        """The outcome in print."""
        return cls(
            interface=probed.parent,
            relay=probed.relay,
            error=probed.error,
            offers=[OfferSchema.of(each, servers=servers) for each in probed.offers],
            useless=list(probed.useless),
        )


class ProbeResponse(Schema):
    """``d4d probe --json``."""

    probed: list[ProbedSchema]


class FindingSchema(Schema):
    """One thing that is wrong."""

    code: str = Field(description="A name that stays: docs/operate/doctor.md lists all of them")
    severity: str = Field(description="warning, error")
    found: str
    remedy: str


class DoctorCheckSchema(Schema):
    """One subject that was looked at."""

    name: str = Field(description="settings, parents, driver, docker, store, dhcp, clock, doctor")
    severity: str = Field(description="ok, warning, error: the worst of its findings")
    seen: str
    findings: list[FindingSchema]

    @classmethod
    def of(cls, outcome: "Outcome") -> "DoctorCheckSchema":
        """The outcome in print."""
        return cls(
            name=outcome.name,
            severity=str(outcome.severity),
            seen=outcome.summary,
            findings=[
                FindingSchema(
                    code=each.code,
                    severity=str(each.severity),
                    found=each.found,
                    remedy=each.remedy,
                )
                for each in outcome.findings
            ],
        )


class DoctorResponse(Schema):
    """``d4d doctor --json``."""

    severity: str = Field(description="ok, warning, error: the worst of all findings")
    checks: list[DoctorCheckSchema]


RESPONSES: tuple[type[Schema], ...] = (ProbeResponse, DoctorResponse)
"""What each of the two prints."""
