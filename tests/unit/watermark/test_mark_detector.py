import itertools
import math

import numpy as np
import pytest

from watermark import bounds, code
from watermark.decoding import decode
from watermark.detector import detect
from watermark.errors import KeyMalformed, TokenOutOfRange
from watermark.issued import IssuedIds
from watermark.passage import read
from watermark.prf import MarkCipher
from watermark.search import SECTION
from watermark.tally import tally
from watermark.windows import windows

KEY = b"\x07" * 32
OTHER = b"\x08" * 32
TRACE_ID = 0xC0FFEE42


def issued_with(trace_id, *, count, seed=0):
    others = np.random.default_rng(seed).integers(0, 2**32, count - 1, dtype=np.uint32)
    return np.append(others, np.uint32(trace_id))


@pytest.mark.parametrize("trace_id", [0, 1, 0xFFFFFFFF, TRACE_ID])
def test_marked_text_of_200_tokens_is_traced_blind(marked_text, trace_id):
    tokens, _ = marked_text(KEY, trace_id, length=200, seed=trace_id)
    found = detect(tokens, {"ward/1": KEY})
    assert (found.verdict, found.mode) == ("traced", "blind")
    assert (found.trace_id, found.key_label) == (trace_id, "ward/1")
    assert found.p_value <= 1e-6
    assert found.confidence > 0.999
    assert (found.start, found.end) == (0, 200)


def test_text_of_another_key_is_not_traced(marked_text):
    tokens, _ = marked_text(OTHER, TRACE_ID, length=400, seed=1)
    issued = {"a": issued_with(TRACE_ID, count=1000)}
    found = detect(tokens, {"a": KEY}, issued=issued)
    assert (found.verdict, found.trace_id, found.key_label) == ("no_trace", None, None)
    assert (found.start, found.end, found.confidence) == (0, 0, 0.0)


def test_right_key_is_found_among_several_and_pays_for_them(marked_text):
    tokens, _ = marked_text(KEY, TRACE_ID, length=120, seed=2)
    keys = {f"t{i}/1": bytes([i]) * 32 for i in range(10)}
    found = detect(tokens, keys)
    assert (found.key_label, found.trace_id) == ("t7/1", TRACE_ID)
    alone = detect(tokens, {"t7/1": KEY})
    assert found.p_value == pytest.approx(10 * alone.p_value)


def test_trying_both_modes_is_paid_for(marked_text):
    """Blind p-values double when a log is given; log ones count the issued ids."""
    tokens, _ = marked_text(KEY, TRACE_ID, length=150, seed=3)
    blind = detect(tokens, {"a": KEY})
    aided = detect(tokens, {"a": KEY}, issued={"a": issued_with(TRACE_ID, count=5000)})
    unaided = detect(tokens, {"a": KEY}, issued={"a": np.zeros(0, np.uint32)})
    assert unaided.p_value == pytest.approx(2 * blind.p_value)
    assert aided.mode == "log"
    assert aided.p_value == pytest.approx(blind.p_value * 2 * 5000 / 2**32)


def test_log_traces_short_texts_that_blind_cannot(marked_text):
    texts = [marked_text(KEY, TRACE_ID + i, length=46, seed=i)[0] for i in range(12)]
    issued = [{"a": issued_with(TRACE_ID + i, count=1000)} for i in range(12)]
    blind = [detect(t, {"a": KEY}) for t in texts]
    aided = [detect(t, {"a": KEY}, issued=i) for t, i in zip(texts, issued, strict=True)]
    right = [f.verdict == "traced" and f.trace_id == TRACE_ID + i for i, f in enumerate(aided)]
    assert sum(f.verdict == "traced" for f in blind) < sum(right)
    assert sum(right) >= 11


def test_id_that_is_not_in_the_log_is_still_read_blind(marked_text):
    tokens, _ = marked_text(KEY, TRACE_ID, length=200, seed=4)
    found = detect(tokens, {"a": KEY}, issued={"a": issued_with(1, count=1000)})
    assert (found.verdict, found.mode, found.trace_id) == ("traced", "blind", TRACE_ID)


def test_million_issued_ids_hold_one_right_one(marked_text):
    tokens, _ = marked_text(KEY, TRACE_ID, length=60, seed=5)
    found = detect(tokens, {"a": KEY}, issued={"a": issued_with(TRACE_ID, count=10**6)})
    assert (found.verdict, found.mode, found.trace_id) == ("traced", "log", TRACE_ID)


@pytest.mark.parametrize("kind", ["substituted", "deleted", "inserted"])
def test_a_fifth_of_300_tokens_edited_is_survived(marked_text, kind):
    for seed in range(4):
        tokens, _ = marked_text(KEY, TRACE_ID, length=300, seed=seed)
        found = detect(edited(tokens, kind, seed), {"a": KEY})
        assert (found.verdict, found.trace_id) == ("traced", TRACE_ID)


