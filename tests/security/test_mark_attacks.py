"""What people do to a marked text before they deny that it is one.

Each attack is run on real answers of the reference model, through the gateway's own search over a
real log. Those that the mark is meant to survive must be traced to the right request; those that
it is not meant to survive are here too, with what they leave.
"""

import json
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from audit.sequencer import Sequencer
from audit.store import open_log
from gateway import provenance
from gateway.models.tokenizer import Tokenizer
from gateway.provenance import NO_MARK, TOO_SHORT, Reader, Trace, trace
from tests.unit.audit.appending import ORIGIN, intent
from watermark.lookalikes import LATIN

ANSWERS = json.loads(
    (Path(__file__).parents[1] / "vectors" / "marked-answers.json").read_text(encoding="utf-8")
)
HUMAN = (Path(__file__).parents[2] / "benchmarks" / "engine_text.txt").read_text()
MODEL = "smollm2-135m"


@dataclass(frozen=True)
class Deployment:
    """A log with the answers' requests, and keys that only its tenants and epochs have."""

    log: object
    tokenizers: dict

    def trace(self, text, *, tenants=("bank", "clinic"), epochs=(1, 2)) -> Trace:
        return trace(
            text,
            log=self.log,
            readers=[Reader(name, each) for name, each in self.tokenizers.items()],
            derive=lambda _, tenant, __, epoch: (tenant + bytes([epoch])).ljust(32, b"\x00"),
            epochs=epochs,
            tenants=tenants,
        )


@pytest.fixture(scope="module")
def deployment(tmp_path_factory, smollm2):
    log = open_log(tmp_path_factory.mktemp("attacked") / "log.db")
    private = Ed25519PrivateKey.from_private_bytes(b"\x01" * 32)
    sequencer = Sequencer(
        log, origin=ORIGIN, public_key=private.public_key().public_bytes_raw(), sign=private.sign
    )
    sequencer.start()
    for number, answer in enumerate(ANSWERS):
        event = intent(
            f"req_{number}",
            trace_ids=(answer["trace_id"],),
            tenant=answer["tenant"],
            epoch=answer["epoch"],
        )
        sequencer.submit(event).result(60)
    yield Deployment(log, {MODEL: Tokenizer(smollm2.assets["tokenizer.json"])})
    sequencer.close()
    log.dispose()


def answer(number):
    return ANSWERS[number]["text"]


def traced(found):
    return {passage.request_ids[0] for passage in found.passages}


def words_edited(text, *, share, how, seed=1):
    """Edit a share of the words, as a person with a thesaurus or a script would."""
    rng = np.random.default_rng(seed)
    others = HUMAN.split()
    edited = []
    for piece in re.split(r"(\s+)", text):
        if not piece.strip() or rng.random() >= share:
            edited.append(piece)
        elif how == "substituted":
            edited.append(str(rng.choice(others)))
        elif how == "inserted":
            edited += [str(rng.choice(others)), " ", piece]
    return "".join(edited)


@pytest.mark.parametrize("number", range(4))
def test_untouched_answers_are_traced_each_to_its_own_request(deployment, number):
    found = deployment.trace(answer(number))
    assert (found.verdict, traced(found)) == ("traced", {f"req_{number}"})


@pytest.mark.parametrize("how", ["substituted", "deleted", "inserted"])
def test_edited_words_leave_enough(deployment, how):
    found = deployment.trace(words_edited(answer(1), share=0.15, how=how))
    assert traced(found) == {"req_1"}


def test_reordered_sentences_leave_enough(deployment):
    sentences = re.split(r"(?<=[.!?])\s+", answer(1))
    assert len(sentences) > 5
    shuffled = np.random.default_rng(2).permutation(sentences)
    assert traced(deployment.trace(" ".join(shuffled))) == {"req_1"}


def test_passage_pasted_into_human_text_is_found_and_located(deployment):
    passage = answer(1)
    text = f"{HUMAN}\n{passage}\n{HUMAN}"
    found = deployment.trace(text)
    assert traced(found) == {"req_1"}
    begin = len(HUMAN) + 1
    overlap = min(found.passages[0].end, begin + len(passage)) - max(found.passages[0].start, begin)
    assert overlap > 0.6 * len(passage)


