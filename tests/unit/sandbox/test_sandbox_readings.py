"""What the gateway passes on of what a worker says, and what it takes for a lie."""

import numpy as np
import pytest

from sandbox import wire
from sandbox.errors import FrameInvalid
from sandbox.readings import TokenReader, Undue, VectorReader

LIKELY = wire.encode(wire.Likelihood(5, -0.5, [(5, -0.5), (7, -1.0)]))
TOKEN = wire.pack_tokens([5])


def job(*, likely=None, max_tokens=2):
    return wire.Job([1], max_tokens, 1.0, 50, 1.0, [], bytes(32), 7, bytes(32), likely=likely)


def test_likelihoods_wait_for_the_token_they_are_of():
    reader = TokenReader(job(likely=2))
    for _ in range(2):
        assert reader.read(wire.LIKELY, LIKELY) is None
        batch = reader.read(wire.TOKENS, TOKEN)
        assert batch.tokens == (5,)
        assert [told.logprob for told in batch.likelihoods] == [-0.5]


def test_likelihoods_that_nobody_asked_for_are_not_passed_on():
    with pytest.raises(Undue, match="sent a frame of kind"):
        TokenReader(job()).read(wire.LIKELY, LIKELY)


def test_no_more_likelihoods_are_kept_than_tokens_may_come():
    reader = TokenReader(job(likely=2))
    for _ in range(2):
        reader.read(wire.LIKELY, LIKELY)
    with pytest.raises(Undue):
        reader.read(wire.LIKELY, LIKELY)


def test_no_more_tokens_are_passed_on_than_were_asked_for():
    reader = TokenReader(job())
    reader.read(wire.TOKENS, wire.pack_tokens([5, 6]))
    with pytest.raises(Undue, match="more than the 2 tokens"):
        reader.read(wire.TOKENS, TOKEN)


def test_failure_is_told_in_the_workers_words():
    with pytest.raises(Undue, match="failed: MemoryError"):
        TokenReader(job()).read(wire.FAILED, b"MemoryError")


VECTOR = np.array([0.6, 0.8], "<f4").tobytes()


def reader_of(texts):
    return VectorReader(wire.Inputs([[1]] * texts), dimensions=2)


def test_one_vector_a_text_is_passed_on():
    reader = reader_of(2)
    with pytest.raises(FrameInvalid, match="before its last vector"):
        reader.close()
    for _ in range(2):
        assert reader.read(wire.VECTOR, VECTOR).values.tolist() == pytest.approx([0.6, 0.8])
    reader.close()
    with pytest.raises(Undue, match="not asked for"):
        reader.read(wire.VECTOR, VECTOR)


@pytest.mark.parametrize(
    ("kind", "payload"),
    [
        (wire.TOKENS, TOKEN),
        (wire.VECTOR, VECTOR[:-1]),
        (wire.VECTOR, VECTOR + VECTOR),
        (wire.VECTOR, np.array([np.nan, 1.0], "<f4").tobytes()),
        (wire.VECTOR, np.array([np.inf, 1.0], "<f4").tobytes()),
    ],
)
def test_what_is_no_vector_of_its_length_is_not_passed_on(kind, payload):
    with pytest.raises(Undue):
        reader_of(2).read(kind, payload)