def edited(tokens, kind, seed):
    rng = np.random.default_rng(100 + seed)
    result = []
    for token in tokens:
        if rng.random() >= 0.2:
            result.append(token)
        elif kind == "substituted":
            result.append(int(rng.integers(49152)))
        elif kind == "inserted":
            result += [int(rng.integers(49152)), token]
    return result


@pytest.mark.parametrize("before", [0, 137, 612, 1000])
def test_quotation_of_200_tokens_is_found_where_it_is(marked_text, plain_text, before):
    quoted, _ = marked_text(KEY, TRACE_ID, length=200, seed=before)
    around = plain_text(1000, seed=6)
    found = detect(around[:before] + quoted + around[before:], {"a": KEY})
    assert (found.verdict, found.trace_id) == ("traced", TRACE_ID)
    overlap = min(found.end, before + 200) - max(found.start, before)
    union = max(found.end, before + 200) - min(found.start, before)
    assert overlap / union > 0.75


def test_quotation_across_sections_of_a_long_text_is_found(marked_text, plain_text):
    quoted, _ = marked_text(KEY, TRACE_ID, length=200, seed=7)
    around = plain_text(SECTION + 1500, seed=8)
    cut = SECTION - 100
    found = detect(around[:cut] + quoted + around[cut:], {"a": KEY})
    assert (found.verdict, found.trace_id) == ("traced", TRACE_ID)
    assert cut - 100 < found.start < cut + 60
    assert cut + 140 < found.end < cut + 300


def test_quotation_beyond_the_first_section_is_found(marked_text, plain_text):
    quoted, _ = marked_text(KEY, TRACE_ID, length=200, seed=17)
    around = plain_text(SECTION + 1500, seed=18)
    cut = SECTION + 700
    found = detect(around[:cut] + quoted + around[cut:], {"a": KEY})
    assert (found.verdict, found.trace_id) == ("traced", TRACE_ID)
    assert cut - 60 < found.start < found.end < cut + 260


def test_answer_longer_than_a_section_is_tested_as_a_whole(marked_text):
    tokens, _ = marked_text(KEY, TRACE_ID, length=SECTION + 300, seed=19)
    found = detect(tokens, {"a": KEY})
    assert (found.trace_id, found.start, found.end) == (TRACE_ID, 0, SECTION + 300)


def test_long_text_is_summed_as_a_whole(plain_text):
    """Sections and running sums give the same table as one sum from end to end."""
    passage = read(plain_text(900, seed=9))
    cipher = MarkCipher(KEY)
    laid = windows(passage.size)
    running = tally(cipher, passage, np.unique(laid))
    ceilings = running.ceilings(laid)
    for row in (0, 17, len(laid) - 1):
        start, end = (int(x) for x in laid[row])
        direct = tally(cipher, passage, np.array([start, end])).table(1, start, end)
        assert np.abs(running.table(1, start, end) - direct).max() < 1e-9
        assert ceilings[1, row] == pytest.approx(direct.max(axis=1).sum())


def test_two_answers_in_one_text_yield_one_of_their_ids(marked_text):
    one, _ = marked_text(KEY, 1, length=150, seed=10)
    two, _ = marked_text(KEY, 2, length=250, seed=11)
    found = detect(one + two, {"a": KEY})
    assert (found.verdict, found.trace_id) == ("traced", 2)
    assert found.start >= 100


@pytest.mark.parametrize("count", [0, 1, 2, 3, 10])
def test_text_that_could_never_reach_the_threshold_is_too_short(plain_text, count):
    found = detect(plain_text(count, seed=12), {"a": KEY})
    assert (found.verdict, found.p_value, found.trace_id) == ("too_short", 1.0, None)


def test_too_short_depends_on_what_is_searched(plain_text):
    """With few issued ids fewer tokens can tell."""
    tokens = plain_text(10, seed=13)
    found = detect(tokens, {"a": KEY}, issued={"a": np.zeros(3, np.uint32)})
    assert found.verdict == "no_trace"
    assert detect(tokens, {"a": KEY}).verdict == "too_short"


def test_one_phrase_repeated_is_too_short_however_long():
    assert detect([1, 2, 3] * 400, {"a": KEY}).verdict == "too_short"


def test_unmarked_texts_are_not_traced_and_their_p_values_are_honest(plain_text):
    """400 independent pairs of key and text.

    Each has p <= 0.05 with probability at most 0.05, so that more than 45 of 400 have it with
    probability below 1e-6 (binomial), whatever the texts; none may come near 1e-6.
    """
    found = [
        detect(
            plain_text(80, seed=1000 + i),
            {"a": np.random.default_rng(i).bytes(32)},
            issued={"a": np.random.default_rng(i).integers(0, 2**32, 50, dtype=np.uint32)},
        )
        for i in range(400)
    ]
    assert {f.verdict for f in found} == {"no_trace"}
    assert sum(f.p_value <= 0.05 for f in found) <= 45


