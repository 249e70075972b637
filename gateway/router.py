"""Which endpoint answers a request: a pure decision over a snapshot, and its explanation.

The order of the steps is the point of the design:

1. A hard filter, failing closed: pin, data class, agreement, tenant, policy, capability. Nothing
   after it, no retry, no hedge and no fall-back, ever looks beyond what it let through.
2. A floor of quality by the request's grade.
3. In each tier, of two endpoints drawn at random the one that should begin to answer sooner (power
   of two choices, as in Prequal: latency and requests in flight, not processor load); and of these
   the soonest. Drawing across tiers would send easy requests where hard ones have nowhere else.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from gateway import unroutable
from gateway.backends.base import FEATURES, Feature, Load
from gateway.errors import RequestRefused

# The quality of a tier, worst first; also what a request may name instead of a model.
TIERS = ("mobile", "edge", "cloud")
AUTO = "auto"
# The trust boundary of this machine's own sandboxes, and what a policy calls them.
LOCAL = "local"
STALE_S = 2.0
# First-token times assumed before any was seen, in seconds, by tier.
PRIOR_TTFT_S = {"mobile": 0.1, "edge": 0.2, "cloud": 0.3}
PRIOR_ITL_S = {"mobile": 0.02, "edge": 0.022, "cloud": 0.03}


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a request asks of the tiers. pin: a model, a tier, or `auto`. score: of `grading`.

    tiers: where the policy lets it go, None for anywhere; `local` is this machine's sandboxes.
    marked: whether it is to carry our mark. agreed: remotes with an agreement, None to need none.
    features: what it asks for beyond text.
    """

    tenant: str
    data_class: str
    pin: str
    score: int
    prompt_tokens: int
    max_tokens: int
    tiers: frozenset[str] | None = None
    marked: bool = False
    agreed: frozenset[str] | None = None
    features: frozenset[Feature] = frozenset()


@dataclass(frozen=True, slots=True)
class Candidate:
    """An endpoint as it stands at this moment.

    classes: data classes it may receive; none is allowed that is not listed. tenants: None for
    all. features: what it can do beyond text. boundary: the trust boundary it lies in. open: its
    breaker lets nothing through. processor: its server loads `watermark.vllm`.
    """

    name: str
    tier: str
    model: str
    boundary: str
    classes: frozenset[str]
    tenants: frozenset[str] | None
    context_length: int
    output_limit: int
    slots: int
    load: Load = field(default_factory=Load)
    open: bool = False
    draining: bool = False
    features: frozenset[Feature] = frozenset(FEATURES)
    processor: bool = False

    @property
    def here(self) -> bool:
        """Whether it is this machine's own."""
        return self.boundary == LOCAL

    @property
    def marks(self) -> bool:
        """Whether its answers carry our mark."""
        return self.here or self.processor

    @property
    def quality(self) -> int:
        """The rank of its tier."""
        return TIERS.index(self.tier)


