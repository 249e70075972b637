"""Models for tests: the reference model, fetched once, and small ones made of random weights."""

import itertools
import json
import mmap
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest

from gateway.models.fetch import fetch
from gateway.models.importing import ImportedModel, import_gguf
from sandbox.engines.onnx import OnnxEngine

CACHE = Path(__file__).parents[1] / ".sealgate" / "cache"
# The sealed container aligns tensors so (docs/formats/sealed-v1.md).
ALIGNMENT = 64


@pytest.fixture(scope="session")
def smollm2_gguf() -> Path:
    """Return the reference model's file, fetched into the working tree's cache."""
    return fetch("smollm2-135m", into=CACHE)


@pytest.fixture(scope="session")
def smollm2(smollm2_gguf) -> ImportedModel:
    """Return the reference model, imported."""
    return import_gguf(smollm2_gguf)


@pytest.fixture(scope="session")
def tiny_gguf(tmp_path_factory) -> Callable[..., Path]:
    """Return a maker of small random Llamas: `tiny_gguf(kinds={"attn_v": "F16"}, **metadata)`."""
    directory = tmp_path_factory.mktemp("tiny")
    count = itertools.count()

    def make(kinds: Mapping[str, str] | None = None, **metadata: Any) -> Path:
        path = directory / f"tiny-{next(count)}.gguf"
        _write_tiny(path, kinds or {}, metadata)
        return path

    return make


@pytest.fixture(scope="session")
def load_engine() -> Callable[[ImportedModel], OnnxEngine]:
    """Return what loads an imported model as a worker's zygote would, from one mapping."""
    return lambda model: OnnxEngine.load(*packed(model))


@pytest.fixture(scope="session")
def pack_model() -> Callable[[ImportedModel], tuple[dict[str, Any], memoryview]]:
    """Return what lays a model out as the key broker sends it: header and memory."""
    return packed


