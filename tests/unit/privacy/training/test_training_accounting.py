import dp_accounting
import pytest
from dp_accounting.pld.pld_privacy_accountant import PLDAccountant
from dp_accounting.rdp.rdp_privacy_accountant import RdpAccountant
from hypothesis import given, settings
from hypothesis import strategies as st

from privacy.training.accountant import Spent, calibrated, certified_epsilon, spent
from privacy.training.errors import PlanInvalid
from privacy.training.estimating import estimated_epsilon
from privacy.training.filtering import (
    BY_PLD,
    BY_RDP,
    Budget,
    Standing,
    admit,
    best_order,
    capacity,
    epsilon_spent,
    share_left,
)
from privacy.training.mechanism import Plan, rdp_per_step

FRESH = Standing(order=None, rdp=0.0, closed=False)
PLANS = [Plan(1.0, 0.0256, 400), Plan(0.6, 0.008, 125), Plan(4.0, 1.0, 10)]


def reference(plan, delta):
    accountant = PLDAccountant()
    step = dp_accounting.PoissonSampledDpEvent(
        plan.sampling_rate, dp_accounting.GaussianDpEvent(plan.noise_multiplier)
    )
    accountant.compose(step, plan.steps)
    return accountant.get_epsilon(delta)


@pytest.mark.parametrize("plan", PLANS)
def test_certified_epsilon_is_not_below_pld_and_not_one_percent_above(plan):
    expected = reference(plan, 1e-5)
    assert expected <= certified_epsilon(plan, 1e-5) <= 1.01 * expected


def test_certified_epsilon_of_a_published_plan():
    # Figures of dp-accounting, recorded when this design was made.
    assert certified_epsilon(Plan(1.0, 0.0256, 400), 1e-5) == pytest.approx(3.251, abs=1e-3)


def test_rdp_and_replacement_cost_more_than_certified():
    found = spent(PLANS[0], 1e-5)
    assert found.certified < found.rdp
    assert found.certified < found.replace_one


def test_estimate_while_training_is_close_to_certified():
    estimate = estimated_epsilon(PLANS[0], 1e-5)
    assert estimate == pytest.approx(certified_epsilon(PLANS[0], 1e-5), rel=0.01)


def test_no_steps_cost_nothing():
    assert certified_epsilon(Plan(1.0, 0.1, 0), 1e-5) == 0.0
    assert estimated_epsilon(Plan(1.0, 0.1, 0), 1e-5) == 0.0
    assert spent(Plan(1.0, 0.1, 0), 1e-5) == Spent(0.0, 0.0, 0.0, 1e-5)


@pytest.mark.parametrize("epsilon", [0.5, 3.0, 8.0])
def test_calibrated_plan_spends_its_target_and_no_more(epsilon):
    plan = calibrated(epsilon=epsilon, delta=1e-5, sampling_rate=0.05, steps=100)
    assert 0.99 * epsilon <= certified_epsilon(plan, 1e-5) <= epsilon


@pytest.mark.parametrize("epsilon", [0.0, -1.0, float("nan"), float("inf")])
def test_senseless_targets_are_refused(epsilon):
    with pytest.raises(PlanInvalid):
        calibrated(epsilon=epsilon, delta=1e-5, sampling_rate=0.1, steps=10)


@pytest.mark.parametrize("plan", [(0.0, 0.1, 1), (1.0, 0.0, 1), (1.0, 1.1, 1), (1.0, 0.1, -1)])
def test_senseless_plans_are_refused(plan):
    with pytest.raises(PlanInvalid):
        Plan(*plan)


@pytest.mark.parametrize("order", [2, 3, 8, 32, 64])
@pytest.mark.parametrize("plan", PLANS)
def test_renyi_divergence_is_that_of_dp_accounting(plan, order):
    accountant = RdpAccountant(orders=[order])
    accountant.compose(
        dp_accounting.PoissonSampledDpEvent(
            plan.sampling_rate, dp_accounting.GaussianDpEvent(plan.noise_multiplier)
        )
    )
    assert rdp_per_step(plan, order) == pytest.approx(accountant._rdp[0], rel=1e-9)


