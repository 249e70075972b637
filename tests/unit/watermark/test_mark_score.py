import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from watermark import bounds, score, windows


def edges_of(cell):
    if cell == 0:
        return 0, 1
    octave, step = divmod(cell - 1, 32)
    return tuple(math.ceil(2**octave * (32 + s) / 32) for s in (step, step + 1))


def test_cells_partition_all_values_in_order():
    reached = 0
    for cell in range(score.CELLS):
        low, high = edges_of(cell)
        assert low == reached
        reached = high
    assert reached == 2**53


@given(st.integers(0, 2**53 - 1))
def test_every_value_falls_in_the_cell_that_holds_it(c):
    (cell,) = score.cells(np.array([2**53 - 1 - c], np.uint64))
    low, high = edges_of(int(cell))
    assert low <= c < high


def test_expected_ratio_of_an_unmarked_token_is_at_most_one():
    """Exact, over all 2^53 values: this is what makes the p-values bounds."""
    for scores in score.tables():
        expected = math.fsum(
            (high - low) / 2**53 * math.exp(scores[cell])
            for cell in range(score.CELLS)
            for low, high in [edges_of(cell)]
        )
        assert 1 - 2e-9 < expected <= 1


def test_mean_ratio_of_uniform_values_is_one():
    """Fixed seed; five standard errors: a false alarm in 2 million for each e."""
    values = np.random.default_rng(3).integers(0, 2**53, 400_000, dtype=np.uint64)
    for scores in score.tables():
        ratios = np.exp(scores[score.cells(values)])
        assert abs(ratios.mean() - 1) < 5 * ratios.std() / math.sqrt(values.size)


def test_marked_values_score_above_unmarked_ones():
    rng = np.random.default_rng(4)
    u = rng.random(20_000) ** rng.choice([0.05, 0.3, 0.6], 20_000)
    values = (u * 2**53).astype(np.uint64)
    for scores in score.tables():
        assert scores[score.cells(values)].mean() > 0.1


def test_prior_is_a_distribution():
    assert sum(weight for _, weight in score.PRIOR) == 1000
    assert all(0 < p < 1 for p, _ in score.PRIOR)


@given(st.integers(1, 12_000))
def test_windows_are_counted_as_they_are_laid(scored):
    laid = windows.windows(scored)
    assert len(laid) == windows.count(scored) == len(np.unique(laid, axis=0))
    assert laid[-1].tolist() == [0, scored]
    assert (laid[:, 0] >= 0).all()
    assert (laid[:, 1] <= scored).all()
    assert (laid[:, 0] < laid[:, 1]).all()


def test_bound_counts_every_choice():
    # 198 scored tokens: 14 windows of 50, 5 of 100, the whole.
    assert windows.count(198) == 1 + 14 + 5
    tests = bounds.Tests(198, keys=4, modes=2, trials=3)
    assert tests.inverse_share(198) == 2 * 3 * 4 * 2 * 3
    assert tests.inverse_share(50) == tests.inverse_share(100) == 2 * 19 * 3 * 4 * 2 * 3
    assert bounds.Tests(50, keys=4, modes=2, trials=3).inverse_share(50) == 3 * 4 * 2 * 3
    bound = bounds.log_p(60.0, tests=480, hypotheses=2**32)
    assert bounds.p_value(bound) == pytest.approx(480 * 2**32 * math.exp(-60))
    assert bounds.needed(bound, tests=480, hypotheses=2**32) == pytest.approx(60)


@given(st.integers(1, 12_000), st.integers(1, 9), st.integers(1, 2), st.integers(1, 9))
def test_shares_of_all_tests_come_to_one(scored, keys, modes, trials):
    """What makes the smallest p-value of all a bound: the union bound, with unequal shares."""
    tests = bounds.Tests(scored, keys, modes, trials)
    widths = np.diff(windows.windows(scored), axis=1)[:, 0].tolist()
    shares = sum(1 / tests.inverse_share(width) for width in widths)
    assert shares * len(score.EPSILONS) * keys * modes * trials == pytest.approx(1)


def test_p_value_stays_between_its_smallest_and_one():
    assert bounds.p_value(5.0) == 1.0
    assert bounds.p_value(-5000.0) == 1e-300