def test_excerpt_lost_in_a_long_document_is_found(deployment):
    """Thousands of unmarked words drown an excerpt's evidence, unless windows are searched."""
    licence = (Path(__file__).parents[2] / "LICENSE").read_text()
    excerpt = answer(1)[: len(answer(1)) // 2]
    found = deployment.trace(f"{licence[:6000]}\n\n{excerpt}\n\n{licence[6000:]}")
    assert traced(found) == {"req_1"}
    assert found.passages[0].end - found.passages[0].start < 2 * len(excerpt)


def test_two_marks_interleaved_are_both_found(deployment):
    one, two = (re.split(r"(?<=[.!?])\s+", answer(number)) for number in (1, 3))
    mixed = " ".join(s for pair in zip(one, two, strict=False) for s in pair)
    assert traced(deployment.trace(mixed)) >= {"req_1", "req_3"}


DISGUISES = {
    "zero width": "\u200b".join,
    "soft hyphens": lambda text: text.replace("e", "\u00ade"),
    "look-alikes": lambda text: "".join(
        {letter: alike for alike, letter in LATIN.items()}.get(c, c) for c in text
    ),
    "some look-alikes": lambda text: text.replace("a", "\u0430").replace("o", "\u043e"),
    "stacked marks": lambda text: re.sub(r"(\w)", "\\1\u0336", text),
    "full width": lambda text: "".join(
        chr(ord(c) + 0xFEE0) if c.isascii() and c.isalnum() else c for c in text
    ),
    "double spaces": lambda text: text.replace(" ", "  "),
    "no-break spaces": lambda text: text.replace(" ", "\u00a0"),
    "line ends of Windows": lambda text: text.replace("\n", "\r\n").replace(" ", " \u200a"),
    "wrapped at 60": lambda text: re.sub(r"(.{45,60}) ", "\\1\n", text),
    "small letters": str.lower,
    "capital letters": str.upper,
    "everything": lambda text: "\u200b".join(
        text.lower().replace("a", "\u0430").replace(" ", "\u00a0 ")
    ),
}


@pytest.mark.parametrize("disguise", DISGUISES.values(), ids=DISGUISES.keys())
def test_disguised_text_is_read_through(deployment, disguise):
    disguised = disguise(answer(1))
    assert disguised != answer(1)
    found = deployment.trace(disguised)
    assert traced(found) == {"req_1"}
    assert 0 <= found.passages[0].start < found.passages[0].end <= len(disguised)


def test_disguise_costs_no_more_than_its_trials(deployment):
    plain = deployment.trace(answer(1)).p_value
    hidden = deployment.trace("\u200b".join(answer(1))).p_value
    assert plain < hidden <= 4.01 * plain


def test_text_cut_into_other_tokens_loses_only_its_edges(deployment):
    """A quotation that begins and ends inside words has other tokens there and nowhere else."""
    found = deployment.trace(f"x{answer(1)[7:-9]}x")
    assert traced(found) == {"req_1"}


@pytest.mark.parametrize("share", [0.75, 0.5])
def test_truncated_text_is_traced(deployment, share):
    text = answer(1)
    assert traced(deployment.trace(text[: int(share * len(text))])) == {"req_1"}


def test_few_words_are_too_short_and_say_so(deployment):
    found = deployment.trace(" ".join(answer(1).split()[:4]))
    assert (found.verdict, found.reason) == ("too_short", TOO_SHORT)


def test_another_tenants_key_finds_nothing(deployment):
    found = deployment.trace(answer(0), tenants=("bank",))
    assert (found.verdict, found.reason, found.passages) == ("no_trace", NO_MARK, ())


def test_another_epochs_key_finds_nothing(deployment):
    assert deployment.trace(answer(2), epochs=(1,)).verdict == "no_trace"
    assert traced(deployment.trace(answer(2), epochs=(1, 2))) == {"req_2"}


def test_human_text_finds_nothing(deployment):
    assert deployment.trace(HUMAN).verdict == "no_trace"


def test_paraphrase_by_the_same_model_leads_back_or_to_who_asked_for_it(deployment):
    """It copies much of the first answer, whose mark then stays; what it words anew has its own.

    A thorough paraphrase keeps nothing of the first mark, as the docs say.
    """
    assert answer(4) != answer(0)
    found = traced(deployment.trace(answer(4)))
    assert found
    assert found <= {"req_0", "req_4"}


BAD = {
    "empty": "",
    "spaces": " " * 5000,
    "binary": bytes(range(256)).decode("latin-1") * 40,
    "undecodable": "\ufffd" * 3000,
    "lone surrogates": "\ud800" * 300,
    "another script": "ሰላም ለዓለም ይሁን። " * 300,
    "one letter": "a" * 100_000,
    "emoji": "👩‍👩‍👧‍👦" * 500,
}


@pytest.mark.parametrize("text", BAD.values(), ids=BAD.keys())
def test_bad_input_has_a_verdict_and_a_reason(deployment, text):
    found = deployment.trace(text)
    assert found.verdict in {"no_trace", "too_short"}
    assert found.reason
    assert json.dumps(found.shown())


def test_long_text_is_read_in_part_and_says_so(deployment, monkeypatch):
    monkeypatch.setattr(provenance, "WORK_LIMIT", 12_000)
    monkeypatch.setattr(provenance, "LEAST_BYTES", 2_000)
    found = deployment.trace(HUMAN * 6_000)
    assert found.verdict == "no_trace"
    assert f"first 3000 of {6_000 * len(HUMAN)} characters" in found.reason


@pytest.mark.parametrize("character", ["a", "\u13a0", "\ufdfa", "\ufffd", "😀", "\u0301"])
def test_bytes_bound_what_is_read_and_a_short_text_says_so_too(deployment, monkeypatch, character):
    monkeypatch.setattr(provenance, "WORK_LIMIT", 12_000)
    monkeypatch.setattr(provenance, "LEAST_BYTES", 2_000)
    found = deployment.trace(character * 10_000)
    assert found.verdict in {"no_trace", "too_short"}
    read = 3000 // len(character.encode())
    assert f"first {read} of 10000 characters" in found.reason


def test_answer_tells_no_scores_of_tokens(deployment):
    """An oracle for single tokens would let a forger learn which ones are marked."""
    shown = deployment.trace(answer(0)).shown()
    numbers = [value for value in shown.values() if isinstance(value, float)]
    assert sorted(numbers) == sorted([shown["p_value"], shown["confidence"]])
    assert set(shown["passages"][0]) == {
        "p_value", "mode", "confidence", "trace_id", "request_id", "request_ids", "tenant",
        "epoch", "model", "span",
    }  # fmt: skip
