"""What routing between tiers gains: simulated for stated speeds, and live over local models.

The simulated arms share their seeds: the cloud's 16 slots alone, the cloud with as many slots as
all tiers together (so that added hardware is told apart from routing), a static rule by grade, and
the router's own code. Live, the reference model is the cloud, and its first third and tenth are
edge and mobile: real speeds of real engines, whose answers nobody reads.
"""

import asyncio
import random
import statistics
import sys
import time
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

# This directory holds scripts named after the packages they measure: look in the one above.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.contract import ABSENT, REPOSITORY, Figure, parser, report
from gateway.backends.observed import Observed
from gateway.balancer import Balancer, Endpoint, Patience, Routed
from gateway.breakers import Breaker
from gateway.errors import RequestRefused
from gateway.models.fetch import fetch
from gateway.router import AUTO, Candidate, Thresholds, Wanted
from gateway.slots import FairSlots

EASY = 0.7
LAYERS = {"cloud": 30, "edge": 10, "mobile": 3}
ANSWER_TOKENS = 16
SMALL = 20
# Requests of the run that utilisation and first-token time are read from.
STEADY = 8000


def main() -> None:
    """Measure and report."""
    arguments = parser(__doc__.splitlines()[0]).parse_args()
    figures = [*_simulated(quick=arguments.quick), *_live(quick=arguments.quick)]
    report(figures, destination=arguments.json)


def _simulated(*, quick: bool) -> list[Figure]:
    try:
        from gateway.insight import fleet, simulator  # noqa: PLC0415 - simpy is an extra
    except ImportError:
        names = ("sim_gain_vs_cloud_easy70", "sim_gain_equal_slots", "load_aware_vs_static")
        targets = (">= 3", ">= 1.1", ">= 1.1")
        return [
            Figure(name, None, "x", target, peer=ABSENT)
            for name, target in zip(names, targets, strict=True)
        ]
    count, seeds, steps = (1000, (1, 2), 6) if quick else (6000, (1, 2, 3, 4, 5), 9)
    alone = fleet.servers(cloud=(8, 8))
    equal = fleet.servers(cloud=(8,) * 5)
    tiers = fleet.servers(cloud=(8, 8), edge=(8, 8), mobile=(4, 4))

    def static(_seed: int) -> simulator.Policy:
        return simulator.fixed

    def aware(seed: int) -> simulator.Policy:
        return simulator.routed(Thresholds(), seed=seed)

    def arrivals(rate: float, seed: int) -> Sequence[fleet.Arrival]:
        return fleet.poisson(rate=rate, count=count, easy=EASY, seed=seed)

    arms = {"cloud": (alone, static), "equal": (equal, static)}
    arms |= {"static": (tiers, static), "aware": (tiers, aware)}
    rates = {
        name: [
            simulator.capacity(servers, policy=policy, arrivals=arrivals, seed=seed, steps=steps)
            for seed in seeds
        ]
        for name, (servers, policy) in arms.items()
    }
    ratio = {
        name: [aware / own for aware, own in zip(rates["aware"], rates[name], strict=True)]
        for name in ("cloud", "equal", "static")
    }
    at = statistics.median(rates["aware"])

    def steady(rate: float) -> Sequence[fleet.Arrival]:
        # Long enough that the slots' filling at its begin and emptying at its end weigh little.
        return fleet.poisson(rate=rate * 0.95, count=STEADY, easy=EASY, seed=99)

    held = simulator.simulate(steady(at), tiers, policy=aware(99))
    before = simulator.simulate(steady(statistics.median(rates["cloud"])), alone, policy=static(0))
    ttft = fleet.percentile(held.ttft_s, 0.5) * 1000
    aware_text = f"{at:.1f} req/s"
    return [
        _gain("sim_gain_vs_cloud_easy70", ratio["cloud"], ">= 3", aware_text, rates["cloud"]),
        _gain("sim_gain_equal_slots", ratio["equal"], ">= 1.1", aware_text, rates["equal"]),
        _gain("load_aware_vs_static", ratio["static"], ">= 1.1", aware_text, rates["static"]),
        Figure("timeouts_fraction", held.timeout_share, "", "<= 0.003"),
        Figure(
            "utilisation", held.busy_share, "", ">= 0.68",
            ours="at 95 % of capacity", peer=f"cloud alone {before.busy_share:.2f}",
        ),
        Figure("ttft_p50_ms", ttft, "ms", "<= 300"),
    ]  # fmt: skip


