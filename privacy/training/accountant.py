"""What a plan costs: certified by dp-accounting's PLD, shown by PRV, cross-checked by RDP.

PLD rounds pessimistically, so its ε is an upper bound; it alone goes into a certificate. Opacus'
GDP accountant is an asymptotic approximation that reports too little, and is not offered.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import version

import dp_accounting
from dp_accounting.pld.pld_privacy_accountant import PLDAccountant
from dp_accounting.rdp.rdp_privacy_accountant import RdpAccountant

from privacy.training.errors import PlanInvalid
from privacy.training.mechanism import ORDERS, SMALLEST_NOISE, Plan

_ADD_OR_REMOVE = dp_accounting.NeighboringRelation.ADD_OR_REMOVE_ONE
_REPLACE = dp_accounting.NeighboringRelation.REPLACE_ONE
# A calibrated plan spends at least this share of its target.
_TIGHTNESS = 0.998
_ROUNDS = 40
_LARGEST_NOISE = 1e4


@dataclass(frozen=True, slots=True)
class Spent:
    """ε of a plan at one δ, by three accountants. The first is the one that counts.

    certified: PLD, one record more or less. replace_one: PLD, one record exchanged for another.
    """

    certified: float
    replace_one: float
    rdp: float
    delta: float


def accountant_name() -> str:
    """Return the certifying accountant and its version."""
    return f"dp-accounting PLD {version('dp-accounting')}"


def spent(plan: Plan, delta: float) -> Spent:
    """Account for a whole plan at `delta`."""
    if plan.steps == 0:
        return Spent(certified=0.0, replace_one=0.0, rdp=0.0, delta=delta)
    return Spent(
        certified=certified_epsilon(plan, delta),
        replace_one=_rounded_up(_pld(plan, _REPLACE, delta)),
        rdp=_rounded_up(_rdp(plan, delta)),
        delta=delta,
    )


@lru_cache(maxsize=256)
def certified_epsilon(plan: Plan, delta: float) -> float:
    """Return the plan's ε at `delta`, an upper bound, for one record more or less."""
    if plan.steps == 0:
        return 0.0
    return _rounded_up(_pld(plan, _ADD_OR_REMOVE, delta))


def calibrated(*, epsilon: float, delta: float, sampling_rate: float, steps: int) -> Plan:
    """Return the plan with the least noise, within 0.2 %, whose certified ε is at most `epsilon`.

    Raises:
        PlanInvalid: The target is not positive, or out of reach.
    """
    require_target(epsilon, delta)
    if steps < 1:
        raise PlanInvalid("A run has at least one step.")

    def plan(noise: float) -> Plan:
        return Plan(noise, sampling_rate, steps)

    # RDP is fast and reports more than PLD: noise that satisfies it brackets from above.
    high = _bisected(lambda noise: _rdp(plan(noise), delta), epsilon)
    return plan(_tightened(lambda noise: certified_epsilon(plan(noise), delta), epsilon, high))


def require_target(epsilon: float, delta: float) -> None:
    """Raise PlanInvalid unless ε is positive and δ lies between 0 and 1."""
    if not (epsilon > 0 and math.isfinite(epsilon)):
        raise PlanInvalid("The target epsilon must be a positive number.")
    if not 0 < delta < 1:
        raise PlanInvalid("Delta must lie between 0 and 1.")


def _tightened(cost: Callable[[float], float], epsilon: float, high: float) -> float:
    """Return noise whose cost lies just under `epsilon`, from noise whose cost does not exceed it.

    The cost is close to a power of the noise, so a secant through the bracket's logarithms
    converges in a few of these evaluations, which take half a second each.
    """
    cost_high = cost(high)
    low, cost_low = high, cost_high
    while cost_low <= epsilon and low > SMALLEST_NOISE:
        low = max(0.8 * low, SMALLEST_NOISE)
        cost_low = cost(low)
    for _ in range(_ROUNDS):
        tight = cost_high >= _TIGHTNESS * epsilon
        if tight or cost_low <= epsilon or high - low < 1e-6 * high:
            break
        share = math.log(cost_low / (epsilon * (1 + _TIGHTNESS) / 2)) / math.log(
            cost_low / cost_high
        )
        noise = low * (high / low) ** min(max(share, 0.02), 0.98)
        found = cost(noise)
        if found <= epsilon:
            high, cost_high = noise, found
        else:
            low, cost_low = noise, found
    return high


def _bisected(cost: Callable[[float], float], epsilon: float) -> float:
    low, high = SMALLEST_NOISE, _LARGEST_NOISE
    if cost(high) > epsilon:
        raise PlanInvalid("No noise reaches that epsilon. Plan fewer steps or a larger epsilon.")
    for _ in range(_ROUNDS):
        middle = math.sqrt(low * high)
        if cost(middle) <= epsilon:
            high = middle
        else:
            low = middle
    return high


def _pld(plan: Plan, relation: dp_accounting.NeighboringRelation, delta: float) -> float:
    accountant = PLDAccountant(neighboring_relation=relation)
    accountant.compose(_event(plan))
    return float(accountant.get_epsilon(delta))


def _rdp(plan: Plan, delta: float) -> float:
    accountant = RdpAccountant(orders=ORDERS)
    accountant.compose(_event(plan))
    return float(accountant.get_epsilon(delta))


def _event(plan: Plan) -> dp_accounting.DpEvent:
    step = dp_accounting.PoissonSampledDpEvent(
        plan.sampling_rate, dp_accounting.GaussianDpEvent(plan.noise_multiplier)
    )
    return dp_accounting.SelfComposedDpEvent(step, plan.steps)


def _rounded_up(epsilon: float) -> float:
    """Keep six decimals, never below what was computed."""
    return math.ceil(epsilon * 1e6) / 1e6 if math.isfinite(epsilon) else epsilon
