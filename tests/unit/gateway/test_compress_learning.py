"""What needs PyTorch: the network is the engine's model, importance finds what matters, and a
distillation teaches, stops, and goes on as if it never had.
"""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from gateway.models import gguf, vocabulary
from gateway.models.errors import CompressionImpossible, ModelUnreadable
from gateway.models.tokenizer import Tokenizer
from privacy.custodians.keyfile import KeyFile
from privacy.errors import PrivacyError
from privacy.keyring import Keyring
from tests import tiny_shapes

torch = pytest.importorskip("torch")

from gateway.models.compress import (  # noqa: E402 - only where PyTorch is
    calibrating,
    distilling,
    floats,
    keeping,
    pruning,
    stages,
    texts,
)
from gateway.models.compress.distilling import Course  # noqa: E402
from gateway.models.compress.network import network  # noqa: E402
from gateway.models.compress.pruning import Shape  # noqa: E402

VECTORS = json.loads(
    (Path(__file__).parents[2] / "vectors" / "shape-logits.json").read_text(encoding="utf-8")
)["logits"]
SHAPES = [name for name in tiny_shapes.SHAPES if "window" not in name]
TEXT = "The nurse wrote every dose down twice, and read both entries aloud at noon. " * 120


@pytest.fixture
def opened(tmp_path):
    def opened(shape="llama"):
        path = tiny_shapes.write(tmp_path / f"{shape}.gguf", shape)
        with gguf.opened(path) as file:
            return floats.read(file)

    return opened


@pytest.fixture
def text(opened, tmp_path):
    model = opened()
    words = vocabulary.read(model.source.metadata, size=model.architecture.vocab_size)
    file = tmp_path / "text"
    file.write_text(TEXT)
    return texts.read([file], Tokenizer(words.tokenizer_json), length=32)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_network_predicts_what_transformers_predicts(opened, shape):
    model = opened(shape)
    running = network(model.architecture, model.weights, device="cpu")
    logits = running.logits(torch.tensor([tiny_shapes.IDS]))[0].numpy()
    for length, expected in zip(tiny_shapes.LENGTHS, VECTORS[shape], strict=True):
        assert np.abs(logits[length - 1] - np.array(expected)).max() < 2e-3


