"""Commands about this host that need no running driver."""

from datetime import timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from d4d.entrypoints.cli.output import ExitCode, Json, as_json, duration, report_errors, show, table

if TYPE_CHECKING:
    from d4d.entrypoints.cli.schemas import DoctorResponse, OfferSchema, ProbedSchema

_COLOURS = {"ok": "green", "warning": "yellow", "error": "red"}
_PROBED = ("interface", "server", "server's MAC", "offers", "router", "DNS", "lease time", "after")


@report_errors
def config(*, json: Json = False) -> None:
    """Show settings as a driver started here would have them, and where each comes from."""
    from d4d.entrypoints.admin_api.config import effective  # noqa: PLC0415 - --help is asked more often
    from d4d.settings.loading import load_settings  # noqa: PLC0415 - as above

    answer = effective(load_settings())
    if json:
        as_json(answer.model_dump(mode="json"))
        return
    rows = [(each.name, each.value, each.source) for each in answer.settings]
    show(table(("setting", "value", "from"), rows))


@report_errors
def probe(
    interfaces: Annotated[
        list[str] | None,
        typer.Argument(metavar="INTERFACE", help="All that could be parents if left out."),
    ] = None,
    *,
    timeout: Annotated[str, typer.Option(help="How long to wait for offers.")] = "4s",
    json: Json = False,
) -> None:
    """Ask which DHCP servers answer, what they offer and how fast. No lease comes of it."""
    from d4d.adapters.observability.log_setup import configure_logs  # noqa: PLC0415 - as above
    from d4d.doctor.probe_command import probe_servers  # noqa: PLC0415 - as above
    from d4d.entrypoints.cli.schemas import (  # noqa: PLC0415 - --help is asked more often
        ProbedSchema,
        ProbeResponse,
    )
    from d4d.settings.loading import load_settings  # noqa: PLC0415 - as above

    settings, wait = load_settings(), _timeout(timeout)
    configure_logs(debug=settings.debug)
    found = probe_servers(settings, interfaces or (), wait)
    answer = ProbeResponse(
        probed=[ProbedSchema.of(each, servers=settings.dhcp_server) for each in found]
    )
    if json:
        as_json(answer.model_dump(mode="json"))
    else:
        show(table(_PROBED, [row for each in answer.probed for row in _rows(each, timeout)]))
    if not any(each.offers for each in answer.probed) or any(each.error for each in answer.probed):
        raise typer.Exit(ExitCode.FAILED)


@report_errors
def doctor(
    *,
    timeout: Annotated[str, typer.Option(help="How long to wait for DHCP offers.")] = "4s",
    json: Json = False,
) -> None:
    """Look for what is wrong on this host, and say what mends it."""
    import asyncio  # noqa: PLC0415 - --help is asked more often

    from d4d.adapters.observability.log_setup import configure_logs  # noqa: PLC0415 - as above
    from d4d.doctor.findings import Severity  # noqa: PLC0415 - as above
    from d4d.doctor.run import examine  # noqa: PLC0415 - as above
    from d4d.entrypoints.cli.schemas import DoctorCheckSchema, DoctorResponse  # noqa: PLC0415 - as above

    configure_logs(debug=False)
    outcomes = asyncio.run(examine(_timeout(timeout)))
    worst = max((each.severity for each in outcomes), default=Severity.OK)
    answer = DoctorResponse(severity=str(worst), checks=list(map(DoctorCheckSchema.of, outcomes)))
    if json:
        as_json(answer.model_dump(mode="json"))
    else:
        _print(answer)
    if worst is Severity.ERROR:
        raise typer.Exit(ExitCode.FAILED)


def _print(answer: "DoctorResponse") -> None:
    for check in answer.checks:
        typer.secho(f"{check.severity:<8}", fg=_COLOURS[check.severity], bold=True, nl=False)
        typer.echo(f"{check.name}: {check.seen}")
        for finding in check.findings:
            typer.secho(f"  {finding.code}", fg=_COLOURS[finding.severity], bold=True, nl=False)
            typer.echo(f": {finding.found}")
            typer.echo(f"    {finding.remedy}")


def _timeout(text: str) -> timedelta:
    from d4d.settings.durations import parse_duration  # noqa: PLC0415 - --help is asked more often

    try:
        timeout = parse_duration(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    if timeout <= timedelta(0):
        raise typer.BadParameter(f"{text!r} is no time to wait: it must be more than 0s")
    return timeout


def _rows(probed: "ProbedSchema", timeout: str) -> list[list[str | None]]:
    way = probed.interface if probed.relay is None else f"relay {probed.relay}"
    if probed.error is not None:
        return [[way, probed.error]]
    if not probed.offers and not probed.useless:
        return [[way, f"no answer within {timeout}"]]
    useless: list[list[str | None]] = [[way, each] for each in probed.useless]
    return [[way, *_cells(offer)] for offer in probed.offers] + useless


def _cells(offer: "OfferSchema") -> list[str | None]:
    terms = offer.terms
    seconds = terms.lease_time
    return [
        offer.server if offer.accepted else f"{offer.server} (not in D4D_DHCP_SERVER)",
        offer.server_mac,
        offer.address,
        ", ".join(terms.routers),
        ", ".join(terms.dns_servers),
        "for ever" if seconds is None else duration(seconds),
        f"{offer.after_ms:g} ms",
    ]
