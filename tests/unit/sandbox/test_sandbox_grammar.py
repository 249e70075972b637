import json
import math

import numpy as np
import pytest

from sandbox.errors import GrammarRefused, ZygoteFailed
from sandbox.generate import generate
from sandbox.grammar import Grammars
from sandbox.likelihood import likelihood
from sandbox.vocabulary import Vocabulary, pack, unpack
from sandbox.wire import Job

# Every byte, the end, and a few longer tokens.
TOKENS = [b"", *(bytes([b]) for b in range(256)), b'{"', b'":', b'":"', b"true"]
WORDS = Vocabulary(TOKENS, [0])
JOB = Job([1, 2], 200, 1.0, 300, 1.0, [0], bytes(32), 1, bytes(32))


class Noise:
    """An engine without any opinion."""

    def start(self, length):
        self._random = np.random.default_rng(length)
        return self

    def feed(self, _):
        return self._random.standard_normal(len(TOKENS)).astype(np.float32)


@pytest.fixture(scope="module")
def grammars():
    made = Grammars(WORDS)
    made.warm()
    return made


def schema(**fields):
    rigid = {"x-guidance": {"whitespace_flexible": False}}
    return json.dumps({"grammars": [{"json_schema": fields | rigid}]})


def spoken(grammars, grammar, **options):
    emitted, told = [], []
    job = Job(
        **{name: getattr(JOB, name) for name in Job.__slots__} | {"grammar": grammar} | options
    )
    end = generate(Noise(), job, emit=emitted.append, tell=told.append, grammars=grammars)
    return b"".join(TOKENS[token] for token in emitted).decode(), end, told


@pytest.mark.parametrize("seed", range(8))
def test_answer_without_any_opinion_follows_its_schema(grammars, seed):
    grammar = schema(
        type="object",
        properties={"ward": {"enum": ["A", "B"]}, "full": {"type": "boolean"}},
        required=["ward", "full"],
        additionalProperties=False,
    )
    text, end, _ = spoken(grammars, grammar, seed=bytes([seed]) * 32)
    answer = json.loads(text)
    assert end.reason == "stop"
    assert answer["ward"] in {"A", "B"}
    assert isinstance(answer["full"], bool)
    assert set(answer) == {"ward", "full"}


def test_greedy_answer_follows_its_grammar_too(grammars):
    text, end, _ = spoken(grammars, schema(enum=["yes"]), temperature=0)
    assert (text, end.reason) == ('"yes"', "stop")


def test_answer_within_a_grammar_is_marked(grammars):
    text, end, _ = spoken(grammars, schema(type="string", minLength=80, maxLength=120))
    assert len(json.loads(text)) >= 80
    assert end.evidence["marked"] > 40


@pytest.mark.parametrize(
    "grammar",
    ["", "{", "[]", '{"grammars": []}', schema(type="wizard"), schema(pattern="(")][1:],
)
def test_what_is_no_grammar_is_refused(grammars, grammar):
    with pytest.raises(GrammarRefused):
        spoken(grammars, grammar)


@pytest.mark.parametrize(
    "grammar",
    [
        schema(type="object", properties={f"field{i}": {"type": "string"} for i in range(20_000)}),
    ],
    ids=["wide"],
)
def test_grammar_that_explodes_is_refused(grammars, grammar):
    with pytest.raises(GrammarRefused):
        spoken(grammars, grammar)


def test_without_a_vocabulary_no_grammar_is_followed():
    with pytest.raises(GrammarRefused):
        spoken(None, schema(type="string"))


def test_likelihoods_are_the_models_own(grammars):
    _, _, told = spoken(grammars, schema(enum=["yes"]), likely=3)
    # Cut as the grammar's text can be: each token was told, with three others.
    assert b"".join(TOKENS[each.token] for each in told) == b'"yes"'
    for each in told:
        assert len(each.top) == 3
        assert each.logprob <= each.top[0][1] <= 0
        assert [p for _, p in each.top] == sorted((p for _, p in each.top), reverse=True)


def test_likelihoods_sum_to_one():
    logits = np.array([0.5, -1, 3, 2], np.float32)
    told = likelihood(logits, 2, top=4)
    assert math.isclose(sum(math.exp(p) for _, p in told.top), 1)
    assert [token for token, _ in told.top] == [2, 3, 0, 1]
    assert likelihood(logits, 2, top=0).top == []


def test_vocabulary_survives_its_way():
    assert unpack(pack(WORDS)) == WORDS


@pytest.mark.parametrize("cut", [1, 8, 20, len(pack(WORDS)) - 1])
def test_vocabulary_that_was_cut_is_refused(cut):
    with pytest.raises(ZygoteFailed):
        unpack(pack(WORDS)[:cut])


def test_vocabulary_with_more_behind_it_is_refused():
    with pytest.raises(ZygoteFailed):
        unpack(pack(WORDS) + b"x")


def test_answer_that_goes_on_after_its_grammar_is_complete_says_only_its_end(grammars):
    # A request may ask that no token ends its answer.
    text, end, _ = spoken(grammars, schema(const=True), eos=[], max_tokens=12)
    assert text == "true"
    assert end.reason == "length"
