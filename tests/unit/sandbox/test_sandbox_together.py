"""Answers that are decoded together are word for word those that are decoded alone."""

from dataclasses import replace

import numpy as np
import pytest

from gateway.models.importing import import_gguf
from sandbox import wire
from sandbox.generate import generate
from sandbox.grammar import Grammars
from sandbox.services import Speaking
from sandbox.together import generate_together
from sandbox.vocabulary import Vocabulary
from tests import tiny_shapes

JOB = wire.Job(
    prompt=[10, 11, 12],
    max_tokens=6,
    temperature=1.0,
    top_k=50,
    top_p=1.0,
    eos=[3],
    mark_key=bytes(32),
    trace_id=7,
    seed=bytes(32),
)
VOCABULARY = 64


class Hashing:
    """An engine whose logits depend on all that a sequence was fed, and on nothing else."""

    batches = True

    def __init__(self, poison=None):
        self.poison, self.prompts, self.widths = poison, [], []

    def start(self, _length):
        return Sequence(self)

    def start_together(self, rows, _length):
        return Rows(self, [Sequence(self) for _ in range(rows)])


class Sequence:
    def __init__(self, engine):
        self.engine, self.seen = engine, []

    def feed(self, tokens):
        self.seen += tokens
        if self.engine.poison == self.seen[0] and len(self.seen) > 4:
            return np.full(VOCABULARY, np.nan, np.float32)
        return np.random.default_rng(self.seen).normal(size=VOCABULARY).astype(np.float32) * 3


class Rows:
    def __init__(self, engine, rows):
        self.engine, self.rows = engine, rows

    def begin(self, row, prompt):
        self.engine.prompts.append(list(prompt))
        return self.rows[row].feed(list(prompt))

    def copy(self, row, *, source):
        self.rows[row].seen = list(self.rows[source].seen)

    def step(self, tokens):
        self.engine.widths.append(len(tokens))
        return np.stack([r.feed([t]) for r, t in zip(self.rows, tokens, strict=True)])

    def keep(self, rows):
        self.rows = [self.rows[row] for row in rows]


def alone(engine, job, grammars=None):
    """Return the frames of a job that is answered by itself."""
    said = []
    end = generate(
        engine,
        job,
        emit=lambda token: said.append((wire.TOKENS, wire.pack_tokens([token]))),
        tell=lambda likely: said.append((wire.LIKELY, wire.encode(likely))),
        grammars=grammars,
    )
    return [*said, (wire.END, wire.encode(end))]


def beside(engine, jobs, grammars=None):
    """Return the frames of each job of a batch."""
    said = [[] for _ in jobs]
    generate_together(
        engine,
        jobs,
        say=lambda index, kind, payload: said[index].append((kind, payload)),
        grammars=grammars,
    )
    return said


JOBS = [
    JOB,
    replace(JOB, prompt=[4], max_tokens=11, seed=bytes([1] * 32), trace_id=8, likely=3),
    replace(JOB, prompt=list(range(20, 50)), max_tokens=1, mark_key=bytes([2] * 32)),
    replace(JOB, prompt=[10, 11, 12], max_tokens=8, seed=bytes([3] * 32), temperature=0),
    replace(JOB, prompt=[9, 9], eos=list(range(0, 64, 3)), shaping=wire.Shaping(min_p=0.01)),
]


def test_every_job_is_answered_as_if_it_were_alone():
    together = beside(Hashing(), JOBS)
    assert together == [alone(Hashing(), job) for job in JOBS]
    assert len({len(frames) for frames in together}) > 2


def test_sequence_that_ended_takes_no_further_step():
    engine = Hashing()
    beside(engine, [replace(JOB, eos=[], max_tokens=n) for n in (2, 5, 3)])
    assert engine.widths == [3, 2, 1, 1]


def test_prompt_that_several_choices_have_is_read_once():
    engine = Hashing()
    choices = [replace(JOB, seed=bytes([n] * 32)) for n in range(4)]
    assert beside(engine, choices) == [alone(Hashing(), choice) for choice in choices]
    assert engine.prompts == [JOB.prompt]


def test_sequence_whose_numbers_fail_leaves_the_others_alone():
    jobs = [replace(JOB, eos=[]), replace(JOB, prompt=[5, 6, 7], eos=[])]
    first, second = beside(Hashing(poison=5), jobs)
    assert first == alone(Hashing(), jobs[0])
    assert second[-1] == (wire.FAILED, b"FloatingPointError")


