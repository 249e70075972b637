from dataclasses import replace

import numpy as np
import pytest

from sandbox import generate as generating
from sandbox.generate import generate
from sandbox.wire import Job, decode_end, encode

JOB = Job(
    prompt=[10, 11, 12],
    max_tokens=6,
    temperature=0,
    top_k=50,
    top_p=1.0,
    eos=[3],
    mark_key=bytes(32),
    trace_id=7,
    seed=bytes(32),
)


class Script:
    """An engine that wants to say the given tokens, and writes down what it was fed."""

    def __init__(self, tokens, *, flat=False):
        self.tokens, self.flat = list(tokens), flat
        self.length, self.fed = None, []

    def start(self, length):
        self.length = length
        return self

    def feed(self, tokens):
        self.fed.append(list(tokens))
        logits = np.zeros(64, np.float32)
        if not self.flat:
            logits[self.tokens[len(self.fed) - 1]] = 9
        return logits


def answer(job, engine):
    emitted = []
    return emitted, generate(engine, job, emit=emitted.append)


def test_end_token_stops_and_is_not_emitted():
    emitted, end = answer(JOB, Script([5, 6, 3, 8, 9, 9]))
    assert (emitted, end.reason) == ([5, 6], "stop")


def test_any_end_token_stops():
    assert answer(replace(JOB, eos=[3, 6]), Script([5, 6, 3, 8, 9, 9]))[0] == [5]


def test_answer_ends_at_its_most_tokens():
    emitted, end = answer(JOB, Script([5, 6, 7, 8, 9, 4]))
    assert (emitted, end.reason) == ([5, 6, 7, 8, 9, 4], "length")


def test_end_token_as_the_last_allowed_still_stops():
    assert answer(replace(JOB, max_tokens=2), Script([5, 3]))[1].reason == "stop"


def test_engine_is_fed_the_prompt_then_each_token_but_the_last():
    engine = Script([5, 6, 7])
    answer(replace(JOB, max_tokens=3), engine)
    assert engine.fed == [[10, 11, 12], [5], [6]]
    assert engine.length == 6


def test_sampler_is_handed_the_two_tokens_before(monkeypatch):
    contexts = []

    class Sampler(generating.Sampler):
        def draw(self, context, ids, probs):
            contexts.append(context)
            return super().draw(context, ids, probs)

    monkeypatch.setattr(generating, "Sampler", Sampler)
    answer(replace(JOB, max_tokens=3), Script([5, 6, 7]))
    answer(replace(JOB, max_tokens=1, prompt=[10]), Script([5]))
    assert contexts == [(11, 12), (12, 5), (5, 6), (0, 10)]


def test_same_seed_and_key_repeat_an_answer_and_others_do_not():
    drawn = replace(JOB, temperature=1.0, max_tokens=30, eos=[])
    other_key = replace(drawn, mark_key=b"\x01" * 32)
    first, again, other = (
        answer(job, Script([], flat=True))[0] for job in (drawn, drawn, other_key)
    )
    assert first == again != other


def test_evidence_is_what_the_wire_takes():
    drawn = replace(JOB, temperature=1.0, max_tokens=60, eos=[])
    end = answer(drawn, Script([], flat=True))[1]
    assert decode_end(encode(end)) == end
    assert end.evidence["status"] == "traceable"
    assert end.evidence["marked"] > 0


def test_model_output_that_is_not_finite_is_an_error():
    class Broken(Script):
        def feed(self, _tokens):
            return np.full(64, np.nan, np.float32)

    with pytest.raises(FloatingPointError):
        answer(JOB, Broken([]))
