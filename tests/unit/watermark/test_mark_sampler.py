import math

import numpy as np
import pytest

from watermark import bounds, score
from watermark.errors import KeyMalformed, NoCandidate, TokenOutOfRange
from watermark.passage import read
from watermark.prf import MarkCipher
from watermark.sampler import Sampler

KEY = b"\x07" * 32
SEED = b"\x09" * 32
IDS = np.arange(100, 106, dtype=np.int64)
PROBS = np.array([0.4, 0.25, 0.15, 0.1, 0.07, 0.03])
# Chi-square with 5 degrees of freedom exceeds this once in a million.
CHI_SQUARE_5_AT_1E_6 = 35.89


def chi_square(counts):
    expected = counts.sum() * PROBS
    return float(((counts - expected) ** 2 / expected).sum())


def test_marked_draws_follow_the_probabilities_over_keys():
    """6,000 keys, fixed; false-alarm rate 1e-6."""
    keys = np.random.default_rng(1).bytes(32 * 6000)
    drawn = [
        Sampler(keys[i : i + 32], 77, SEED).draw((3, 4), IDS, PROBS)
        for i in range(0, len(keys), 32)
    ]
    assert chi_square(np.bincount(drawn, minlength=6)) < CHI_SQUARE_5_AT_1E_6


def test_marked_draws_follow_the_probabilities_over_contexts_and_ids():
    """6,000 contexts under one key, each for another id; false-alarm rate 1e-6."""
    drawn = [Sampler(KEY, c * 715827 % 2**32, SEED).draw((c, 4), IDS, PROBS) for c in range(6000)]
    assert chi_square(np.bincount(drawn, minlength=6)) < CHI_SQUARE_5_AT_1E_6


def test_ordinary_draws_follow_the_probabilities():
    """20,000 draws after one context; false-alarm rate 1e-6."""
    sampler = Sampler(KEY, 77, SEED)
    sampler.draw((3, 4), IDS, PROBS)
    drawn = [sampler.draw((3, 4), IDS, PROBS) for _ in range(20_000)]
    assert chi_square(np.bincount(drawn, minlength=6)) < CHI_SQUARE_5_AT_1E_6


def test_marked_draw_depends_on_key_and_id_and_not_on_the_seed():
    def draws(key, trace_id, seed):
        sampler = Sampler(key, trace_id, seed)
        return [sampler.draw((c, c + 1), IDS, PROBS) for c in range(60)]

    base = draws(KEY, 77, SEED)
    assert draws(KEY, 77, b"x" * 32) == base
    assert draws(b"x" * 32, 77, SEED) != base
    assert draws(KEY, 78, SEED) != base


def test_context_seen_before_gets_an_ordinary_draw():
    """A repeat depends on the seed alone: neither the key nor the id leaves a trace in it."""

    def repeats(key, trace_id, seed):
        sampler = Sampler(key, trace_id, seed)
        sampler.draw((3, 4), IDS, PROBS)
        drawn = [sampler.draw((3, 4), IDS, PROBS) for _ in range(60)]
        assert sampler.evidence().marked == 1
        return drawn

    base = repeats(KEY, 77, SEED)
    assert repeats(b"x" * 32, 78, SEED) == base
    assert repeats(KEY, 77, b"x" * 32) != base
    assert len(set(base)) > 1


def test_each_answer_has_a_seen_set_of_its_own():
    first, second = Sampler(KEY, 77, SEED), Sampler(KEY, 77, SEED)
    first.draw((3, 4), IDS, PROBS)
    second.draw((3, 4), IDS, PROBS)
    assert first.evidence().marked == second.evidence().marked == 1


def test_greedy_answer_is_unmarked():
    sampler = Sampler(KEY, 77, SEED)
    for c in range(300):
        assert sampler.draw((c, c + 1), np.array([c + 2]), np.ones(1)) == 0
    evidence = sampler.evidence()
    assert (evidence.marked, evidence.status) == (0, "unmarked")