def test_one_id_scores_high_no_more_often_than_its_bound(plain_text):
    """4,000 fixed words, eight each under 500 keys: e^score >= 20 has probability at most 1/20.

    Eight words that differ at every position score independently under one key. More than 275
    of 4,000 has probability below 1e-6 (binomial, 200 expected at most).
    """
    passage = read(plain_text(42, seed=14))
    edges = np.array([0, passage.size])
    words = code.symbols(code.encode(np.arange(500, dtype=np.uint32)))
    high = 0
    for i, word in enumerate(words):
        running = tally(MarkCipher(np.random.default_rng(i).bytes(32)), passage, edges)
        table = running.table(0, 0, passage.size)
        apart = [word ^ np.uint8(j) for j in range(8)]
        high += sum(table[np.arange(8), each].sum() >= math.log(20) for each in apart)
    assert high <= 275


def test_confidence_leaves_room_for_no_mark_at_all(marked_text):
    """Without a rival the doubt is the null's share, and that is the bound itself."""
    tokens, _ = marked_text(KEY, TRACE_ID, length=30, seed=5)
    found = detect(tokens, {"a": KEY}, issued={"a": np.array([TRACE_ID], np.uint32)})
    assert (found.verdict, found.mode) == ("traced", "log")
    assert found.p_value > 1e-12
    assert 1 - found.confidence == pytest.approx(found.p_value, rel=1e-3)


def test_confidence_is_shared_with_rivals(marked_text):
    """Blind, other codewords fit nearly as well: the doubt is larger than the bound."""
    tokens, _ = marked_text(KEY, TRACE_ID, length=46, seed=9)
    found = detect(tokens, {"a": KEY})
    assert found.verdict == "traced"
    assert found.p_value < 0.01 * (1 - found.confidence) < 1e-4


def test_search_of_issued_ids_misses_none_that_reaches_the_floor():
    rng = np.random.default_rng(20)
    ids = rng.integers(0, 2**32, 20_000, dtype=np.uint32)
    issued = IssuedIds(ids)
    table = rng.exponential(1.0, (8, 256))
    scores = table[np.arange(8), code.symbols(code.encode(ids))].sum(axis=1)
    for rank in (1, 5, 1000):
        floor = float(np.sort(scores)[-rank])
        found = issued.search(table, floor=floor, within=100.0)
        assert found.scores == pytest.approx(np.sort(scores)[::-1][:rank])
    best = issued.search(table, floor=0.0)
    assert code.trace_ids(best.codewords).tolist() == [ids[scores.argmax()]]


def test_search_keeps_an_id_that_only_just_reaches_the_floor():
    """It has the best symbol everywhere but at the two positions that ids are sorted by."""
    table = np.random.default_rng(22).exponential(1.0, (8, 256))
    ids = np.arange(1000, dtype=np.uint32)
    word = code.symbols(code.encode(ids[7:8]))[0]
    maxima = table.max(axis=1)
    table[np.arange(8), word] = [*(maxima[:2] - 0.5), *(maxima[2:] + 1)]
    score = float(table[np.arange(8), word].sum())
    found = IssuedIds(ids).search(table, floor=score - 1e-9)
    assert code.trace_ids(found.codewords).tolist() == [7]
    assert not IssuedIds(ids).search(table, floor=score + 1e-9).scores.size


def test_blind_decoding_finds_the_best_codeword_of_a_noisy_table():
    """The right id leads at six positions and is far down at two, as after heavy editing."""
    rng = np.random.default_rng(21)
    for trace_id in range(20):
        table = rng.exponential(1.0, (8, 256))
        word = code.symbols(code.encode(np.array([trace_id], np.uint32)))[0]
        table[np.arange(2, 8), word[2:]] += 8
        found = decode(table, floor=0.0)
        assert code.trace_ids(found.codewords).tolist() == [trace_id]
        assert found.scores[0] == pytest.approx(table[np.arange(8), word].sum())


def test_no_keys_no_trace(plain_text):
    assert detect(plain_text(200, seed=15), {}).verdict == "no_trace"


def test_tokens_and_keys_out_of_range_are_refused(plain_text):
    with pytest.raises(TokenOutOfRange):
        detect([*plain_text(50, seed=16), 1 << 18], {"a": KEY})
    with pytest.raises(KeyMalformed):
        detect(plain_text(50, seed=16), {"a": b"short"})


def test_traced_means_at_most_the_threshold(marked_text):
    """Texts around the limit: the verdict follows the p-value and nothing else."""
    seen = set()
    for length, seed in itertools.product((20, 34, 44), range(6)):
        tokens, _ = marked_text(KEY, TRACE_ID, length=length, seed=seed)
        found = detect(tokens, {"a": KEY})
        seen.add(found.verdict)
        assert (found.verdict == "traced") == (found.p_value <= bounds.THRESHOLD)
        assert (found.trace_id is not None) == (found.verdict == "traced")
    assert seen == {"traced", "no_trace"}
