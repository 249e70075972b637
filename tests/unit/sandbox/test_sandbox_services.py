"""What a zygote's workers do with a job of their kind, and with one of another."""

import numpy as np
import pytest

from gateway.models.bert import import_bert
from sandbox import wire
from sandbox.engines.embedding import EmbeddingEngine
from sandbox.errors import FrameInvalid
from sandbox.services import WARM_UPS, Embedding, Speaking
from tests import tiny_bert

VOCABULARY = 60


class Counting:
    """An engine of one sequence at a time that counts what it is fed."""

    def __init__(self):
        self.fed = []

    def start(self, _length):
        self.fed.append([])
        return self

    def feed(self, tokens):
        self.fed[-1].append(len(tokens))
        return np.zeros(VOCABULARY, np.float32)


class Warmed:
    """Grammars that only remember that they were warmed."""

    warmed = 0

    def warm(self):
        self.warmed += 1


@pytest.fixture(scope="module")
def packed(tmp_path_factory, pack_model):
    return pack_model(import_bert(tiny_bert.write(tmp_path_factory.mktemp("bert") / "tiny")))


@pytest.fixture(scope="module")
def embedding(packed):
    return EmbeddingEngine.load(*packed)


def test_all_that_a_job_runs_was_run_before_the_walls_went_up():
    engine, grammars = Counting(), Warmed()
    Speaking(engine, grammars).warm()
    assert engine.fed == [[prompt] + [1] * (most - 1) for prompt, most in WARM_UPS]
    assert grammars.warmed == 1


@pytest.mark.parametrize("kind", [wire.INPUTS, wire.BATCH, wire.REHEARSE])
def test_worker_that_speaks_takes_a_job_alone(kind):
    with pytest.raises(FrameInvalid, match="takes a job"):
        Speaking(Counting()).serve(kind, b"", lambda _: None)


@pytest.mark.parametrize("kind", [wire.JOB, wire.BATCH, wire.REHEARSE])
def test_worker_that_embeds_takes_texts_alone(embedding, kind):
    with pytest.raises(FrameInvalid, match="takes texts"):
        Embedding(embedding).serve(kind, b"", lambda _: None)


def test_text_that_the_model_cannot_read_has_no_vector(embedding):
    longest = [0] * embedding.context_length
    assert embedding.embed(longest).shape == (embedding.dimensions,)
    for tokens in ([], [*longest, 0]):
        with pytest.raises(ValueError, match=f"1 to {len(longest)} fit"):
            embedding.embed(tokens)
    embedding.embed([embedding.vocab_size - 1])
    for token in (-1, embedding.vocab_size):
        with pytest.raises(ValueError, match="does not have"):
            embedding.embed([0, token])


def test_vector_that_is_no_numbers_is_not_given_out(packed):
    header, memory = packed
    spoilt = memoryview(bytearray(memory))
    for tensor in header["tensors"]:
        if tensor["dtype"] == "float32":
            place = slice(tensor["offset"], tensor["offset"] + tensor["length"])
            spoilt[place] = np.full(tensor["length"] // 4, np.nan, np.float32).tobytes()
    with pytest.raises(FloatingPointError, match="finite numbers"):
        EmbeddingEngine.load(header, spoilt).embed([0, 1])
