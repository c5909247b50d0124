"""What ``d4d probe --json`` and ``d4d doctor --json`` print; in the manner of ``admin_forms``."""

from collections.abc import Collection
from ipaddress import IPv4Address, IPv4Interface
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from d4d.adapters.dhcp.server_probe import Offer, ProbeResult
from d4d.doctor.run import Outcome
from d4d.entrypoints.admin_api.schemas import TermsForm

_MILLISECONDS = 1000


class _Form(BaseModel):
    model_config = ConfigDict(frozen=True)


class OfferForm(_Form):
    """What one DHCP server offered."""

    server: str = Field(description="Option 54")
    server_mac: str | None = Field(description="Of the server, or of a relay before it")
    address: str = Field(description="With the prefix length, where the server names a mask")
    after_ms: float = Field(description="From the first DISCOVER to the offer")
    accepted: bool = Field(description="Whether D4D_DHCP_SERVER lets D4D take it")
    terms: TermsForm

    @classmethod
    def of(cls, offer: Offer, *, servers: Collection[IPv4Address]) -> "OfferForm":
        """The offer in print; ``servers`` are those of the settings, none being any."""
        mask = offer.terms.subnet_mask
        return cls(
            server=str(offer.terms.server),
            server_mac=str(offer.server_mac) if offer.server_mac else None,
            address=str(IPv4Interface(f"{offer.address}/{mask}") if mask else offer.address),
            after_ms=round(offer.after.total_seconds() * _MILLISECONDS, 1),
            accepted=not servers or offer.terms.server in servers,
            terms=TermsForm.of(offer.terms),
        )


class ProbedForm(_Form):
    """What came of asking on one interface, or as a relay."""

    interface: str | None
    relay: str | None = Field(description="This host's address, and whom it asked; else null")
    error: str | None = Field(description="Why nobody could be asked")
    offers: list[OfferForm] = Field(description="The fastest first; none where nobody answered")

    @classmethod
    def of(cls, probed: ProbeResult, *, servers: Collection[IPv4Address]) -> "ProbedForm":
        """The outcome in print."""
        return cls(
            interface=probed.parent,
            relay=probed.relay,
            error=probed.error,
            offers=[OfferForm.of(each, servers=servers) for each in probed.offers],
        )


class ProbeAnswer(_Form):
    """``d4d probe --json``."""

    probed: list[ProbedForm]


class FindingForm(_Form):
    """One thing that is wrong."""

    code: str = Field(description="A name that stays: docs/operate/doctor.md lists all of them")
    severity: str = Field(description="warning, error")
    found: str
    remedy: str


class DoctorCheckForm(_Form):
    """One subject that was looked at."""

    name: str = Field(description="settings, parents, driver, docker, store, dhcp, clock, doctor")
    severity: str = Field(description="ok, warning, error: the worst of its findings")
    seen: str
    findings: list[FindingForm]

    @classmethod
    def of(cls, outcome: Outcome) -> "DoctorCheckForm":
        """The outcome in print."""
        return cls(
            name=outcome.name,
            severity=str(outcome.severity),
            seen=outcome.seen,
            findings=[
                FindingForm(
                    code=each.code,
                    severity=str(each.severity),
                    found=each.found,
                    remedy=each.remedy,
                )
                for each in outcome.findings
            ],
        )


class DoctorAnswer(_Form):
    """``d4d doctor --json``."""

    severity: str = Field(description="ok, warning, error: the worst of all findings")
    checks: list[DoctorCheckForm]


ANSWERS: tuple[type[BaseModel], ...] = (ProbeAnswer, DoctorAnswer)


def schema() -> dict[str, Any]:
    """The JSON schema of each, by its name."""
    return {each.__name__: each.model_json_schema() for each in ANSWERS}
