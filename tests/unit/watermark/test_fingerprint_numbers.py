"""Texts that share a run of words share numbers; others, and other keys, do not."""

import json
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from watermark.fingerprint import (
    GUARANTEE_WORDS,
    LEAST_SHARED,
    SHINGLE_WORDS,
    WINDOW,
    Match,
    fingerprint,
    matches,
)

ROOT = Path(__file__).resolve().parents[3]
ANSWERS = [
    entry["text"]
    for entry in json.loads((ROOT / "tests" / "vectors" / "marked-answers.json").read_text())
][:4]
KEY = b"\x07" * 32


def test_shared_run_of_nine_words_always_shares_a_number():
    """The guarantee of winnowing, whatever stands around the run."""
    run = " ".join(ANSWERS[1].split()[20 : 20 + GUARANTEE_WORDS])
    rng = np.random.default_rng(2)
    for _ in range(50):
        one, two = (
            " ".join([*rng.permutation(ANSWERS[k].split())[:30], run, *ANSWERS[k].split()[:30]])
            for k in (2, 3)
        )
        assert fingerprint(one, key=KEY) & fingerprint(two, key=KEY)


def test_numbers_tell_nothing_without_the_key():
    one, two = (fingerprint(ANSWERS[0], key=key * 32) for key in (b"a", b"b"))
    assert one
    assert one.isdisjoint(two)
    assert all(0 <= number < 1 << 63 for number in one | two)


def test_human_texts_about_the_same_things_do_not_match():
    """Every pair of sections of this project's own pages, which share subjects and phrases.

    The few pages that quote a sentence of each other do match, and rightly.
    """
    pages = [path.read_text(encoding="utf-8") for path in sorted((ROOT / "docs").rglob("*.md"))]
    sections = [part for page in pages for part in page.split("\n## ")[1:] if len(part) > 600]
    prints = [fingerprint(section, key=KEY) for section in [*sections, *ANSWERS]]
    shared = [len(a & b) for a, b in combinations(prints, 2)]
    assert len(shared) > 1500
    matching = sum(count >= LEAST_SHARED for count in shared)
    assert matching < len(shared) / 2000


@pytest.mark.parametrize("words", range(SHINGLE_WORDS + WINDOW + 1))
def test_text_too_short_to_be_winnowed_keeps_all_it_has(words):
    shingles = max(0, words - SHINGLE_WORDS + 1)
    text = " ".join(f"word{index}" for index in range(words))
    expected = shingles if shingles < WINDOW else range(1, shingles - WINDOW + 2)
    found = len(fingerprint(text, key=KEY))
    assert found == expected if isinstance(expected, int) else found in expected


def test_case_accents_punctuation_and_disguise_make_no_difference():
    plain = ANSWERS[1]
    disguised = plain.upper().replace(" ", "  ").replace("O", "\u039f").replace("E", "\u00c9")
    assert fingerprint(disguised, key=KEY) == fingerprint(plain, key=KEY)


def test_only_enough_shared_numbers_match_and_the_most_come_first():
    found = ["few"] * (LEAST_SHARED - 1) + ["b", "a"] * LEAST_SHARED + ["most"] * 2 * LEAST_SHARED
    sizes = {"few": LEAST_SHARED, "a": 2 * LEAST_SHARED, "b": LEAST_SHARED, "most": 24}
    assert matches(found, sizes) == [
        Match("most", 2 * LEAST_SHARED, 0.5),
        Match("a", LEAST_SHARED, 0.5),
        Match("b", LEAST_SHARED, 1.0),
    ]