def silenced(model, *, group, channels):
    """A copy whose loss cannot depend on one group of heads, nor on these channels."""
    weights = {name: value.copy() for name, value in model.weights.items()}
    a = model.architecture
    width = a.head_dim * (a.heads // a.kv_heads)
    for layer in range(a.layers):
        weights[f"blk.{layer}.attn_output.weight"][:, group * width : (group + 1) * width] = 0
        weights[f"blk.{layer}.ffn_down.weight"][:, channels] = 0
    return replace(model, weights=weights)


def test_parts_that_change_nothing_are_found_and_left_out_without_loss(opened, text):
    model = silenced(opened(), group=0, channels=range(32))
    running = network(model.architecture, model.weights, device="cpu")
    found = calibrating.importance(running, text.rows[:8], batch=4, told=lambda *_: None)
    assert (found.groups[:, 0] == 0).all()
    assert (found.groups[:, 1] > 0).all()
    assert (found.channels[:, :32] == 0).all()
    small = pruning.pruned(model, found, kept=Shape(1, 64))
    ids = torch.tensor(text.rows[:2])
    fewer = network(small.architecture, small.weights, device="cpu").logits(ids)
    torch.testing.assert_close(fewer, running.logits(ids), atol=1e-4, rtol=1e-4)


def distilled(model, small, text, course, *, state=None, told=lambda *_: None):
    teacher = distilling.teacher(model, device="cpu")
    state = state or distilling.begun(small, device="cpu")
    return distilling.distilled(
        state, teacher=teacher, student=small, rows=text.rows, course=course, told=told
    )


@pytest.fixture
def pair(opened, text):
    model = opened()
    running = network(model.architecture, model.weights, device="cpu")
    found = calibrating.importance(running, text.rows[:8], batch=4, told=lambda *_: None)
    return model, pruning.pruned(model, found, kept=Shape(1, 32))


def test_a_student_comes_closer_to_its_teacher(pair, text):
    model, small = pair
    heard = []
    taught = distilled(model, small, text, Course(25, 8, 1e-2), told=lambda _, d: heard.append(d))
    assert heard[-1] < 0.7 * heard[0]
    assert len(heard) == 25
    # Shared with the full model, and kept in the file's own type.
    assert taught.weights["token_embd.weight"] is small.weights["token_embd.weight"]


def test_a_run_that_was_cut_goes_on_as_if_it_never_was(pair, text, tmp_path):
    model, small = pair
    whole = distilled(model, small, text, Course(6, 4))

    keyring = Keyring.create(tmp_path / "keyring", KeyFile.create(tmp_path / "key"))
    clock = iter(range(0, 10_000, 400))
    kept = keeping.Kept(tmp_path / "run.sealed", keyring, "run", "cpu", lambda: next(clock))

    class Cut(Exception):
        pass

    def told(state, _):
        kept.keep(state)
        if state.step == 3:
            raise Cut

    with pytest.raises(Cut):
        distilled(model, small, text, Course(6, 4), told=told)
    state = kept.resumed(small)
    assert state.step == 3
    again = distilled(model, small, text, Course(6, 4), state=state)
    for name, value in whole.weights.items():
        np.testing.assert_allclose(again.weights[name], value, atol=1e-6)

    other = keeping.Kept(kept.path, keyring, "another run", "cpu")
    assert other.resumed(small) is None
    content = bytearray(kept.path.read_bytes())
    content[len(content) // 2] ^= 1
    kept.path.write_bytes(content)
    with pytest.raises(PrivacyError):
        kept.resumed(small)
    kept.forget()
    assert kept.resumed(small) is None


class Nobody:
    def __init__(self):
        self.heard = set()

    def told(self, stage, *_):
        self.heard.add(stage)

    def kept(self, state):
        pass

    def resumed(self, _):
        return None


def test_stages_follow_one_another_and_end_with_the_smallest(opened, text):
    watcher = Nobody()
    plan = stages.Plan(Shape(1, 32), Course(12, 8), calibration=8)
    made = list(stages.stages(opened(), text, plan, watcher=watcher))
    assert [s.name for s in made] == ["full", "pruned", "distilled", "rounded", "compensated"]
    assert watcher.heard == {"importance", "distilling", "quantising"}
    sizes = [sum(t.data.nbytes for t in s.file.tensors.values()) for s in made]
    assert sizes[4] == sizes[3] < sizes[2] == sizes[1] < sizes[0]
    assert all(np.isfinite(stage.perplexity) for stage in made)
    # Only matrices are quantised, and what the full model's file holds stays in its own type.
    kinds = {name: tensor.kind for name, tensor in made[-1].file.tensors.items()}
    assert {kind for name, kind in kinds.items() if ".ffn_" in name and "norm" not in name} == {
        "Q4_1"
    }
    assert kinds["token_embd.weight"] == made[0].file.tensors["token_embd.weight"].kind


def test_what_is_measured_is_never_learnt_from(text):
    learnt, held = text.rows.reshape(-1), text.held_out
    assert len(held) > 32
    total = len(learnt) + len(held)
    assert 0.03 < len(held) / total < 0.07


def test_too_little_text_is_refused(opened, tmp_path):
    model = opened()
    words = vocabulary.read(model.source.metadata, size=model.architecture.vocab_size)
    tokenizer = Tokenizer(words.tokenizer_json)
    (tmp_path / "short").write_text("Too short.")
    with pytest.raises(CompressionImpossible, match="too few"):
        texts.read([tmp_path / "short"], tokenizer, length=256)
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ModelUnreadable, match="UTF-8"):
        texts.read([tmp_path / "binary"], tokenizer, length=32)
    with pytest.raises(ModelUnreadable, match="cannot be read"):
        texts.read([tmp_path / "nowhere"], tokenizer, length=32)
