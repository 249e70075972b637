"""What a simulation is made of: endpoints with stated speeds, and requests with stated sizes."""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

from gateway.router import TIERS

# Requests that are still waiting for their first token then have given up.
TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class Speed:
    """How fast a slot of a tier is. base_s: to a first token when idle. itl_s: between tokens."""

    base_s: float
    itl_s: float


# The stated inputs: a 100B-class server, a 3B one and a 0.1B one, a slot each.
SPEEDS = {"cloud": Speed(0.30, 0.030), "edge": Speed(0.20, 0.022), "mobile": Speed(0.10, 0.020)}


@dataclass(frozen=True, slots=True)
class Server:
    """One simulated endpoint."""

    name: str
    tier: str
    slots: int
    speed: Speed


@dataclass(frozen=True, slots=True)
class Arrival:
    """One request: when it comes, how long its answer will be, how it is graded."""

    at_s: float
    tokens: int
    score: int


def servers(**slots: Sequence[int]) -> tuple[Server, ...]:
    """Return servers by tier: `servers(cloud=(8, 8), mobile=(4,))`."""
    return tuple(
        Server(f"{tier}-{index}", tier, count, SPEEDS[tier])
        for tier in TIERS
        for index, count in enumerate(slots.get(tier, ()))
    )


def poisson(
    *, rate: float, count: int, easy: float, seed: int, spread: float = 0.8
) -> list[Arrival]:
    """Draw requests: exponential gaps, log-normal answers (median e⁴ = 55 tokens, 8 to 600).

    rate: requests a second. easy: share that a lower tier is good enough for; two fifths of these
    are good enough for the lowest.
    """
    drawn = random.Random(seed)  # noqa: S311 - a simulation is repeated by its seed
    at_s, arrivals = 0.0, []
    for _ in range(count):
        at_s += drawn.expovariate(rate)
        tokens = round(min(600.0, max(8.0, drawn.lognormvariate(4.0, spread))))
        hardness = drawn.random()
        score = 10 if hardness < 0.4 * easy else 40 if hardness < easy else 80
        arrivals.append(Arrival(at_s, tokens, score))
    return arrivals


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value that this share of them does not exceed; not a number where none is."""
    if not values:
        return math.nan
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