def _gain(
    name: str, ratios: Sequence[float], target: str, ours: str, peer: Sequence[float]
) -> Figure:
    value = statistics.median(ratios)
    spread = f"{min(ratios):.2f} to {max(ratios):.2f}"
    return Figure(
        name, value, "x", target, ours=f"{ours} ({spread})",
        peer=f"{statistics.median(peer):.1f} req/s",
    )  # fmt: skip


@dataclass(slots=True)
class _Tier:
    """A worker process and what was seen of it."""

    process: asyncio.subprocess.Process
    observed: Observed = field(default_factory=lambda: Observed(time.monotonic))
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def load(self) -> object:
        """As the balancer asks for it; our own counts are never stale."""
        self.observed.told(0, 0, 0.0)
        return self.observed.load

    async def answer(self, tokens: int) -> AsyncGenerator[str, None]:
        """Yield a text for each token."""
        stdin, stdout = self.process.stdin, self.process.stdout
        if stdin is None or stdout is None:
            raise RuntimeError("The worker has no pipes.")
        async with self.turn:
            with self.observed.answering(tokens) as watch:
                stdin.write(f"{tokens}\n".encode())
                for _ in range(tokens):
                    await stdout.readexactly(1)
                    watch.token()
                    yield "t"
                await stdout.readexactly(1)


def _live(*, quick: bool) -> list[Figure]:
    path = fetch("smollm2-135m", into=REPOSITORY / ".sealgate" / "cache")
    alone, routed = asyncio.run(_races(path, requests=10 if quick else 60))
    gains = [a / b for a, b in zip(alone, routed, strict=True)]
    return [
        Figure(
            "live_gain", statistics.median(gains), "x", ">= 1.3",
            ours=f"{statistics.median(routed):.1f} s", peer=f"{statistics.median(alone):.1f} s",
        )
    ]  # fmt: skip


async def _races(path: Path, *, requests: int) -> tuple[list[float], list[float]]:
    tiers = {name: await _started(path, layers) for name, layers in LAYERS.items()}
    try:
        alone, routed = [], []
        for turn in range(2 if requests < SMALL else 4):
            alone.append(await _race({"cloud": tiers["cloud"]}, requests, seed=turn))
            routed.append(await _race(tiers, requests, seed=turn))
        return alone, routed
    finally:
        for tier in tiers.values():
            tier.process.kill()
            await tier.process.wait()


async def _started(path: Path, layers: int) -> _Tier:
    worker = Path(__file__).with_name("tiers_worker.py")
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(worker), str(path), str(layers),
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    if process.stdout is None or await process.stdout.readline() != b"ready\n":
        raise RuntimeError("A tier's worker did not start.")
    return _Tier(process)


async def _race(tiers: dict[str, _Tier], requests: int, *, seed: int) -> float:
    """Send a fixed number of requests, eight at a time, and return the seconds they took."""
    drawn = random.Random(seed)  # noqa: S311 - a benchmark is repeated by its seed
    balancer = Balancer(
        [_endpoint(name, tier) for name, tier in tiers.items()],
        draw=drawn.randrange,
        patience=Patience(queue_s=600, hedge_s=600),
    )
    scores = iter([_score(drawn.random()) for _ in range(requests)])

    async def client() -> None:
        for score in scores:
            wanted = Wanted("bench", "public", AUTO, score, 64, ANSWER_TOKENS)
            run = balancer.run(
                wanted,
                balancer.decide(wanted),
                start=lambda endpoint: tiers[endpoint.place.name].answer(ANSWER_TOKENS),
                visible=bool,
            )
            if [item async for item in run if not isinstance(item, Routed)] == []:
                raise RequestRefused("A tier answered nothing.")

    begun = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(8)))
    return time.perf_counter() - begun


def _score(hardness: float) -> int:
    if hardness < 0.4 * EASY:
        return 10
    return 40 if hardness < EASY else 80


def _endpoint(name: str, tier: _Tier) -> Endpoint:
    place = Candidate(
        name, name, name, "local", frozenset({"public"}), None, 1024, ANSWER_TOKENS, 1
    )
    return Endpoint(place, tier, Breaker(time.monotonic), FairSlots(8, waiting_limit=100_000))


if __name__ == "__main__":
    main()