@dataclass(frozen=True, slots=True)
class Thresholds:
    """From which grade on a tier is not good enough any more, and how staleness weighs.

    edge_from, cloud_from: grades. stale_factor: what an estimate without fresh news is
    multiplied by. spread: how much outstanding work weighs against the first token's time.
    """

    edge_from: int = 25
    cloud_from: int = 60
    stale_factor: float = 1.5
    spread: float = 1.0


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the decision made of one endpoint, in one word, and the estimate it went by."""

    endpoint: str
    tier: str
    word: str
    estimate_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """The endpoint, and why. spares: the others that would do, best first.

    floor: the lowest tier that is good enough. lowered: no endpoint that may have the request is
    that good, so that the best of them count.
    """

    endpoint: str
    spares: tuple[str, ...]
    floor: str
    lowered: bool
    verdicts: tuple[Verdict, ...]

    def entry(self) -> dict[str, Any]:
        """Return the explanation as the log keeps it: strings and integers."""
        return {
            "endpoint": self.endpoint,
            "floor": self.floor,
            "floor_lowered": self.lowered,
            "considered": [
                {"endpoint": v.endpoint, "tier": v.tier, "verdict": v.word}
                | ({} if v.estimate_ms is None else {"estimate_ms": v.estimate_ms})
                for v in self.verdicts
            ],
        }


def choose(
    wanted: Wanted,
    candidates: Sequence[Candidate],
    *,
    thresholds: Thresholds,
    draw: Callable[[int], int],
    tried: frozenset[str] = frozenset(),
) -> Decision:
    """Decide. draw: a random whole number below its argument. tried: what already failed.

    Raises:
        RequestRefused: 403 `no_tier_for_class`, 404 `model_not_found`, 400
            `context_length_exceeded`, or 503 `no_tier_available`.
    """
    # 1. The hard filter.
    words = {c.name: barred(wanted, c) for c in candidates}
    allowed = [c for c in candidates if not words[c.name]]
    if not allowed:
        raise unroutable.refusal(wanted.pin, wanted.features, frozenset(words.values()))
    # 2. The floor, held against what is allowed, whether or not it is free now.
    asked = floor(wanted, thresholds)
    reach = max(c.quality for c in allowed)
    least = min(asked, reach)
    able = []
    for candidate in allowed:
        words[candidate.name] = _unable(candidate, least, tried)
        if not words[candidate.name]:
            able.append(candidate)
    if not able:
        raise RequestRefused(
            "No tier that may answer this is free now. Try again shortly.",
            status=503,
            kind="server_error",
            code="no_tier_available",
        )
    # 3. Two drawn in each tier, the sooner taken.
    estimates = {c.name: estimate_s(c, thresholds) for c in able}
    drawn = [c for tier in TIERS for c in _pair([c for c in able if c.tier == tier], draw)]
    best = min(drawn, key=lambda c: estimates[c.name])
    spares = sorted((c for c in able if c is not best), key=lambda c: estimates[c.name])
    return Decision(
        best.name,
        tuple(c.name for c in spares),
        TIERS[asked],
        least < asked,
        tuple(_verdict(c, words[c.name], best.name, estimates) for c in candidates),
    )


def barred(wanted: Wanted, candidate: Candidate) -> str:
    """Return why a request may never reach an endpoint; empty if it may."""
    agreed = candidate.here or wanted.agreed is None or candidate.name in wanted.agreed
    walls = (
        ("pin", wanted.pin not in {AUTO, candidate.tier, candidate.model}),
        ("class", wanted.data_class not in candidate.classes),
        ("agreement", not agreed),
        ("tenant", candidate.tenants is not None and wanted.tenant not in candidate.tenants),
        ("policy", not _permitted(wanted, candidate)),
        ("capability", not wanted.features <= candidate.features),
        ("context", wanted.prompt_tokens + wanted.max_tokens > candidate.context_length),
        ("output", wanted.max_tokens > candidate.output_limit),
    )
    return next((word for word, stands in walls if stands), "")


def _permitted(wanted: Wanted, candidate: Candidate) -> bool:
    """Whether the policy lets a request go there: not only first, but after any failure too."""
    if wanted.marked and not candidate.marks:
        return False
    return wanted.tiers is None or (LOCAL if candidate.here else candidate.tier) in wanted.tiers


def floor(wanted: Wanted, thresholds: Thresholds) -> int:
    """Return the rank of the lowest tier that is good enough; a pin is the client's own word."""
    if wanted.pin != AUTO or wanted.score < thresholds.edge_from:
        return 0
    return 1 if wanted.score < thresholds.cloud_from else 2


def estimate_s(candidate: Candidate, thresholds: Thresholds) -> float:
    """Estimate the seconds to a first token: its usual time, and the work that is before it."""
    load = candidate.load
    ttft = load.ewma_ttft_s or PRIOR_TTFT_S[candidate.tier]
    itl = load.ewma_itl_s or PRIOR_ITL_S[candidate.tier]
    queued = max(0, load.running + load.waiting + 1 - candidate.slots)
    ahead = load.outstanding_tokens * itl / candidate.slots if queued else 0.0
    crowd = (load.running + load.waiting) / candidate.slots
    estimate = ttft * (1 + thresholds.spread * crowd) + ahead
    return estimate * thresholds.stale_factor if load.age_s > STALE_S else estimate


def explained(
    wanted: Wanted,
    candidates: Sequence[Candidate],
    *,
    thresholds: Thresholds,
) -> tuple[Verdict, ...]:
    """Say what the hard filter and the floor make of each endpoint when all are idle."""
    reach = max((c.quality for c in candidates if not barred(wanted, c)), default=0)
    least = min(floor(wanted, thresholds), reach)
    idle = [replace(c, load=Load(age_s=0.0), open=False) for c in candidates]
    words = {c.name: barred(wanted, c) or _unable(c, least, frozenset()) for c in idle}
    estimates = {c.name: estimate_s(c, thresholds) for c in idle if not words[c.name]}
    return tuple(_verdict(c, words[c.name], "", estimates) for c in idle)


def _unable(candidate: Candidate, least: int, tried: frozenset[str]) -> str:
    """Return why an endpoint that may have the request cannot now; empty if it can."""
    if candidate.quality < least:
        return "quality"
    if candidate.name in tried:
        return "tried"
    if candidate.draining:
        return "draining"
    return "breaker" if candidate.open else ""


def _pair(able: Sequence[Candidate], draw: Callable[[int], int]) -> tuple[Candidate, ...]:
    """Draw two different ones; all, where there are no more."""
    if len(able) <= 2:  # noqa: PLR2004 - two choices
        return tuple(able)
    first = draw(len(able))
    second = draw(len(able) - 1)
    return able[first], able[second + (second >= first)]


def _verdict(candidate: Candidate, word: str, chosen: str, estimates: dict[str, float]) -> Verdict:
    estimate = estimates.get(candidate.name)
    if not word:
        word = "chosen" if candidate.name == chosen else "spare"
    milliseconds = None if estimate is None else round(estimate * 1000)
    return Verdict(candidate.name, candidate.tier, word, milliseconds)
