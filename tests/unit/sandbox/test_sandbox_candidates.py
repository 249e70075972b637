import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from sandbox.candidates import candidates

logits_of_any_size = arrays.arrays(
    np.float32, st.integers(1, 60), elements=st.floats(-30, 30, width=32)
)


def chosen(values, *, temperature=1.0, top_k=50, top_p=1.0):
    ids, probs = candidates(
        np.array(values, np.float32), temperature=temperature, top_k=top_k, top_p=top_p
    )
    return ids.tolist(), probs.tolist()


def test_temperature_zero_keeps_the_most_probable_alone():
    assert chosen([1, 5, 3], temperature=0) == ([1], [1.0])


def test_temperature_zero_breaks_a_tie_by_id():
    assert chosen([2, 7, 7, 7], temperature=0) == ([1], [1.0])


def test_probabilities_are_the_softmax_at_that_temperature():
    values = np.array([0.0, 1.0, 2.0])
    expected = np.exp(values / 0.5) / np.exp(values / 0.5).sum()
    ids, probs = chosen(values, temperature=0.5)
    assert ids == [2, 1, 0]
    assert probs == pytest.approx(expected[::-1])


def test_top_k_keeps_the_k_most_probable():
    assert chosen([4, 1, 3, 2], top_k=2)[0] == [0, 2]


def test_top_k_beyond_the_vocabulary_keeps_all_of_it():
    assert chosen([4, 1, 3], top_k=1000)[0] == [0, 2, 1]


def test_top_p_keeps_the_smallest_set_that_holds_its_mass():
    # 0.5, 0.3, 0.2
    values = np.log([0.2, 0.5, 0.3])
    assert chosen(values, top_p=0.49)[0] == [1]
    assert chosen(values, top_p=0.51)[0] == [1, 2]
    assert chosen(values, top_p=0.81)[0] == [1, 2, 0]


def test_tiniest_top_p_still_keeps_one():
    assert chosen([1, 1, 1], top_p=1e-12) == ([0], [1.0])


def test_equal_logits_come_in_the_order_of_their_ids():
    assert chosen(np.zeros(40), top_k=40)[0] == list(range(40))


@pytest.mark.parametrize("temperature", [0, 1.0])
@pytest.mark.parametrize(
    "values",
    [[1, np.nan, 2], [np.nan] * 3, [-np.inf] * 3, [1, np.inf, 2], [np.inf, np.inf, 0]],
    ids=["a NaN", "NaNs", "all -inf", "an inf", "two infs"],
)
def test_output_that_is_not_finite_is_an_error(values, temperature):
    with pytest.raises(FloatingPointError):
        chosen(values, temperature=temperature)


def test_forbidden_token_has_no_probability():
    ids, probs = chosen([1, -np.inf, 2])
    assert probs[ids.index(1)] == 0


@given(
    logits_of_any_size,
    st.floats(0.01, 5),
    st.integers(1, 80),
    st.floats(0, 1, exclude_min=True),
)
def test_candidates_are_a_distribution_over_distinct_tokens(logits, temperature, top_k, top_p):
    ids, probs = candidates(logits, temperature=temperature, top_k=top_k, top_p=top_p)
    assert len(set(ids.tolist())) == len(ids) == len(probs) <= top_k
    assert ids.dtype == np.int64
    assert probs.sum() == pytest.approx(1)
    assert (np.diff(probs) <= 0).all()
    assert logits[ids[0]] == logits.max()
