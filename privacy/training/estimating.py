"""What a run has spent so far, fast enough to show at every pass: Opacus' PRV accountant.

PRV's error is two-sided, so this is for looking at. Certificates use accountant.py's PLD.
"""

import warnings

from opacus.accountants import PRVAccountant

from privacy.training.mechanism import Plan


def estimated_epsilon(plan: Plan, delta: float) -> float:
    """Estimate a plan's ε at `delta`."""
    if plan.steps == 0:
        return 0.0
    prv = PRVAccountant()
    prv.history = [(plan.noise_multiplier, plan.sampling_rate, plan.steps)]
    with warnings.catch_warnings():
        # PRV asks RDP for nothing but how wide to look; how tight that is does not matter.
        warnings.filterwarnings("ignore", message="Optimal order is the")
        return float(prv.get_epsilon(delta))
