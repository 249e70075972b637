"""The mechanism whose leakage is accounted: the Poisson-subsampled Gaussian, repeated.

Says what it is and what it costs in Rényi terms; proofs of (ε, δ) are the accountant's.
"""

import math
from dataclasses import dataclass, replace
from typing import Any

from privacy.training.errors import PlanInvalid

ORDERS: tuple[int, ...] = (*range(2, 65), 80, 96, 128, 192, 256, 512)
# At less, one step alone has an epsilon of hundreds.
SMALLEST_NOISE = 0.05
RELATION = "add-or-remove-one"


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run may do at most.

    noise_multiplier: standard deviation of the noise over the clipping norm. sampling_rate: chance
    of a record to join a step. steps: how many.
    """

    noise_multiplier: float
    sampling_rate: float
    steps: int

    def __post_init__(self) -> None:
        if not SMALLEST_NOISE <= self.noise_multiplier < math.inf:
            raise PlanInvalid(
                f"The noise multiplier must be at least {SMALLEST_NOISE}: less protects nobody."
            )
        if not 0 < self.sampling_rate <= 1:
            raise PlanInvalid("The sampling rate must lie above 0 and not above 1.")
        if self.steps < 0:
            raise PlanInvalid("The number of steps must not be negative.")

    def of(self, steps: int) -> "Plan":
        """Return the same mechanism repeated `steps` times."""
        return replace(self, steps=steps)

    def event(self) -> dict[str, Any]:
        """Return it as a DP event, named as the library dp-accounting names its own."""
        return {
            "type": "SelfComposedDpEvent",
            "count": self.steps,
            "event": {
                "type": "PoissonSampledDpEvent",
                "sampling_probability": self.sampling_rate,
                "event": {
                    "type": "GaussianDpEvent",
                    "noise_multiplier": self.noise_multiplier,
                },
            },
        }


def rdp_per_step(plan: Plan, order: int) -> float:
    """Return one step's Rényi divergence at an integer order (Mironov et al. 2019, section 3.3).

    Holds for adding and for removing a record (their theorem 5).
    """
    rate, noise = plan.sampling_rate, plan.noise_multiplier
    if rate == 1.0:
        return order / (2 * noise**2)
    terms = [
        math.lgamma(order + 1)
        - math.lgamma(k + 1)
        - math.lgamma(order - k + 1)
        + k * math.log(rate)
        + (order - k) * math.log1p(-rate)
        + (k * k - k) / (2 * noise**2)
        for k in range(order + 1)
    ]
    largest = max(terms)
    total = largest + math.log(math.fsum(math.exp(term - largest) for term in terms))
    # Rounding may leave a hair below zero where the divergence is tiny; it is never negative.
    return max(total, 0.0) / (order - 1)
