"""Tuning the routing: propose other thresholds, replay the recorded load, keep what is better.

Only the thresholds of `[routing]` are ever changed, and never what may go where. A proposal is
applied only where the replay improves, with an entry in the log; one step leads back.
"""

import itertools
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from gateway.errors import TuningImpossible
from gateway.insight.fleet import SPEEDS, TIMEOUT_S, Arrival, Server, percentile
from gateway.insight.simulator import Outcome, routed, simulate
from gateway.tiers import TUNED, RoutingTable, Tiers

PREVIOUS = "routing.previous.toml"
LEAST_ARRIVALS = 50
# A proposal must be this much better: less is noise of one replay.
MARGIN = 0.02
# How far grades may move in one step; quality floors are not traded away for speed.
MOVES = (-10, 0, 10)
SPREADS = (0.5, 1.0, 2.0)


@dataclass(frozen=True, slots=True)
class Proposal:
    """A change that the replay favours. before, after: its cost; lower is better."""

    routing: RoutingTable
    before_cost_s: float
    after_cost_s: float

    @property
    def better(self) -> bool:
        """Whether it is worth applying."""
        return self.after_cost_s < self.before_cost_s * (1 - MARGIN)


def propose(
    current: RoutingTable, arrivals: Sequence[Arrival], servers: Sequence[Server], *, seed: int = 0
) -> Proposal:
    """Replay the load under nearby thresholds and return the best.

    Raises:
        TuningImpossible: Too few graded requests are recorded.
    """
    if len(arrivals) < LEAST_ARRIVALS:
        raise TuningImpossible(
            f"{len(arrivals)} graded requests are recorded; {LEAST_ARRIVALS} are needed to tune."
        )

    def replayed(routing: RoutingTable) -> float:
        return cost_s(simulate(arrivals, servers, policy=routed(routing.thresholds, seed=seed)))

    costs = {routing: replayed(routing) for routing in (current, *_nearby(current))}
    best = min(costs, key=lambda routing: costs[routing])
    return Proposal(best, costs[current], costs[best])


def cost_s(outcome: Outcome) -> float:
    """Return what tuning lowers: the 95th first-token time, and ten seconds for each time-out."""
    late = percentile(outcome.ttft_s, 0.95) if outcome.ttft_s else TIMEOUT_S
    return late + TIMEOUT_S * outcome.timeout_share


def fleet(tiers: Tiers, *, local: int, slots: int) -> tuple[Server, ...]:
    """Return the deployment's endpoints as the simulation has them, at the stated speeds."""
    own = [
        Server(f"local-{n}", tiers.local.tier, slots, SPEEDS[tiers.local.tier])
        for n in range(local)
    ]
    return (*own, *(Server(r.name, r.tier, r.slots, SPEEDS[r.tier]) for r in tiers.remote))


def apply(home: Path, proposal: Proposal, *, current: RoutingTable) -> None:
    """Write the proposal down for the next start, and what it replaces beside it."""
    _write(home / PREVIOUS, current)
    _write(home / TUNED, proposal.routing)


def roll_back(home: Path) -> RoutingTable:
    """Bring back what the last tuning replaced, and return it.

    Raises:
        TuningImpossible: Nothing was tuned.
    """
    try:
        content = (home / PREVIOUS).read_bytes()
    except FileNotFoundError:
        raise TuningImpossible("Nothing was tuned here, so nothing can be rolled back.") from None
    restored = msgspec.toml.decode(content, type=RoutingTable)
    _write(home / TUNED, restored)
    (home / PREVIOUS).unlink()
    return restored


def _nearby(current: RoutingTable) -> Iterator[RoutingTable]:
    for edge, cloud, spread in itertools.product(MOVES, MOVES, SPREADS):
        edge_from = min(100, max(0, current.edge_from + edge))
        cloud_from = min(100, max(0, current.cloud_from + cloud))
        if edge_from <= cloud_from:
            yield RoutingTable(edge_from, cloud_from, current.stale_factor, spread)


def _write(path: Path, routing: RoutingTable) -> None:
    """Replace a file whole: a start that reads it meanwhile sees one or the other."""
    lines = [f"{name} = {value}" for name, value in msgspec.structs.asdict(routing).items()]
    scratch = path.with_suffix(".new")
    with scratch.open("w", encoding="utf-8") as file:
        file.write("\n".join(lines) + "\n")
        file.flush()
        os.fsync(file.fileno())
    scratch.replace(path)
