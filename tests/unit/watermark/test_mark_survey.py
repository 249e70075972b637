import numpy as np
import pytest

from watermark import code
from watermark.detector import MOST_PASSAGES, detect, survey
from watermark.search import SECTION

KEY = b"\x07" * 32
OTHER = b"\x08" * 32


def found_in(tokens, keys=None, **options):
    return survey(tokens, keys or {"a": KEY}, **options)


def test_passages_of_several_requests_are_each_found_where_they_are(marked_text, plain_text):
    ids = [21, 22, 23]
    parts, places, tokens = [], {}, plain_text(300, seed=1)
    for trace_id in ids:
        part, _ = marked_text(KEY, trace_id, length=160, seed=trace_id)
        places[trace_id] = (len(tokens), len(tokens) + 160)
        parts.append(part)
        tokens = tokens + part + plain_text(250, seed=trace_id)
    found = found_in(tokens)
    assert {each.trace_id for each in found} == set(ids)
    for each in found:
        start, end = places[each.trace_id]
        overlap = min(each.end, end) - max(each.start, start)
        assert overlap / (max(each.end, end) - min(each.start, start)) > 0.75


def test_passages_of_two_tenants_are_told_apart(marked_text):
    one, _ = marked_text(KEY, 1, length=150, seed=2)
    two, _ = marked_text(OTHER, 2, length=150, seed=3)
    found = found_in(one + two, {"a": KEY, "b": OTHER})
    assert {(each.key_label, each.trace_id) for each in found} == {("a", 1), ("b", 2)}


def test_two_marks_interleaved_sentence_by_sentence_are_both_found(marked_text):
    """Neither has a window of its own: the second shows once the first is explained."""
    one, _ = marked_text(KEY, 31, length=320, seed=4)
    two, _ = marked_text(KEY, 32, length=320, seed=5)
    mixed = []
    for begin in range(0, 320, 20):
        mixed += one[begin : begin + 20] + two[begin : begin + 20]
    assert {each.trace_id for each in found_in(mixed)} == {31, 32}


def test_one_long_answer_is_reported_once(marked_text):
    """Ids that share symbols with it, and its own other windows, are all explained by it."""
    for seed in range(3):
        tokens, _ = marked_text(KEY, 0x01020304 + seed, length=1500, seed=seed)
        found = found_in(tokens)
        assert [each.trace_id for each in found] == [0x01020304 + seed]
        assert (found[0].start, found[0].end) == (0, 1500)


def test_neighbour_that_shares_symbols_with_a_found_id_is_not_invented(marked_text):
    """The log holds ids that agree with the right one at three of eight positions."""
    right = 0xC0FFEE42
    word = code.symbols(code.encode(np.array([right], np.uint32)))[0]
    near = [
        int(other)
        for other in np.random.default_rng(6).integers(0, 2**32, 400_000, dtype=np.uint32)
    ]
    words = code.symbols(code.encode(np.array(near, np.uint32)))
    alike = [i for i, shared in zip(near, (words == word).sum(axis=1), strict=True) if shared >= 2]
    assert alike
    tokens, _ = marked_text(KEY, right, length=1200, seed=7)
    issued = {"a": np.array([*alike, right], np.uint32)}
    assert [each.trace_id for each in found_in(tokens, issued=issued)] == [right]


def test_short_quotation_beside_a_long_answer_is_found(marked_text, plain_text):
    """A section's windows are shared out, so that the long one does not take them all."""
    long, _ = marked_text(KEY, 41, length=3000, seed=8)
    short, _ = marked_text(KEY, 42, length=120, seed=9)
    tokens = long + plain_text(700, seed=10) + short + plain_text(200, seed=11)
    assert len(tokens) < SECTION
    assert {each.trace_id for each in found_in(tokens)} == {41, 42}


def test_strongest_comes_first_and_is_what_detect_returns(marked_text):
    weak, _ = marked_text(KEY, 51, length=110, seed=12)
    strong, _ = marked_text(KEY, 52, length=260, seed=13)
    found = found_in(weak + strong)
    assert [each.trace_id for each in found] == [52, 51]
    assert found[0].p_value < found[1].p_value
    assert detect(weak + strong, {"a": KEY}) == found[0]


def test_number_of_reports_is_bounded(marked_text):
    tokens = []
    for trace_id in range(MOST_PASSAGES + 3):
        tokens += marked_text(KEY, trace_id + 1, length=90, seed=trace_id)[0]
    assert len(found_in(tokens)) == MOST_PASSAGES


def test_mark_reaches_beyond_the_widest_window(marked_text, plain_text):
    """The widest window short of the whole text is 400; the span is extended by token."""
    marked, _ = marked_text(KEY, 61, length=900, seed=14)
    tokens = plain_text(2000, seed=15) + marked + plain_text(2000, seed=16)
    (found,) = found_in(tokens)
    assert abs(found.start - 2000) < 30
    assert abs(found.end - 2900) < 30


def test_unmarked_text_has_one_detection_without_a_trace(plain_text):
    (found,) = found_in(plain_text(400, seed=17))
    assert (found.verdict, found.trace_id) == ("no_trace", None)


def test_every_trial_is_paid_for_before_the_verdict(marked_text):
    """A text that just reaches the threshold alone does not if many others were tried beside it."""
    tokens, _ = marked_text(KEY, 71, length=150, seed=18)
    alone = detect(tokens, {"a": KEY})
    assert detect(tokens, {"a": KEY}, trials=4).p_value == pytest.approx(4 * alone.p_value)
    enough = int(2e-6 / alone.p_value)
    assert enough > 1
    assert detect(tokens, {"a": KEY}, trials=enough).verdict == "no_trace"