def test_context_of_a_sole_candidate_counts_as_seen():
    sampler = Sampler(KEY, 77, SEED)
    sampler.draw((3, 4), np.array([5]), np.ones(1))
    sampler.draw((3, 4), IDS, PROBS)
    assert sampler.evidence().marked == 0


def test_candidates_of_probability_zero_or_almost_never_win():
    ids = np.arange(4)
    probs = np.array([0.0, 0.6, 0.4, 5e-324])
    sampler = Sampler(KEY, 77, SEED)
    marked = {sampler.draw((c, c), ids, probs) for c in range(300)}
    ordinary = {sampler.draw((c, c), ids, probs) for c in range(300)}
    assert marked == ordinary == {1, 2}


@pytest.mark.parametrize("probs", [np.zeros(6), np.full(6, np.nan)])
def test_no_candidate_is_refused_by_both_kinds_of_draw(probs):
    sampler = Sampler(KEY, 77, SEED)
    for _ in range(2):
        with pytest.raises(NoCandidate):
            sampler.draw((3, 4), IDS, probs)
    with pytest.raises(NoCandidate):
        sampler.draw((3, 4), np.zeros(0, np.int64), np.zeros(0))


def test_tokens_of_more_than_18_bits_are_refused_by_the_sampler():
    sampler = Sampler(KEY, 77, SEED)
    with pytest.raises(TokenOutOfRange):
        sampler.draw((1 << 18, 0), IDS, PROBS)
    with pytest.raises(TokenOutOfRange):
        sampler.draw((0, 0), np.array([0, 1 << 18]), np.array([0.5, 0.5]))


@pytest.mark.parametrize(
    ("key", "trace_id", "seed"),
    [(b"short", 1, SEED), (KEY, 1 << 32, SEED), (KEY, -1, SEED), (KEY, 1, b"short")],
)
def test_malformed_secrets_are_refused_without_being_quoted(key, trace_id, seed):
    with pytest.raises(KeyMalformed) as refused:
        Sampler(key, trace_id, seed)
    assert "short" not in str(refused.value)


def test_evidence_is_the_detectors_score_of_its_own_id(marked_text):
    tokens, sampler = marked_text(KEY, 0xABCDEF01, length=120, seed=1)
    evidence = sampler.evidence()
    passage, cipher = read(tokens), MarkCipher(KEY)
    word = np.array(sampler._codeword)
    symbols = word[cipher.positions(passage.contexts)]
    cells = score.cells(cipher.draws(passage.contexts, passage.tokens, symbols))
    assert evidence.log_evidence == pytest.approx(score.tables()[:, cells].sum(axis=1).max())
    assert evidence.marked == 120


def test_status_rises_with_what_was_drawn(marked_text):
    assert Sampler(KEY, 1, SEED).evidence().status == "unmarked"
    statuses, evidence = {}, {}
    for length in (3, 20, 200):
        _, sampler = marked_text(KEY, 5, length=length, seed=3)
        found = sampler.evidence()
        statuses[length], evidence[length] = found.status, found.log_evidence
    assert statuses == {3: "unmarked", 20: "weak", 200: "traceable"}
    assert evidence[3] < math.log(300) < evidence[20]
    needed = math.log(1e12 * bounds.Tests(198, 1, 2, 1).inverse_share(198))
    assert evidence[20] < needed < evidence[200]


@pytest.mark.parametrize("drawn", [0, 1, 2, 3])
def test_evidence_of_fewer_tokens_than_a_context_is_none(drawn):
    """An answer may end at once, by its end token or a limit of one."""
    sampler = Sampler(KEY, 77, SEED)
    for c in range(drawn):
        sampler.draw((c, c + 1), IDS, PROBS)
    evidence = sampler.evidence()
    assert (evidence.marked, evidence.status) == (drawn, "unmarked")
    assert (evidence.log_evidence == 0.0) == (drawn < 3)