@pytest.fixture(scope="module")
def grammars():
    """Constraints over a vocabulary of 64 single letters; 3 ends an answer."""
    letters = [bytes([ord("0") + n]) for n in range(VOCABULARY)]
    letters[3] = b""
    return Grammars(Vocabulary(letters, (3,)))


def test_grammar_of_one_sequence_binds_it_and_no_other(grammars):
    digits = replace(JOB, grammar='{"grammars":[{"lark_grammar":"start: /[0-9]{4}/"}]}')
    free, bound = beside(Hashing(), [JOB, digits], grammars)
    assert free == alone(Hashing(), JOB)
    assert bound == alone(Hashing(), digits, grammars)
    assert all(wire.unpack_tokens(p)[0] < 10 for k, p in bound if k == wire.TOKENS)


def test_grammar_that_is_none_fails_its_own_sequence(grammars):
    broken = replace(JOB, grammar='{"grammars":[{"lark_grammar":"start: ("}]}')
    free, bound = beside(Hashing(), [JOB, broken], grammars)
    assert free == alone(Hashing(), JOB)
    assert [kind for kind, _ in bound] == [wire.FAILED]
    assert bound[0][1].startswith(b"GrammarRefused: ")


@pytest.mark.parametrize("count", [0, 1, 9])
def test_batch_of_a_size_that_is_none_is_refused(count):
    with pytest.raises(wire.FrameInvalid):
        Speaking(Hashing()).serve(wire.BATCH, wire.encode([JOB] * count), lambda _: None)


def test_engine_that_takes_one_sequence_refuses_a_batch():
    engine = Hashing()
    engine.batches = False
    with pytest.raises(wire.FrameInvalid):
        Speaking(engine).serve(wire.BATCH, wire.encode([JOB, JOB]), lambda _: None)


def test_sequences_of_the_reference_model_are_the_same_bits_together(smollm2, load_engine):
    engine = load_engine(smollm2)
    prompts = [np.random.default_rng(n).integers(5, 40_000, n).tolist() for n in (3, 40, 17, 700)]
    rows = [engine.start(len(prompt) + 12) for prompt in prompts]
    together = engine.start_together(4, 720)
    expected = [row.feed(prompt) for row, prompt in zip(rows, prompts, strict=True)]
    got = [together.begin(n, prompt) for n, prompt in enumerate(prompts)]
    for step in range(12):
        for mine, wanted in zip(got, expected, strict=True):
            assert np.array_equal(mine, wanted)
        if step in (4, 8):
            # The first leaves, then the one in the middle.
            kept = [1, 2, 3] if step == 4 else [0, 2]
            together.keep(kept)
            rows, expected = [rows[n] for n in kept], [expected[n] for n in kept]
        tokens = [int(wanted.argmax()) for wanted in expected]
        expected = [row.feed([token]) for row, token in zip(rows, tokens, strict=True)]
        got = list(together.step(tokens))


def test_answers_of_the_reference_model_are_equal_together(smollm2, load_engine):
    engine = load_engine(smollm2)
    jobs = [replace(job, likely=None, max_tokens=10) for job in JOBS]
    assert beside(engine, jobs) == [alone(engine, job) for job in jobs]


@pytest.mark.parametrize("kind", ["Q4_0", "Q4_1", "Q8_0", "F16"])
@pytest.mark.parametrize("shape", tiny_shapes.SHAPES)
def test_sequences_of_every_shape_are_the_same_bits_together(shape, kind, tmp_path, load_engine):
    engine = load_engine(import_gguf(tiny_shapes.write(tmp_path / "m.gguf", shape, kind=kind)))
    prompts = [[5, 9, 3], [7], list(range(30, 60)), [8, 8]]
    rows = [engine.start(40) for _ in prompts]
    together = engine.start_together(4, 40)
    for row, prompt, place in zip(rows, prompts, range(4), strict=True):
        assert np.array_equal(together.begin(place, prompt), row.feed(prompt))
    for token in range(8):
        got = together.step([token] * 4)
        for mine, row in zip(got, rows, strict=True):
            assert np.array_equal(mine, row.feed([token]))


def test_row_that_is_full_is_refused(tiny_gguf, load_engine):
    together = load_engine(import_gguf(tiny_gguf())).start_together(2, 4)
    together.begin(0, [1, 2, 3])
    together.begin(1, [1])
    together.step([1, 1])
    with pytest.raises(ValueError, match="2 rows"):
        together.step([1, 1])
