import numpy as np
import pytest

from gateway.marking import (
    ChoiceMark,
    endpoint_key,
    endpoint_mark,
    fresh_marks,
    key_context,
    measured,
    sampling_numbers,
    seed_context,
    seeded_marks,
)
from sandbox.wire import Shaping
from watermark.argument import Mark
from watermark.sampler import Sampler

KEY = b"k" * 32
SAME = {"key": KEY, "seed": 5, "prompt": [1, 2, 3], "sampling": (1.0, 1.0, 100)}


def test_fresh_marks_differ():
    marks = [mark for _ in range(50) for mark in fresh_marks(2)]
    assert len({mark.trace_id for mark in marks}) > 95
    assert len({mark.seed for mark in marks}) == 100


def test_same_seed_and_request_give_the_same_marks():
    assert seeded_marks(2, **SAME) == seeded_marks(2, **SAME)
    assert seeded_marks(2, **SAME)[0] == seeded_marks(1, **SAME)[0]
    assert len({mark.trace_id for mark in seeded_marks(8, **SAME)}) == 8


@pytest.mark.parametrize(
    "other",
    [
        {"key": b"o" * 32},
        {"seed": 6},
        {"seed": -5},
        {"prompt": [1, 2]},
        {"sampling": (0.9, 1.0, 100)},
    ],
)
def test_whatever_shapes_the_answer_changes_the_marks(other):
    assert seeded_marks(1, **SAME | other) != seeded_marks(1, **SAME)


def test_every_number_that_shapes_the_answer_enters_its_seed():
    """Two requests that differ in one of them and share a seed must not share an id."""

    class Question:
        temperature, top_p, top_k, shaping = 1.0, 1.0, 100, Shaping()

    base = sampling_numbers(Question)
    others = [
        Shaping(min_p=0.1),
        Shaping(repetition_penalty=1.1),
        Shaping(frequency_penalty=0.1),
        Shaping(presence_penalty=0.1),
        Shaping(logit_bias={1: 2.0}),
        Shaping(logit_bias={2: 1.0}),
    ]
    seen = {base}
    for shaping in others:
        Question.shaping = shaping
        seen.add(sampling_numbers(Question))
    assert len(seen) == 7
    one, two = Shaping(logit_bias={1: 2.0, 3: 4.0}), Shaping(logit_bias={3: 4.0, 1: 2.0})
    Question.shaping = one
    first = sampling_numbers(Question)
    Question.shaping = two
    assert sampling_numbers(Question) == first


def test_seed_key_is_never_a_mark_key():
    assert seed_context("seed", 1) == (b"seed", *key_context("seed", 1))
    assert len(seed_context("seed", 1)) != len(key_context("seed", 1))


def test_endpoints_have_keys_of_their_own_that_tell_nothing_of_the_tenants():
    keys = {KEY, *(endpoint_key(KEY, name) for name in ("edge-1", "edge-2", ""))}
    keys |= {endpoint_key(b"o" * 32, "edge-1")}
    assert len(keys) == 5
    assert {len(key) for key in keys} == {32}
    assert endpoint_mark(KEY, "edge-1", 7) == Mark(endpoint_key(KEY, "edge-1"), 7)


def test_answer_that_was_cut_off_is_measured_as_its_sampler_would():
    rng = np.random.default_rng(7)
    mark = ChoiceMark(12345, b"s" * 32)
    sampler = Sampler(KEY, mark.trace_id, mark.seed)
    tokens, context = [], (0, 0)
    for _ in range(250):
        ids = rng.permutation(5000)[:50].astype(np.int64)
        token = int(ids[sampler.draw(context, ids, rng.dirichlet(np.ones(50)))])
        tokens.append(token)
        context = (context[1], token)
    assert sampler.evidence().status == "traceable"
    assert measured(mark, key=KEY, tokens=tokens)["status"] == "traceable"
    assert measured(mark, key=b"o" * 32, tokens=tokens)["status"] == "unmarked"
    assert measured(mark, key=KEY, tokens=tokens[:1])["status"] == "unmarked"
