"""Answers without a strong mark are found again by their wording; other people's texts are not."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from audit.store import open_log
from gateway.fingerprints import Fingerprints

ROOT = Path(__file__).resolve().parents[3]
ANSWERS = [
    entry["text"]
    for entry in json.loads((ROOT / "tests" / "vectors" / "marked-answers.json").read_text())
][:4]


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


def test_table_that_cannot_be_written_does_not_cost_the_answer(tmp_path, caplog):
    engine = open_log(tmp_path / "log.db")
    made = Fingerprints(engine, Keys())
    for _ in range(2):
        made.remember("clinic", "req_1", {0: ANSWERS[0]}, epoch=1)
    assert "req_1 has no fingerprint" in caplog.text
    engine.dispose()
