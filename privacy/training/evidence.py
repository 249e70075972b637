"""What an auditor scores a canary by."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from privacy.training.mechanism import Plan


@dataclass(frozen=True, slots=True)
class Scores:
    """What an auditor saw. members: bool [m], who was included. values: float64 [m]."""

    members: NDArray[np.bool_]
    values: NDArray[np.float64]


def log_ratio(released: NDArray[np.float64], plan: Plan) -> NDArray[np.float64]:
    """Return one step's log-likelihood ratio of a member against another, [m].

    released: [m], each canary's coordinate over the clipping norm. No score of a step separates
    the two better (Neyman and Pearson).
    """
    ratio = (released - 0.5) / plan.noise_multiplier**2
    if plan.sampling_rate == 1.0:
        return ratio
    absent, present = math.log1p(-plan.sampling_rate), math.log(plan.sampling_rate)
    return np.logaddexp(absent, present + ratio)