def test_a_first_run_that_fits_only_by_pld_closes_the_account():
    plan = Plan(1.0, 0.0256, 400)
    budget = Budget(3.3, 1e-5)
    found = admit(plan, budget=budget, standing=FRESH, epsilon=3.251, delta=1e-5)
    assert found.basis == BY_PLD


def test_a_later_run_must_fit_by_rdp():
    plan = Plan(1.0, 0.0256, 400)
    used = Standing(order=5, rdp=1e-9, closed=False)
    budget = Budget(3.3, 1e-5)
    assert admit(plan, budget=budget, standing=used, epsilon=3.251, delta=1e-5) is None


def test_a_closed_account_admits_nothing():
    plan = Plan(1000.0, 0.001, 1)
    closed = Standing(order=5, rdp=0.0, closed=True)
    budget = Budget(100.0, 1e-5)
    assert admit(plan, budget=budget, standing=closed, epsilon=1e-6, delta=1e-9) is None


@settings(deadline=None, max_examples=60)
@given(
    noise=st.floats(0.5, 5.0),
    rate=st.floats(0.005, 0.3),
    steps=st.integers(1, 300),
    epsilon=st.floats(0.5, 10.0),
)
def test_whatever_the_filter_admits_stays_within_the_budget(noise, rate, steps, epsilon):
    """Compose all admitted runs by another accountant and compare with the budget."""
    plan, budget = Plan(noise, rate, steps), Budget(epsilon, 1e-5)
    standing, admitted = FRESH, 0
    while admitted < 20:
        found = admit(plan, budget=budget, standing=standing, epsilon=1e9, delta=1e-5)
        if found is None:
            break
        assert found.basis == BY_RDP
        admitted += 1
        standing = Standing(found.order, standing.rdp + found.rdp, closed=False)
    assert epsilon_spent(standing, budget) <= epsilon + 1e-9
    if admitted:
        accountant = RdpAccountant()
        step = dp_accounting.PoissonSampledDpEvent(rate, dp_accounting.GaussianDpEvent(noise))
        accountant.compose(step, admitted * steps)
        assert accountant.get_epsilon(1e-5) <= epsilon + 1e-9


def test_the_filters_order_admits_about_as_many_runs_as_any_other():
    plan, budget = Plan(2.0, 0.02, 50), Budget(8.0, 1e-5)
    order = best_order(plan, budget)
    best = capacity(budget, order) / rdp_per_step(plan, order)
    for other in (2, order + 3, order + 20):
        assert capacity(budget, other) / rdp_per_step(plan, other) <= best


def test_share_left_falls_evenly():
    budget = Budget(8.0, 1e-5)
    whole = capacity(budget, 6)
    shares = [share_left(Standing(6, whole * i / 4, closed=False), budget) for i in range(5)]
    assert shares == pytest.approx([1.0, 0.75, 0.5, 0.25, 0.0])


@pytest.mark.parametrize("steps", [0, -1])
def test_a_run_without_steps_is_not_calibrated(steps):
    with pytest.raises(PlanInvalid, match="at least one step"):
        calibrated(epsilon=1.0, delta=1e-5, sampling_rate=0.1, steps=steps)


@pytest.mark.parametrize("delta", [0.0, 1.0, -1e-5, float("nan")])
def test_a_delta_that_is_no_probability_is_refused(delta):
    with pytest.raises(PlanInvalid, match="Delta"):
        calibrated(epsilon=1.0, delta=delta, sampling_rate=0.1, steps=10)


def test_an_epsilon_that_no_noise_reaches_is_refused():
    with pytest.raises(PlanInvalid, match="No noise reaches"):
        calibrated(epsilon=1e-6, delta=1e-12, sampling_rate=1.0, steps=100_000)


def test_nothing_is_left_of_a_closed_budget():
    budget = Budget(8.0, 1e-5)
    assert share_left(Standing(6, 0.0, closed=False), budget) == 1.0
    assert share_left(Standing(6, 0.0, closed=True), budget) == 0.0
    assert share_left(FRESH, budget) == 1.0
