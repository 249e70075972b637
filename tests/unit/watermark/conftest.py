"""Marked texts without a model: candidates whose probabilities fall off as words' do."""

import numpy as np
import pytest

from watermark.sampler import Sampler

VOCABULARY = 49152
CANDIDATES = 60


def zipf_candidates(rng):
    ids = rng.choice(VOCABULARY, CANDIDATES, replace=False)
    weights = 1 / np.arange(1, CANDIDATES + 1) ** rng.uniform(0.3, 3)
    return ids, weights / weights.sum()


def draw_text(key, trace_id, *, length, seed):
    """Draw `length` tokens after a prompt of two; return them and the sampler."""
    rng = np.random.default_rng(seed)
    sampler = Sampler(key, trace_id, rng.bytes(32))
    tokens = [11, 12]
    for _ in range(length):
        ids, probs = zipf_candidates(rng)
        tokens.append(int(ids[sampler.draw((tokens[-2], tokens[-1]), ids, probs)]))
    return tokens[2:], sampler


@pytest.fixture
def marked_text():
    return draw_text


@pytest.fixture
def plain_text():
    def make(length, *, seed):
        return np.random.default_rng(seed).integers(0, VOCABULARY, length).tolist()

    return make
