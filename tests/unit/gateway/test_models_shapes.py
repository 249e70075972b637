"""Every shape the importer reads predicts what its own reference implementation predicts."""

import json
from pathlib import Path

import gguf as reference
import numpy as np
import pytest

from gateway.models import architecture, gguf
from gateway.models.blocks import error, unpack, values
from gateway.models.gguf import Tensor
from gateway.models.importing import import_gguf
from tests import tiny_shapes

VECTORS = json.loads(
    (Path(__file__).parents[2] / "vectors" / "shape-logits.json").read_text(encoding="utf-8")
)["logits"]


@pytest.mark.parametrize("shape", tiny_shapes.SHAPES)
def test_logits_are_those_of_transformers(shape, tmp_path, load_engine):
    engine = load_engine(import_gguf(tiny_shapes.write(tmp_path / "m.gguf", shape)))
    for length, expected in zip(tiny_shapes.LENGTHS, VECTORS[shape], strict=True):
        decoding = engine.start(length)
        logits = decoding.feed(tiny_shapes.IDS[:length])
        assert np.abs(logits - np.array(expected)).max() < 2e-3


@pytest.mark.parametrize("shape", tiny_shapes.SHAPES)
def test_one_token_at_a_time_ends_at_the_same_logits(shape, tmp_path, load_engine):
    engine = load_engine(import_gguf(tiny_shapes.write(tmp_path / "m.gguf", shape)))
    decoding = engine.start(len(tiny_shapes.IDS))
    for token in tiny_shapes.IDS:
        logits = decoding.feed([token])
    assert np.abs(logits - np.array(VECTORS[shape][-1])).max() < 2e-3


@pytest.mark.parametrize("shape", tiny_shapes.SHAPES)
def test_shapes_differ_where_they_should(shape):
    """A vector that another shape's graph would also meet proves nothing."""
    for other, logits in VECTORS.items():
        if other != shape:
            assert np.abs(np.array(logits[-1]) - np.array(VECTORS[shape][-1])).max() > 0.1


@pytest.mark.parametrize("kind", ["F16", "BF16"])
def test_half_precision_predicts_nearly_the_same(kind, tmp_path, load_engine):
    engine = load_engine(import_gguf(tiny_shapes.write(tmp_path / "m.gguf", "qwen3", kind=kind)))
    logits = engine.start(48).feed(tiny_shapes.IDS)
    strayed = np.abs(logits - np.array(VECTORS["qwen3"][-1])).max()
    assert 0 < strayed < (0.02 if kind == "F16" else 0.2)


def k_quant(kind, *, rows=3, columns=512):
    """Make a matrix of random blocks whose scales are finite and of ordinary size."""
    random = np.random.default_rng(3)
    _, size = reference.GGML_QUANT_SIZES[reference.GGMLQuantizationType[kind]]
    raw = random.integers(0, 256, (rows, columns // 256, size), np.uint8)
    halves = {"Q4_K": (0, 2), "Q5_K": (0, 2), "Q6_K": (208,)}[kind]
    for at in halves:
        scales = random.uniform(0.001, 0.1, raw.shape[:2]).astype("<f2")
        raw[..., at : at + 2] = scales[..., None].view(np.uint8)
    return Tensor("blk.0.ffn_up.weight", kind, (rows, columns), raw.reshape(-1))


@pytest.mark.parametrize("kind", ["Q4_K", "Q5_K", "Q6_K"])
def test_k_quants_are_worth_what_ggml_says(kind):
    tensor = k_quant(kind)
    expected = reference.dequantize(
        tensor.data.reshape(3, -1), reference.GGMLQuantizationType[kind]
    )
    ours = values(unpack(tensor))
    assert np.abs(ours - expected).max() <= 1e-5 * np.abs(expected).max()
    assert error(tensor) < 1e-6


def test_the_error_tells_when_weights_stray(monkeypatch):
    tensor = k_quant("Q4_K")
    broken = tensor.data.copy()
    broken[20] ^= 0x0F
    strayed = Tensor(tensor.name, tensor.kind, tensor.shape, broken)
    blocks = unpack(strayed)
    monkeypatch.setattr("gateway.models.blocks.unpack", lambda _: blocks)
    assert 1e-4 < error(tensor) < 1


def multiplied(model_blocks, x):
    """Run one product through the writer's own nodes."""
    import onnxruntime as ort  # noqa: PLC0415
    from onnx import TensorProto  # noqa: PLC0415

    from gateway.models.onnx_writer import OnnxWriter  # noqa: PLC0415

    writer = OnnxWriter()
    writer.input("x", TensorProto.FLOAT, [1, "S", x.shape[-1]])
    writer.output("y", TensorProto.FLOAT, [1, "S", len(model_blocks.scales)])
    writer.linear("x", "w", model_blocks, "y")
    options = ort.SessionOptions()
    weights = {n: ort.OrtValue.ortvalue_from_numpy(v) for n, v in writer.weights.items()}
    options.add_external_initializers(list(weights), list(weights.values()))
    graph = writer.model("product", outputs=["y"]).SerializeToString()
    session = ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    return session.run(["y"], {"x": x})[0]


@pytest.mark.parametrize("kind", ["Q4_K", "Q5_K", "Q6_K"])
@pytest.mark.parametrize("positions", [1, 7])
def test_a_product_with_k_quants_is_the_product_of_its_weights(kind, positions):
    tensor = k_quant(kind, rows=64)
    x = np.random.default_rng(4).standard_normal((1, positions, 512)).astype(np.float32)
    expected = x @ values(unpack(tensor)).T
    # Activations are rounded to 8 bits in blocks, as llama.cpp rounds them.
    limit = 0.02 * np.abs(expected).max()
    assert np.abs(multiplied(unpack(tensor), x) - expected).max() < limit


def test_the_state_of_a_context_is_what_the_engine_allocates(tmp_path, load_engine):
    path = tiny_shapes.write(tmp_path / "m.gguf", "qwen3")
    with gguf.opened(path) as file:
        shape = architecture.read(file)
    decoding = load_engine(import_gguf(path)).start(100)
    allocated = sum(cache.nbytes for cache in decoding._caches.values())
    assert shape.state_bytes(100) == allocated == 2 * 2 * 2 * 32 * 4 * 100


def test_an_import_says_what_each_type_became(tmp_path, tiny_gguf):
    model = import_gguf(tiny_gguf({"attn_v": "BF16", "ffn_up": "F16"}))
    told = {c.kind: (c.tensors, c.error) for c in model.conversions}
    assert told == {"BF16": (2, 0.0), "F16": (2, 0.0), "F32": (5, 0.0), "Q4_1": (11, 0.0)}
    assert model.state_bytes(10) == 2 * 4 * 2 * 2 * 16 * 10
