"""Answers without a strong mark are found again by their wording; other people's texts are not."""

import json
import re
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from audit.store import open_log
from gateway.fingerprints import Fingerprints
from watermark.fingerprint import GUARANTEE_WORDS, LEAST_SHARED, fingerprint

ROOT = Path(__file__).resolve().parents[3]
ANSWERS = [
    entry["text"]
    for entry in json.loads((ROOT / "tests" / "vectors" / "marked-answers.json").read_text())
][:4]
KEY = b"\x07" * 32


class Keys:
    def derive(self, purpose, *context, epoch=None):
        return (b"|".join(context) + purpose.encode() + bytes([epoch])).ljust(64, b".")[:64]

    def epochs(self, _):
        return [2, 1]


@pytest.fixture
def fingerprints(tmp_path):
    engine = open_log(tmp_path / "log.db")
    made = Fingerprints(engine, Keys())
    for number, text in enumerate(ANSWERS):
        made.remember("clinic", f"req_{number}", {0: text}, epoch=1 + number % 2)
    yield made
    engine.dispose()


def found(fingerprints, text, tenants=("clinic",)):
    return [each.request_id for each in fingerprints.search(text, tenants=tenants)]


@pytest.mark.parametrize("number", range(4))
def test_pasted_answer_is_found_in_every_epoch(fingerprints, number):
    (match,) = fingerprints.search(ANSWERS[number], tenants=["clinic"])
    assert (match.request_id, match.share) == (f"req_{number}", 1.0)


def test_lightly_edited_answer_inside_other_text_is_found(fingerprints):
    rng = np.random.default_rng(1)
    words = ["however" if rng.random() < 0.08 else word for word in ANSWERS[1].split()]
    text = " ".join([ANSWERS[3][:40], *words, "and so on it goes"]).upper()
    assert found(fingerprints, text) == ["req_1"]


def test_disguised_and_reordered_answer_is_found(fingerprints):
    sentences = re.split(r"(?<=[.!?])\s+", ANSWERS[1])
    text = "\u200b".join(" ".join(reversed(sentences)).replace("o", "\u043e"))
    assert found(fingerprints, text) == ["req_1"]


def test_another_tenants_texts_and_unknown_ones_are_not_found(fingerprints):
    assert found(fingerprints, ANSWERS[0], tenants=["bank"]) == []
    assert found(fingerprints, "", tenants=["clinic"]) == []
    assert found(fingerprints, "Only a handful of words here.") == []


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

    With no match in n pairs the rate is below 3/n, here 1 in 500, with a confidence of 95 %.
    """
    pages = [path.read_text(encoding="utf-8") for path in sorted((ROOT / "docs").rglob("*.md"))]
    sections = [part for page in pages for part in page.split("\n## ")[1:] if len(part) > 600]
    prints = [fingerprint(section, key=KEY) for section in [*sections, *ANSWERS]]
    shared = [len(a & b) for a, b in combinations(prints, 2)]
    assert len(shared) > 1500
    assert max(shared) < LEAST_SHARED


def test_table_that_cannot_be_written_does_not_cost_the_answer(tmp_path, caplog):
    engine = open_log(tmp_path / "log.db")
    made = Fingerprints(engine, Keys())
    for _ in range(2):
        made.remember("clinic", "req_1", {0: ANSWERS[0]}, epoch=1)
    assert "req_1 has no fingerprint" in caplog.text
    engine.dispose()
