"""Pruning keeps what matters; quantising makes up for its errors; nothing here needs PyTorch."""

import numpy as np
import pytest
from gguf import GGMLQuantizationType, dequantize

from gateway.models import gguf, onnx_graph
from gateway.models.blocks import unpack, values
from gateway.models.compress import floats, pruning, quantising
from gateway.models.compress.pruning import Importance, Shape
from gateway.models.errors import CompressionImpossible, ModelUnsupported
from gateway.models.importing import imported
from tests.tiny_shapes import write


@pytest.fixture(scope="module")
def random():
    return np.random.default_rng(3)


@pytest.fixture(scope="module", params=["llama", "qwen2", "qwen3"])
def model(request, tmp_path_factory):
    path = write(tmp_path_factory.mktemp("compress") / "tiny.gguf", request.param)
    with gguf.opened(path) as file:
        yield floats.read(file)


def judged(model, *, groups, channels):
    """An importance that names exactly these parts of every layer."""
    a = model.architecture
    found = Importance(np.zeros((a.layers, a.kv_heads)), np.zeros((a.layers, a.feed_forward)))
    found.groups[:, groups] = 1
    found.channels[:, channels] = 1
    return found


def test_a_model_is_read_and_written_back_whole(model):
    file = floats.written(model)
    assert floats.read(file).architecture == model.architecture
    for name, value in floats.read(file).weights.items():
        np.testing.assert_array_equal(value, model.weights[name])


def test_pruning_takes_rows_and_columns_of_the_same_parts(model):
    a = model.architecture
    channels = list(range(32, 64))
    small = pruning.pruned(model, judged(model, groups=[1], channels=channels), kept=Shape(1, 32))
    shared, size = a.heads // a.kv_heads, a.head_dim
    queries = slice(shared * size, 2 * shared * size)
    for layer in range(a.layers):
        name = f"blk.{layer}"
        old, new = model.weights, small.weights
        for part, rows in (("attn_q", queries), ("attn_k", slice(size, 2 * size))):
            np.testing.assert_array_equal(
                new[f"{name}.{part}.weight"], old[f"{name}.{part}.weight"][rows]
            )
            if a.biased:
                np.testing.assert_array_equal(
                    new[f"{name}.{part}.bias"], old[f"{name}.{part}.bias"][rows]
                )
        np.testing.assert_array_equal(
            new[f"{name}.attn_output.weight"], old[f"{name}.attn_output.weight"][:, queries]
        )
        np.testing.assert_array_equal(
            new[f"{name}.ffn_down.weight"], old[f"{name}.ffn_down.weight"][:, channels]
        )
    assert (small.architecture.kv_heads, small.architecture.heads) == (1, shared)


def test_what_is_left_is_a_model_that_the_engine_takes(model):
    small = pruning.pruned(model, judged(model, groups=[0], channels=range(32)), kept=Shape(1, 32))
    file = floats.written(small)
    told = imported(file, model_id="small").config
    assert (told["kv_heads"], told["head_dim"]) == (1, model.architecture.head_dim)
    assert onnx_graph.build(file, small.architecture).step


@pytest.mark.parametrize(
    ("kept", "message"),
    [
        (Shape(0, 64), "groups"),
        (Shape(9, 64), "groups"),
        (Shape(1, 33), "multiple"),
        (Shape(1, 4096), "channels"),
    ],
)
def test_a_shape_that_cannot_be_is_refused(model, kept, message):
    with pytest.raises(CompressionImpossible, match=message):
        pruning.require_possible(kept, model.architecture)


def test_a_sliding_window_is_refused(tmp_path):
    path = write(tmp_path / "window.gguf", "mistral-window")
    with gguf.opened(path) as file, pytest.raises(ModelUnsupported, match="sliding window"):
        floats.read(file)


def correlated(random, count):
    """Inputs of 128 features that go together and differ in size."""
    mixing = random.standard_normal((128, 128)) * np.exp(random.standard_normal(128))
    return random.standard_normal((count, 128)) @ mixing


def strayed(weights, tensor, inputs):
    return np.square((values(unpack(tensor)) - weights) @ inputs.T).mean()


def test_blocks_are_ggmls_own(random):
    weights = random.standard_normal((8, 64)).astype(np.float32)
    tensor = quantising.rounded("w", weights)
    reference = dequantize(tensor.data.reshape(8, -1), GGMLQuantizationType.Q4_1)
    np.testing.assert_array_equal(reference, values(unpack(tensor)))
    # A step of a block's range over 15, and half of it at most where nothing is clipped.
    assert np.abs(reference - weights).mean() < 0.1


def test_compensation_loses_less_of_the_product_than_rounding(random):
    weights = random.standard_normal((48, 128)).astype(np.float32)
    seen = correlated(random, 2000)
    given = quantising.inputs("w", seen.T @ seen)
    ours = quantising.compensated("w", weights, given)
    plain = quantising.rounded("w", weights)
    assert strayed(weights, ours, seen) < 0.7 * strayed(weights, plain, seen)


def test_without_correlation_compensation_is_rounding(random):
    weights = random.standard_normal((8, 64)).astype(np.float32)
    given = quantising.inputs("w", np.eye(64))
    ours, plain = quantising.compensated("w", weights, given), quantising.rounded("w", weights)
    np.testing.assert_array_equal(ours.data, plain.data)


def test_weights_on_the_grid_stay_as_they_are(random):
    weights = random.standard_normal((8, 64)).astype(np.float32)
    once = values(unpack(quantising.rounded("w", weights)))
    np.testing.assert_allclose(values(unpack(quantising.rounded("w", once))), once, atol=2e-3)


def test_flat_and_silent_columns_disturb_nothing(random):
    weights = random.standard_normal((4, 64)).astype(np.float32)
    weights[:, :32] = 0.5
    seen = random.standard_normal((200, 64))
    seen[:, 40] = 0
    tensor = quantising.compensated("w", weights, quantising.inputs("w", seen.T @ seen))
    assert np.isfinite(values(unpack(tensor))).all()
    np.testing.assert_allclose(values(unpack(tensor))[:, :32], 0.5, atol=0.05)


def test_inputs_that_are_not_finite_are_refused():
    hessian = np.full((32, 32), np.nan)
    with pytest.raises(CompressionImpossible, match="finite"):
        quantising.inputs("w", hessian)


def test_rows_that_fill_no_blocks_are_refused(random):
    with pytest.raises(CompressionImpossible, match="blocks"):
        quantising.rounded("w", random.standard_normal((4, 40)).astype(np.float32))
