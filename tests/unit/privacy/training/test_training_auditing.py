"""The audit: sound against the claim, awake against a mechanism with a bug."""

import numpy as np
import pytest
from scipy import stats

from privacy.training import auditing, rehearsal
from privacy.training.accountant import calibrated
from privacy.training.auditing import committed_guesses, judge, lower_bound, p_value
from privacy.training.canaries import Canaries
from privacy.training.checks import Watched, require_poisson
from privacy.training.errors import AuditBlind, MechanismBroken, PlanInvalid
from privacy.training.evidence import Scores, log_ratio
from privacy.training.keystream import Keystream
from privacy.training.mechanism import Plan

PLAN, DELTA, CANARIES = Plan(1.0, 0.25, 40), 1e-5, 600


def test_without_delta_the_p_value_is_a_binomial_tail():
    # Theorem 3.1 of the paper: each guess hits with chance at most e^epsilon / (1 + e^epsilon).
    hit = np.e / (1 + np.e)
    assert p_value(1000, 100, 90, 1.0, 0.0) == pytest.approx(stats.binom.sf(89, 100, hit))


def test_a_delta_only_weakens_the_audit():
    bounds = [lower_bound(1000, 100, 95, delta) for delta in (0.0, 1e-6, 1e-5, 1e-3)]
    assert bounds == sorted(bounds, reverse=True)
    assert bounds[0] > bounds[-1]


@pytest.mark.parametrize("guesses", [50, 100, 500])
def test_perfect_guesses_show_no_more_than_their_number_allows(guesses):
    # The largest epsilon at which that many hits still have a chance of 5 %.
    hit = 0.05 ** (1 / guesses)
    cap = lower_bound(1000, guesses, guesses, 0.0)
    assert cap == pytest.approx(np.log(hit / (1 - hit)), abs=1e-3)


@pytest.mark.parametrize(
    ("canaries", "guesses", "correct", "delta", "epsilon"),
    [
        (1000, 100, 90, 1e-5, 1.6261436787),
        (2000, 200, 180, 1e-5, 1.7936768962),
        (2000, 75, 65, 1e-5, 1.2810354379),
        (600, 100, 100, 1e-5, 3.4764349888),
        (10_000, 500, 480, 1e-6, 2.7926469010),
    ],
)
def test_bounds_are_those_of_jax_privacy(canaries, guesses, correct, delta, epsilon):
    # Figures of jax-privacy 2.0.0, `auditing._epsilon_one_run` at significance 0.05.
    assert lower_bound(canaries, guesses, correct, delta) == pytest.approx(epsilon, abs=1.1e-4)


def test_what_never_joined_cannot_be_seen_with_the_noise_off():
    rare, sure = Plan(1.0, 0.05, 3), Plan(1.0, 0.5, 20)
    few, most = (
        auditing.unhidden(plan, canaries=600, guesses=100, delta=DELTA) for plan in (rare, sure)
    )
    assert few < 1.5
    assert most > 3.0


def test_guessing_by_chance_shows_nothing():
    assert lower_bound(1000, 100, 55, 1e-5) == 0.0


def test_the_number_of_guesses_depends_on_the_plan_alone():
    assert committed_guesses(PLAN, canaries=CANARIES, delta=DELTA) == committed_guesses(
        PLAN, canaries=CANARIES, delta=DELTA
    )
    assert committed_guesses(PLAN, canaries=4, delta=DELTA) == 4


def test_true_positives_need_enough_that_are_not_members():
    rng = np.random.default_rng(1)
    members = np.arange(4000) % 2 == 0
    values = rng.standard_normal(4000) + 6.0 * members
    found = judge(Scores(members, values), guesses=100, delta=DELTA, access="white-box")
    assert found.true_positives == pytest.approx(stats.norm.sf(stats.norm.isf(0.001) - 6), abs=0.05)
    few = judge(Scores(members[:100], values[:100]), guesses=10, delta=DELTA, access="white-box")
    assert few.true_positives is None


@pytest.mark.parametrize("epsilon", [1.0, 3.0, 8.0])
def test_a_sound_mechanism_is_not_refuted(epsilon):
    plan = calibrated(epsilon=epsilon, delta=DELTA, sampling_rate=0.25, steps=20)
    found = rehearsal.rehearsed(plan, delta=DELTA, canaries=CANARIES)
    for finding in found.findings:
        assert finding.epsilon <= epsilon
        assert finding.epsilon <= finding.cap
    assert found.control.epsilon > 0.5 * found.control.cap


