"""How much each part measures: enough for steady figures, or just enough to see that it runs."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """All repeats and amounts of a run."""

    first_singles: int = 400
    """Leases had one after the other by a driver that just started: until SQLite's log is full."""
    singles: int = 1500
    """Leases had one after the other from then on."""
    paced_singles: int = 150
    cni_singles: int = 60
    cni_rounds: int = 3
    """Rounds of leases had 16 at once."""
    cni_burst: int = 64
    """Leases of such a round."""
    burst: int = 2000
    """Leases had 64 at once."""
    ceiling_rates: int = 5
    """How many rates perfdhcp tries."""
    probed: int = 30
    networks: int = 50
    held: int = 10_000
    held_seconds: int = 20
    """How long renewals are watched."""
    restarts: int = 3
    """Starts with what was held."""
    starts: int = 7
    range_prefix: int = 16
    range_takes: int = 400
    redis_seconds: float = 1.5
    redis_rounds: int = 3
    processes: tuple[int, ...] = (1, 8)
    few_events: int = 10_000
    many_events: int = 10_000_000
    history_asks: int = 150
    containers: int = 16
    operators_held: int = 5000
    """Leases of a driver whose operators ask for all of them."""
    operators_calls: int = 100
    """Leases of each round during an attack."""


FULL = Sizes()
SMOKE = Sizes(
    first_singles=5,
    singles=5,
    paced_singles=2,
    cni_singles=2,
    cni_rounds=1,
    cni_burst=32,
    burst=64,
    ceiling_rates=1,
    probed=2,
    networks=3,
    held=50,
    held_seconds=2,
    restarts=1,
    starts=1,
    range_prefix=26,
    range_takes=4,
    redis_seconds=0.2,
    redis_rounds=1,
    processes=(1, 2),
    few_events=100,
    many_events=1000,
    history_asks=5,
    containers=1,
    operators_held=50,
    operators_calls=3,
)
