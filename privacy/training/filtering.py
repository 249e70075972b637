"""Whether one more run fits a budget, when each run may be chosen after seeing the last.

A Rényi filter at one order: as long as the divergences of all admitted mechanisms sum to no more
than the budget's, the whole adaptive sequence stays within it (Feldman and Zrnic, NeurIPS 2021,
theorem 4.3). The order is chosen once, from the first plan and before anything is released, since
choosing it later by what fits would need a union bound.

RDP charges more than PLD, so a single run may fit a budget only by PLD. It is admitted as the
first and last run of its account, and refunds nothing: then there is no adaptive choice to cover.
"""

import math
from dataclasses import dataclass

from privacy.training.mechanism import ORDERS, Plan, rdp_per_step

BY_RDP = "rdp"
BY_PLD = "pld"


@dataclass(frozen=True, slots=True)
class Budget:
    """The most that the records of an account may leak, whatever runs use them."""

    epsilon: float
    delta: float


@dataclass(frozen=True, slots=True)
class Standing:
    """What an account has spent. order: of the filter, None before the first run.

    rdp: sum of what was charged, at that order. closed: nothing more is admitted.
    """

    order: int | None
    rdp: float
    closed: bool


@dataclass(frozen=True, slots=True)
class Admission:
    """How a run fits. basis: `rdp` or `pld`. rdp: charged at `order` for the whole plan."""

    basis: str
    order: int
    rdp: float


def admit(
    plan: Plan, *, budget: Budget, standing: Standing, epsilon: float, delta: float
) -> Admission | None:
    """Return how the plan fits the budget, or None if it does not.

    epsilon, delta: the plan's own certified cost.
    """
    if standing.closed:
        return None
    order = standing.order or best_order(plan, budget)
    charge = plan.steps * rdp_per_step(plan, order)
    if standing.rdp + charge <= capacity(budget, order):
        return Admission(BY_RDP, order, charge)
    if standing.order is None and epsilon <= budget.epsilon and delta <= budget.delta:
        return Admission(BY_PLD, order, charge)
    return None


def best_order(plan: Plan, budget: Budget) -> int:
    """Return the order at which the budget holds the most runs like this one."""

    def runs(order: int) -> float:
        return capacity(budget, order) / max(rdp_per_step(plan, order), 1e-300)

    return max(ORDERS, key=runs)


def capacity(budget: Budget, order: int) -> float:
    """Return the divergence at `order` that implies the budget, below zero if none does.

    Canonne, Kamath and Steinke 2020, proposition 12, solved for the divergence.
    """
    return budget.epsilon - _overhead(order, budget.delta)


def share_left(standing: Standing, budget: Budget) -> float:
    """Return how much of the budget is left, from 0 to 1, in the filter's own measure.

    Runs of one kind use it up evenly, which is not true of ε: composition grows more slowly.
    """
    if standing.closed:
        return 0.0
    if standing.order is None:
        return 1.0
    return max(1.0 - standing.rdp / capacity(budget, standing.order), 0.0)


def epsilon_spent(standing: Standing, budget: Budget) -> float:
    """Return an upper bound on the ε, at the budget's δ, of an account's charges so far."""
    if standing.closed:
        return budget.epsilon
    if standing.order is None or standing.rdp == 0:
        return 0.0
    return max(standing.rdp + _overhead(standing.order, budget.delta), 0.0)


def _overhead(order: int, delta: float) -> float:
    return math.log1p(-1 / order) - (math.log(delta) + math.log(order)) / (order - 1)