def rehearse():
    """Rehearse a right mechanism. Test_training_mutants rehearses wrong ones."""
    return rehearsal.rehearsed(PLAN, delta=DELTA, canaries=CANARIES)


def test_a_right_mechanism_passes_its_rehearsal():
    checks = rehearse().checks
    assert (checks.noise, checks.contribution) == pytest.approx((1, 1), abs=0.3)
    # Chance moves it by 0.1, the standard deviation over 300 members.
    assert checks.rate == pytest.approx(1, abs=0.6)
    assert checks.repetition == pytest.approx(0, abs=0.05)


@pytest.mark.parametrize("canaries", [-1, 0, 99, 20_001, 10**9])
def test_an_audit_of_too_few_or_too_many_canaries_is_refused(canaries):
    with pytest.raises(PlanInvalid, match="100 to 20,000"):
        rehearsal.rehearsed(PLAN, delta=DELTA, canaries=canaries)


def test_an_audit_that_sees_nothing_says_so(monkeypatch):
    performed = rehearsal.performed

    def blind(plan, *, canaries, noise):
        seen = performed(plan, canaries=canaries, noise=noise)
        coins = Keystream(b"c" * 32).words(canaries) & np.uint64(1)
        scores = Scores(coins.astype(bool), seen.white_box.values)
        return rehearsal.Performance(scores, seen.black_box, seen.watched)

    monkeypatch.setattr(rehearsal, "performed", blind)
    with pytest.raises(AuditBlind):
        rehearse()


def test_no_noise_at_all_refutes_the_claim():
    seen = rehearsal.performed(PLAN, canaries=CANARIES, noise=rehearsal.Silence())
    for scores in (seen.white_box, seen.black_box):
        found = auditing.judge(scores, guesses=200, delta=DELTA, access="either")
        assert found.epsilon > 0.5 * found.cap > 2.0


def test_a_run_s_own_canaries_are_told_apart_by_what_is_released():
    canaries = Canaries(400, size=500, clip=0.5, plan=PLAN, keystream=Keystream(b"o" * 32))
    for _ in range(PLAN.steps):
        canaries.observe(canaries.contribution())
    found = judge(canaries.scores(), guesses=100, delta=DELTA, access="white-box")
    assert found.correct == 100
    assert found.epsilon == found.cap > 2.0


def test_a_mechanism_in_which_everybody_joins_passes_its_rehearsal():
    found = rehearsal.rehearsed(Plan(4.0, 1.0, 12), delta=DELTA, canaries=CANARIES)
    # At least six standard deviations.
    assert found.checks.rate == pytest.approx(1, abs=0.6)
    assert found.checks.contribution == pytest.approx(1, abs=0.45)


def test_a_member_scores_higher_than_another_also_where_everybody_joins():
    # The log-likelihood ratio of two normal values a clipping norm apart.
    plan, released = Plan(2.0, 1.0, 1), np.array([-1.0, 0.0, 0.5, 1.0])
    expected = stats.norm.logpdf(released, 1, 2.0) - stats.norm.logpdf(released, 0, 2.0)
    assert log_ratio(released, plan) == pytest.approx(expected)
    rare = Plan(2.0, 0.3, 1)
    mixed = np.log(0.7 + 0.3 * np.exp(expected))
    assert log_ratio(released, rare) == pytest.approx(mixed)


def test_batches_too_small_to_judge_are_not_called_uneven():
    def watched(counts, steps):
        empty = np.zeros(len(counts))
        members = np.ones(len(counts), bool)
        return Watched(members, np.full(steps, counts.sum() / steps), counts, empty, empty)

    rare, usual = Plan(1.0, 0.001, 20), Plan(1.0, 0.5, 200)
    # Nobody joined: likely of twenty steps at one in a thousand, and never of 200 at one in two.
    require_poisson(watched(np.zeros(40), 20), rare)
    with pytest.raises(MechanismBroken, match="joined too unevenly"):
        require_poisson(watched(np.zeros(40), 200), usual)
