"""What many hosts on one Redis cost: as text, and in docs/performance/many-hosts.md."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.report import machine

_PAGE = Path(__file__).parents[1] / "docs" / "performance/many-hosts.md"
_BEGIN, _END = "<!-- figures: written by scripts/scaling -->", "<!-- end of figures -->"
_HEAD = (
    "what",
    "for each",
    "scripts",
    "round trips",
    "commands in Redis",
    "Redis' CPU",
    "driver's CPU",
    "bytes to / from Redis",
    "keys' memory",
    "log file",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How much there is of everything."""

    hosts: int
    containers: int
    """On each host."""
    releasing: int
    """How many of the hosts restart, and release what they have in the end."""
    processes: int
    at_once: int
    """Hosts of one process that are busy at the same time."""

    def count(self, phase: str) -> tuple[str, int]:
        """What its costs are divided by."""
        match phase:
            case "allocate":
                return "lease", self.hosts * self.containers
            case "release":
                return "lease", self.releasing * self.containers
            case "hosts":
                return "call", 1
            case "restart":
                return "host", self.releasing
        return "host", self.hosts


def lines(size: Size, results: dict[str, Any]) -> list[str]:
    """The results as Markdown."""
    rows = [_row(size, phase, each) for phase, each in results.items()]
    return [
        f"{size.hosts:,} hosts with {size.containers} containers each, in {size.processes} "
        f"processes, {size.processes * size.at_once} hosts busy at the same time, on {machine()}.",
        "",
        f"| {' | '.join(_HEAD)} |",
        "|---" * len(_HEAD) + "|",
        *(f"| {' | '.join(row)} |" for row in rows),
        "",
        *(_took(size, phase, each) for phase, each in results.items()),
    ]


def write(size: Size, results: dict[str, Any], page: Path = _PAGE) -> None:
    """Put them between the page's markers."""
    before, found, rest = page.read_text().partition(_BEGIN)
    _, ended, after = rest.partition(_END)
    if not found or not ended:
        raise ValueError(f"{page} has lost its markers, {_BEGIN} and {_END}")
    text = "\n".join(lines(size, results))
    page.write_text(f"{before}{_BEGIN}\n{text}\n{_END}{after}")


def _row(size: Size, phase: str, each: dict[str, float]) -> tuple[str, ...]:
    unit, count = size.count(phase)
    per = {name: value / count for name, value in each.items()}
    return (
        phase,
        unit,
        f"{per['scripts']:,.2f}",
        f"{per['round_trips']:,.2f}",
        f"{per['commands']:,.1f}",
        f"{1e6 * per['cpu_seconds']:,.0f} µs",
        f"{1e6 * per['driver_seconds']:,.0f} µs",
        f"{per['received']:,.0f} / {per['sent']:,.0f}",
        f"{per['memory']:,.0f} B",
        f"{per['file']:,.0f} B",
    )


def _took(size: Size, phase: str, each: dict[str, float]) -> str:
    unit, count = size.count(phase)
    seconds = each["seconds"]
    text = (
        f"- {phase}: {seconds:.1f} s for {count:,} ({count / seconds:,.0f} a second); Redis was "
        f"busy for {each['cpu_seconds']:.1f} s of it, its scripts for "
        f"{each['script_seconds']:.1f} s"
    )
    if phase == "hosts":
        return text
    busy = "" if unit == "host" else f" for its {size.containers} leases"
    return f"{text}; a host took {1e3 * each['host_median']:,.0f} ms{busy} (median)"
