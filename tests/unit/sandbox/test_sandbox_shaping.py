import numpy as np
import pytest

from sandbox.candidates import candidates
from sandbox.generate import generate
from sandbox.shaping import Shaper
from sandbox.wire import Job, Shaping, decode_job, encode
from watermark.detector import detect

V = 64
LOGITS = np.linspace(-3, 3, V).astype(np.float32)
KEY = b"\x07" * 32


def shaped(shaping, *, prompt=(), answer=()):
    shaper = Shaper(shaping, list(prompt), vocabulary=V)
    for token in answer:
        shaper.note(token)
    return shaper.shape(LOGITS) - LOGITS


def test_nothing_asked_changes_nothing():
    assert Shaper(Shaping(), [1, 2], vocabulary=V).shape(LOGITS) is LOGITS


def test_biases_are_added_and_unknown_tokens_passed_over():
    change = shaped(Shaping(logit_bias={3: -100.0, 5: 2.5, 200_000: 9.0}))
    assert (change[3], change[5]) == (-100, 2.5)
    assert np.count_nonzero(change) == 2


def test_frequency_counts_each_time_and_presence_once_in_the_answer_alone():
    change = shaped(
        Shaping(frequency_penalty=0.5, presence_penalty=0.25), prompt=[7], answer=[9, 9, 4]
    )
    assert change[[7, 9, 4]] == pytest.approx([0, -1.25, -0.75], abs=1e-6)


def test_repetition_penalty_weakens_what_prompt_and_answer_have():
    """CTRL (Keskar et al., 2019): positive logits are divided, negative ones multiplied."""
    change = shaped(Shaping(repetition_penalty=2.0), prompt=[0, 99], answer=[63])
    assert change[0] == pytest.approx(LOGITS[0])
    assert change[63] == pytest.approx(-LOGITS[63] / 2)
    assert np.count_nonzero(change) == 2


def test_biases_come_before_the_repetition_penalty():
    change = shaped(Shaping(repetition_penalty=2.0, logit_bias={63: 1.0}), answer=[63])
    assert change[63] == pytest.approx((LOGITS[63] + 1) / 2 - LOGITS[63])


def test_model_output_itself_is_left_alone():
    before = LOGITS.copy()
    shaped(Shaping(presence_penalty=1, logit_bias={1: 1.0}), answer=[2])
    assert (before == LOGITS).all()


def test_min_p_keeps_a_share_of_the_most_probable():
    probs = np.array([0.5, 0.3, 0.12, 0.05, 0.03])
    logits = np.log(probs).astype(np.float32)
    ids, kept = candidates(logits, temperature=1, top_k=5, top_p=1.0, min_p=0.2)
    assert ids.tolist() == [0, 1, 2]
    assert kept == pytest.approx(probs[:3] / probs[:3].sum())
    ids, _ = candidates(logits, temperature=1, top_k=5, top_p=1.0, min_p=1.0)
    assert ids.tolist() == [0]


def test_min_p_comes_before_top_p():
    """As in vLLM: the mass that top-p measures is that of what min-p left."""
    logits = np.log([0.4, 0.3, 0.2, 0.1]).astype(np.float32)
    ids, _ = candidates(logits, temperature=1, top_k=4, top_p=0.55, min_p=0.7)
    assert ids.tolist() == [0]


class Babble:
    """An engine whose predictions follow from the last two tokens, as a language's would."""

    def start(self, _):
        self.context = [0, 0]
        return self

    def feed(self, tokens):
        self.context = [*self.context, *tokens][-2:]
        return np.random.default_rng(self.context).normal(0, 2, 4096).astype(np.float32)


@pytest.mark.parametrize(
    "options",
    [
        {"temperature": 0.7},
        {"top_k": 20},
        {"top_p": 0.9},
        {"shaping": Shaping(min_p=0.05)},
        {"shaping": Shaping(repetition_penalty=1.3)},
        {"shaping": Shaping(frequency_penalty=0.7, presence_penalty=0.5)},
        {"shaping": Shaping(logit_bias=dict.fromkeys(range(0, 1000, 2), -100.0))},
    ],
    ids=lambda options: next(iter(options)),
)
def test_answer_is_traceable_under_every_sampling_option(options):
    job = Job(
        prompt=[10, 11, 12],
        max_tokens=180,
        eos=[],
        mark_key=KEY,
        trace_id=0xABCDEF,
        seed=bytes(32),
        **{"temperature": 1.0, "top_k": 100, "top_p": 1.0} | options,
    )
    drawn = []
    end = generate(Babble(), decode_job(encode(job)), emit=drawn.append)
    assert end.evidence["status"] == "traceable"
    assert detect(drawn, {"a": KEY}).trace_id == 0xABCDEF


def test_banned_tokens_are_never_drawn():
    banned = dict.fromkeys(range(2048), -100.0)
    job = Job([1, 2], 40, 1.0, 100, 1.0, [], KEY, 1, bytes(32), Shaping(logit_bias=banned))
    drawn = []
    generate(Babble(), job, emit=drawn.append)
    assert min(drawn) >= 2048


def test_token_that_the_model_gives_no_number_for_counts_for_nothing():
    shaper = Shaper(Shaping(presence_penalty=1.0, repetition_penalty=2.0), [9], vocabulary=4)
    shaper.note(4)
    shaper.note(10**6)
    logits = np.array([1.0, 2.0, 3.0, 4.0], np.float32)
    assert shaper.shape(logits).tolist() == logits.tolist()