def packed(model: ImportedModel) -> tuple[dict[str, Any], memoryview]:
    """Lay a model out in one anonymous mapping."""
    pieces = [
        model.graph,
        *(np.ascontiguousarray(t).data.cast("B") for t in model.tensors.values()),
    ]
    offsets = [0, *itertools.accumulate(-(-len(p) // ALIGNMENT) * ALIGNMENT for p in pieces)]
    memory = mmap.mmap(-1, offsets[-1])
    for offset, piece in zip(offsets, pieces, strict=False):
        memory[offset : offset + len(piece)] = bytes(piece)
    tensors = [
        {"name": name, "dtype": str(tensor.dtype), "shape": list(tensor.shape)}
        | {"offset": offset, "length": tensor.nbytes}
        for (name, tensor), offset in zip(model.tensors.items(), offsets[1:], strict=False)
    ]
    header = {
        "config": model.config,
        "graph": {"offset": 0, "length": len(model.graph)},
        "tensors": tensors,
    }
    return json.loads(json.dumps(header)), memoryview(memory)


TINY = {
    "general.architecture": "llama",
    "general.name": "Tiny",
    "general.license": "apache-2.0",
    "llama.block_count": 2,
    "llama.context_length": 2048,
    "llama.embedding_length": 64,
    "llama.feed_forward_length": 96,
    "llama.attention.head_count": 4,
    "llama.attention.head_count_kv": 2,
    "llama.attention.layer_norm_rms_epsilon": 1e-5,
    "llama.rope.freq_base": 10000.0,
    "tokenizer.ggml.model": "gpt2",
    "tokenizer.ggml.pre": "smollm",
    "tokenizer.ggml.merges": ["h e", "l l", "he ll"],
    "tokenizer.ggml.bos_token_id": 0,
    "tokenizer.ggml.eos_token_id": 1,
    "tokenizer.chat_template": "{% for m in messages %}{{ m.content }}{% endfor %}",
}


def _write_tiny(path: Path, kinds: Mapping[str, str], metadata: Mapping[str, Any]) -> None:
    """Write a Llama of random weights. kinds: tensor types by the name's last part, or `*`."""
    tokens, types = _tiny_vocabulary()
    fields = TINY | {"tokenizer.ggml.tokens": tokens, "tokenizer.ggml.token_type": types}
    fields |= {key.replace("__", "."): value for key, value in metadata.items()}
    writer = gguf.GGUFWriter(path, fields.pop("general.architecture"))
    for key, value in fields.items():
        if value is not None:
            _add(writer, key, value)
    random = np.random.default_rng(5)
    for name, shape in _tiny_shapes(len(tokens), tied="output" not in kinds).items():
        part = name.removesuffix(".weight").split(".")[-1]
        kind = "F32" if len(shape) == 1 else kinds.get(part, kinds.get("*", "Q4_1"))
        values = random.standard_normal(shape) / np.sqrt(shape[-1]) + (len(shape) == 1)
        quantised = gguf.GGMLQuantizationType[kind]
        data = gguf.quantize(values.astype(np.float32), quantised)
        writer.add_tensor(name, data, raw_dtype=quantised)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _add(writer: Any, key: str, value: Any) -> None:
    adders = {str: writer.add_string, int: writer.add_uint32, float: writer.add_float32}
    adders |= {list: writer.add_array, bool: writer.add_bool}
    adders[type(value)](key, value)


def _tiny_vocabulary() -> tuple[list[str], list[int]]:
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    characters = [chr(b) for b in printable] + [chr(0x100 + i) for i in range(256 - len(printable))]
    control = ["<|im_start|>", "<|im_end|>"]
    tokens = [*control, *characters, "he", "ll", "hell"]
    tokens += [f"unused{i}" for i in range(-len(tokens) % 32)]
    return tokens, [3, 3] + [1] * (len(tokens) - 2)


def _tiny_shapes(vocabulary: int, *, tied: bool) -> dict[str, tuple[int, ...]]:
    hidden, inner, cache = TINY["llama.embedding_length"], TINY["llama.feed_forward_length"], 32
    layer = {"attn_norm": (hidden,), "ffn_norm": (hidden,), "attn_q": (hidden, hidden)}
    layer |= {"attn_k": (cache, hidden), "attn_v": (cache, hidden)}
    layer |= {"attn_output": (hidden, hidden), "ffn_gate": (inner, hidden)}
    layer |= {"ffn_up": (inner, hidden), "ffn_down": (hidden, inner)}
    shapes: dict[str, tuple[int, ...]] = {"token_embd.weight": (vocabulary, hidden)}
    for index in range(TINY["llama.block_count"]):
        shapes |= {f"blk.{index}.{name}.weight": shape for name, shape in layer.items()}
    shapes["output_norm.weight"] = (hidden,)
    return shapes if tied else shapes | {"output.weight": (vocabulary, hidden)}


@pytest.fixture(scope="session")
def reference_logits() -> Callable[[Path, list[int]], np.ndarray]:
    """Return a float32 forward pass that shares no code with the engine or with the importer."""
    return _forward


def _forward(path: Path, ids: list[int]) -> np.ndarray:
    """Compute the logits after each token: float32 [S, V]."""
    reader = gguf.GGUFReader(path)
    fields = {k: field.contents() for k, field in reader.fields.items() if k.startswith("llama.")}
    weights = {
        t.name: gguf.dequantize(t.data.view(np.ndarray), t.tensor_type).astype(np.float32)
        for t in reader.tensors
    }
    epsilon = fields["llama.attention.layer_norm_rms_epsilon"]

    def norm(x: np.ndarray, name: str) -> np.ndarray:
        return x / np.sqrt((x * x).mean(-1, keepdims=True) + epsilon) * weights[name]

    h = weights["token_embd.weight"][ids]
    for index in range(fields["llama.block_count"]):
        layer = {
            name.split(".")[2]: w for name, w in weights.items() if name.startswith(f"blk.{index}.")
        }
        h = h + _attention(norm(h, f"blk.{index}.attn_norm.weight"), layer, fields)
        x = norm(h, f"blk.{index}.ffn_norm.weight")
        gate = x @ layer["ffn_gate"].T
        h = h + (gate / (1 + np.exp(-gate)) * (x @ layer["ffn_up"].T)) @ layer["ffn_down"].T
    head = weights.get("output.weight", weights["token_embd.weight"])
    return norm(h, "output_norm.weight") @ head.T


def _attention(
    x: np.ndarray, layer: Mapping[str, np.ndarray], fields: dict[str, Any]
) -> np.ndarray:
    heads = fields["llama.attention.head_count"]
    groups = fields["llama.attention.head_count_kv"]
    length, size = len(x), layer["attn_q"].shape[0] // heads
    stretch = fields.get("llama.rope.scaling.factor", 1.0)
    frequencies = fields["llama.rope.freq_base"] ** (-np.arange(0, size, 2) / size)
    turn = np.exp(1j * np.arange(length)[:, None] / stretch * frequencies)

    def split(name: str, count: int) -> np.ndarray:
        return (x @ layer[name].T).reshape(length, count, size).transpose(1, 0, 2)

    def rotate(values: np.ndarray) -> np.ndarray:
        pairs = values[..., 0::2] + 1j * values[..., 1::2]
        turned = pairs * turn
        return np.stack([turned.real, turned.imag], -1).reshape(values.shape).astype(np.float32)

    query = rotate(split("attn_q", heads))
    key, value = rotate(split("attn_k", groups)), split("attn_v", groups)
    key, value = (np.repeat(part, heads // groups, axis=0) for part in (key, value))
    scores = query @ key.transpose(0, 2, 1) / np.sqrt(size)
    scores = np.where(np.tri(length, dtype=bool), scores, -np.inf)
    shares = np.exp(scores - scores.max(-1, keepdims=True))
    shares /= shares.sum(-1, keepdims=True)
    mixed = (shares @ value).transpose(1, 0, 2).reshape(length, heads * size)
    return mixed @ layer["attn_output"].T
