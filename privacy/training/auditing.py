"""An empirical lower bound on what a run leaks, from one run with many canaries.

Steinke, Nasr and Jagielski, "Privacy Auditing with One (1) Training Run", NeurIPS 2023: of m coins
the auditor guesses r, of which v are right; few mechanisms of (ε, δ) would let v be that large.
How many guesses are made is fixed before the scores are seen. The bound can refute a claim; it
never proves one.
"""

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from privacy.training.evidence import Scores, log_ratio
from privacy.training.mechanism import Plan

CONFIDENCE = 0.95
FALSE_POSITIVES = 0.001
_LARGEST_EPSILON = 30.0
_GUESSES = (10, 20, 30, 50, 75, 100, 150, 200, 300, 500, 750, 1000, 1500, 2000)
_TRIALS = 9


@dataclass(frozen=True, slots=True)
class Finding:
    """What an audit showed. epsilon: lower bound at 95 % confidence. cap: had every guess hit.

    true_positives: share of members found where 0.1 % of the others are taken for members; None
    with too few canaries to say.
    """

    access: str
    canaries: int
    guesses: int
    correct: int
    epsilon: float
    cap: float
    true_positives: float | None

    def plain(self) -> dict[str, Any]:
        """Return it as JSON carries it."""
        return asdict(self)


def judge(scores: Scores, *, guesses: int, delta: float, access: str) -> Finding:
    """Guess the canaries with the most extreme scores, and bound ε by how many guesses hit."""
    members, values = scores.members, scores.values
    correct = _correct(members, values, guesses)
    return Finding(
        access=access,
        canaries=len(values),
        guesses=guesses,
        correct=correct,
        epsilon=lower_bound(len(values), guesses, correct, delta),
        cap=lower_bound(len(values), guesses, guesses, delta),
        true_positives=_true_positives(members, values),
    )


def committed_guesses(plan: Plan, *, canaries: int, delta: float) -> int:
    """Return how many guesses to make, from the plan alone: what simulation finds strongest.

    The seed is fixed, so the number is the same for everyone and no scores can have moved it.
    """
    rng = np.random.default_rng(20230515)
    options = [r for r in _GUESSES if r <= canaries]
    if not options:
        return canaries
    gained = dict.fromkeys(options, 0.0)
    for _ in range(_TRIALS):
        members, values = _simulated(plan, canaries, rng, noise=plan.noise_multiplier)
        for guesses in options:
            correct = _correct(members, values, guesses)
            gained[guesses] += lower_bound(canaries, guesses, correct, delta)
    return max(options, key=lambda guesses: gained[guesses])


def unhidden(plan: Plan, *, canaries: int, guesses: int, delta: float) -> float:
    """Return what an audit of the plan shows with the noise off, by simulation.

    It is below the cap where members may never have joined: nobody can find those.
    """
    rng = np.random.default_rng(20230516)
    found = []
    for _ in range(_TRIALS):
        members, values = _simulated(plan, canaries, rng, noise=0.0)
        correct = _correct(members, values, guesses)
        found.append(lower_bound(canaries, guesses, correct, delta))
    return float(np.median(found))


def lower_bound(canaries: int, guesses: int, correct: int, delta: float) -> float:
    """Return the largest ε, rounded down, that the guesses refute at 95 % confidence."""
    level = 1 - CONFIDENCE
    if p_value(canaries, guesses, correct, 0.0, delta) >= level:
        return 0.0
    low, high = 0.0, _LARGEST_EPSILON
    for _ in range(40):
        middle = (low + high) / 2
        if p_value(canaries, guesses, correct, middle, delta) < level:
            low = middle
        else:
            high = middle
    return math.floor(low * 1e4) / 1e4


def p_value(canaries: int, guesses: int, correct: int, epsilon: float, delta: float) -> float:
    """Bound the chance that an (ε, δ) mechanism lets that many guesses hit.

    Theorem 5.2 and algorithm 2 of the paper.
    """
    hit = 1 / (1 + math.exp(-epsilon))
    beyond = float(stats.binom.sf(correct - 1, guesses, hit))
    steps = np.arange(1, correct + 1)
    within = np.cumsum(stats.binom.pmf(correct - steps, guesses, hit)) / steps
    slack = float(within.max()) if correct else 0.0
    return min(1.0, beyond + 2 * canaries * delta * slack)


def _simulated(
    plan: Plan, canaries: int, rng: np.random.Generator, *, noise: float
) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    members = rng.integers(2, size=canaries).astype(np.bool_)
    values = np.zeros(canaries)
    for _ in range(plan.steps):
        joined = members & (rng.random(canaries) < plan.sampling_rate)
        values += log_ratio(joined + noise * rng.standard_normal(canaries), plan)
    return members, values


def _correct(members: NDArray[np.bool_], values: NDArray[np.float64], guesses: int) -> int:
    """Count the right ones among the highest half taken for members, the lowest for others."""
    order = np.argsort(values, kind="stable")
    low, high = order[: guesses // 2], order[len(order) - (guesses - guesses // 2) :]
    return int((~members[low]).sum() + members[high].sum())


def _true_positives(members: NDArray[np.bool_], values: NDArray[np.float64]) -> float | None:
    others = np.sort(values[~members])
    if len(others) < 1 / FALSE_POSITIVES or not members.any():
        return None
    threshold = others[len(others) - 1 - int(FALSE_POSITIVES * len(others))]
    return float((values[members] > threshold).mean())
