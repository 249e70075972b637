"""What tests of the ledger reserve: small datasets of text and plans of known cost."""

from privacy.training.errors import BudgetExhausted
from privacy.training.filtering import Budget
from privacy.training.fingerprints import membership
from privacy.training.mechanism import Plan

KEY = b"k" * 32
# At this plan's cost, four fit the budget by RDP; the epsilon is certified by PLD, rounded up.
PLAN, EPSILON, DELTA = Plan(2.0, 0.05, 100), 0.91, 1e-4
BUDGET = Budget(2.2, 1e-4)
MOST = 20


def people(*numbers):
    return [f"record of person {n}" for n in numbers]


def reserve(ledger, records, *, name="notes", plan=PLAN, budget=BUDGET, epsilon=EPSILON):
    return ledger.reserve(
        plan,
        members=membership(records, key=KEY),
        name=name,
        budget=budget,
        epsilon=epsilon,
        delta=DELTA,
    )


def fill(ledger, records, **options):
    """Reserve until the budget refuses; return how many runs fitted, `MOST` if there is no end."""
    count = 0
    while count < MOST:
        try:
            reserve(ledger, records, **options)
        except BudgetExhausted:
            return count
        count += 1
    return count
