"""Whether a mechanism that was watched does what its plan says: noise, clipping, sampling.

Each check is a z-score of a quantity whose mean and spread the plan determines; a right mechanism
fails one of them once in a hundred million rehearsals.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from privacy.training.errors import MechanismBroken
from privacy.training.mechanism import Plan

_LIMIT = 6.0


@dataclass(frozen=True, slots=True)
class Watched:
    """Released values along the canaries, in units of the clipping norm.

    members: bool [m]. joined: sums over the members of a step's values, [steps]. first, second:
    sums over steps of values and of squares, [m]. lagged: sums of products of one step's value
    and the next one's, [m].
    """

    members: NDArray[np.bool_]
    joined: NDArray[np.float64]
    first: NDArray[np.float64]
    second: NDArray[np.float64]
    lagged: NDArray[np.float64]

    @property
    def steps(self) -> int:
        """How many steps were watched."""
        return len(self.joined)


@dataclass(frozen=True, slots=True)
class Checks:
    """What was found, as ratios to what the plan says; all are 1 or 0 up to chance.

    noise: deviation of the noise. repetition: correlation of a step's noise with the next one's.
    contribution: a member's largest contribution. rate: how often members joined.
    """

    noise: float
    repetition: float
    contribution: float
    rate: float


def checked(watched: Watched, plan: Plan) -> Checks:
    """Compare what was watched with the plan.

    Raises:
        MechanismBroken: It does something else; the message says what.
    """
    others, members = ~watched.members, watched.members
    noise, steps, rate = plan.noise_multiplier, watched.steps, plan.sampling_rate
    seen, joined = int(others.sum()) * steps, int(members.sum()) * steps
    variance = watched.second[others].sum() / seen / noise**2
    repetition = watched.lagged[others].sum() / max(seen - int(others.sum()), 1) / noise**2
    mean = watched.first[members].sum() / joined / rate
    # A member's total varies by its coin in each step and by the noise; steps are independent.
    each = rate * (1 - rate) + noise**2
    totals = ((watched.first[members] - rate * steps) ** 2).mean() / (steps * each)
    problems = _problems(
        {
            "the noise's variance is {:.2f} of what was planned": (
                variance,
                1.0,
                math.sqrt(2 / seen),
            ),
            "a step's noise repeats in the next by {:.2f}": (
                repetition,
                0.0,
                1 / math.sqrt(max(seen - int(others.sum()), 1)),
            ),
            "a record contributes {:.2f} of the clipping norm": (
                mean,
                1.0,
                math.sqrt(each / joined) / rate,
            ),
            "batches depend on each other: their variance is {:.2f} of Poisson sampling's": (
                totals,
                1.0,
                math.sqrt(3 / int(members.sum())),
            ),
        }
    )
    if said := "; ".join(problems):
        raise MechanismBroken(f"The mechanism is not the planned one: {said}. Do not use it.")
    return Checks(math.sqrt(variance), float(repetition), float(mean), float(totals))


def require_poisson(watched: Watched, plan: Plan) -> None:
    """Raise MechanismBroken unless members joined as by coins of their own.

    watched: with the noise off, where each value is 1 or 0.
    """
    if plan.sampling_rate == 1.0:
        return
    rate, members = plan.sampling_rate, int(watched.members.sum())
    found = {
        "records joined {} for independent coins": _dispersed(
            watched.first[watched.members], trials=watched.steps, rate=rate
        ),
        "the sizes of batches are spread {} for Poisson sampling": _dispersed(
            watched.joined, trials=members, rate=rate
        ),
    }
    said = "; ".join(text.format(how) for text, how in found.items() if how)
    if said:
        raise MechanismBroken(f"The mechanism is not the planned one: {said}. Do not use it.")


def _dispersed(counts: NDArray[np.float64], *, trials: int, rate: float) -> str:
    """Say how counts differ from binomial ones in their variance; nothing if chance explains it.

    The sum of squares is close to chi-square with the degrees of freedom that give it the
    variance which the counts' kurtosis implies. Its upper tail is too light where counts are
    small, so that side takes more to convince.
    """
    spread = rate * (1 - rate)
    if trials * rate < 1:
        return ""
    kurtosis = (1 - 6 * spread) / (trials * spread)
    share = 2 / (2 + max(kurtosis, 0.0))
    total = float(((counts - trials * rate) ** 2).sum()) / (trials * spread) * share
    expected = stats.chi2(len(counts) * share)
    below, above = expected.cdf(total), expected.sf(total)
    if below < stats.norm.sf(_LIMIT):
        return "too evenly"
    return "too unevenly" if above < stats.norm.sf(_LIMIT + 2) else ""


def _problems(scored: dict[str, tuple[float, float, float]]) -> Iterator[str]:
    for said, (found, expected, spread) in scored.items():
        if not abs(found - expected) <= _LIMIT * spread:
            yield said.format(found)
