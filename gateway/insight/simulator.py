"""A discrete-event simulation of the tiers, deciding with the router's own code.

Synthetic by construction: it measures what routing can do for stated speeds and a stated load, not
what any hardware does. Every run is repeated by its seed.
"""

import random
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from typing import Any

import simpy

from gateway.backends.base import Load
from gateway.errors import RequestRefused
from gateway.insight.fleet import TIMEOUT_S, Arrival, Server, percentile
from gateway.router import AUTO, TIERS, Candidate, Thresholds, Wanted, choose

CLASSES = frozenset({"public"})
ROOM = 1 << 20
# What a capacity must hold: first token within this for 95 of 100, time-outs at most 3 of 1,000.
TTFT_P95_S = 1.0
TIMEOUTS = 0.003
SEARCH_LIMIT = 200.0

Policy = Callable[[Arrival, Sequence["Station"]], "Station | None"]


@dataclass(slots=True)
class Station:
    """A server at work."""

    server: Server
    queue: simpy.Resource
    outstanding: int = 0
    busy_s: float = 0.0

    def candidate(self) -> Candidate:
        """Return it as the router sees it: fresh, since the gateway counts its own requests."""
        server, speed = self.server, self.server.speed
        load = Load(
            running=self.queue.count,
            waiting=len(self.queue.queue),
            outstanding_tokens=self.outstanding,
            ewma_ttft_s=speed.base_s,
            ewma_itl_s=speed.itl_s,
            age_s=0.0,
        )
        return Candidate(
            server.name, server.tier, server.tier, "sim", CLASSES, None, ROOM, ROOM, server.slots,
            load,
        )  # fmt: skip


@dataclass(slots=True)
class Outcome:
    """What came of a run.

    ttft_s: of every request that got a first token. response_s: of every one that got its last.
    duration_s: until the last of these. utilisation: by server, and of `all` slots.
    """

    ttft_s: list[float] = field(default_factory=list)
    response_s: list[float] = field(default_factory=list)
    timeouts: int = 0
    requests: int = 0
    duration_s: float = 0.0
    utilisation: dict[str, float] = field(default_factory=dict)
    by_tier: dict[str, int] = field(default_factory=dict)

    @property
    def timeout_share(self) -> float:
        """Time-outs of all requests."""
        return self.timeouts / self.requests if self.requests else 0.0

    @property
    def holds(self) -> bool:
        """Whether the load was within what the servers can carry."""
        return percentile(self.ttft_s, 0.95) <= TTFT_P95_S and self.timeout_share <= TIMEOUTS

    @property
    def busy_share(self) -> float:
        """Utilisation over all slots."""
        return self.utilisation.get("all", 0.0)


def fixed(arrival: Arrival, stations: Sequence[Station]) -> Station | None:
    """Static: the lowest tier that is good enough, its servers in turn by size of queue alone."""
    floor = 0 if arrival.score < 25 else 1 if arrival.score < 60 else 2  # noqa: PLR2004
    able = [s for s in stations if TIERS.index(s.server.tier) >= floor]
    lowest = min(TIERS.index(s.server.tier) for s in able)
    same = [s for s in able if TIERS.index(s.server.tier) == lowest]
    return min(same, key=lambda s: (len(s.queue.queue), s.queue.count))


def routed(thresholds: Thresholds, *, seed: int) -> Policy:
    """Load-aware: the router's decision over the stations as they stand."""
    drawn = random.Random(seed)  # noqa: S311 - a simulation is repeated by its seed

    def decide(arrival: Arrival, stations: Sequence[Station]) -> Station | None:
        wanted = Wanted("sim", "public", AUTO, arrival.score, 0, arrival.tokens)
        try:
            decision = choose(
                wanted,
                [station.candidate() for station in stations],
                thresholds=thresholds,
                draw=drawn.randrange,
            )
        except RequestRefused:
            return None
        return next(s for s in stations if s.server.name == decision.endpoint)

    return decide


def simulate(arrivals: Sequence[Arrival], servers: Sequence[Server], *, policy: Policy) -> Outcome:
    """Run the arrivals through the servers and return what came of it."""
    environment = simpy.Environment()
    stations = [Station(s, simpy.Resource(environment, capacity=s.slots)) for s in servers]
    outcome = Outcome(requests=len(arrivals))
    environment.process(_arriving(environment, arrivals, stations, policy, outcome))
    # The clock also runs through the limits of requests that were served long before.
    environment.run()
    slots = sum(s.slots for s in servers)
    if outcome.duration_s:
        outcome.utilisation = {
            s.server.name: s.busy_s / (outcome.duration_s * s.server.slots) for s in stations
        }
        outcome.utilisation["all"] = sum(s.busy_s for s in stations) / (outcome.duration_s * slots)
    return outcome


def capacity(
    servers: Sequence[Server],
    *,
    policy: Callable[[int], Policy],
    arrivals: Callable[[float, int], Sequence[Arrival]],
    seed: int,
    steps: int = 10,
) -> float:
    """Return the highest rate, in requests a second, that `Outcome.holds`; by bisection.

    arrivals: makes requests of a rate and seed. policy: of a seed.
    """
    low, high = 0.0, 1.0
    while high < SEARCH_LIMIT and _holds(servers, policy, arrivals, high, seed):
        low, high = high, 2 * high
    for _ in range(steps):
        middle = (low + high) / 2
        if _holds(servers, policy, arrivals, middle, seed):
            low = middle
        else:
            high = middle
    return low


def _holds(
    servers: Sequence[Server],
    policy: Callable[[int], Policy],
    arrivals: Callable[[float, int], Sequence[Arrival]],
    rate: float,
    seed: int,
) -> bool:
    return simulate(arrivals(rate, seed), servers, policy=policy(seed)).holds


def _arriving(
    environment: simpy.Environment,
    arrivals: Sequence[Arrival],
    stations: Sequence[Station],
    policy: Policy,
    outcome: Outcome,
) -> Generator[Any, Any, None]:
    for arrival in arrivals:
        yield environment.timeout(max(0.0, arrival.at_s - environment.now))
        station = policy(arrival, stations)
        if station is None:
            outcome.timeouts += 1
            continue
        tier = station.server.tier
        outcome.by_tier[tier] = outcome.by_tier.get(tier, 0) + 1
        environment.process(_served(environment, arrival, station, outcome))


def _served(
    environment: simpy.Environment, arrival: Arrival, station: Station, outcome: Outcome
) -> Generator[Any, Any, None]:
    begun, speed = environment.now, station.server.speed
    station.outstanding += arrival.tokens
    with station.queue.request() as slot:
        got = yield slot | environment.timeout(TIMEOUT_S)
        if slot not in got:
            outcome.timeouts += 1
            station.outstanding -= arrival.tokens
            return
        taken = speed.base_s + arrival.tokens * speed.itl_s
        outcome.ttft_s.append(environment.now - begun + speed.base_s)
        yield environment.timeout(taken)
        station.busy_s += taken
        outcome.response_s.append(environment.now - begun)
        outcome.duration_s = environment.now
    station.outstanding -= arrival.tokens
