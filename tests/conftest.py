"""Models for tests: the reference model, fetched once, and small ones made of random weights."""

import itertools
import json
import mmap
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from hypothesis import HealthCheck, settings

from gateway.models.fetch import fetch
from gateway.models.importing import ImportedModel, import_gguf
from sandbox.engines.onnx import OnnxEngine
from tests.reference_llama import logits

# Where tests find other programs; every other setting in the environment is an operator's, and a
# test that made its own home must not be unlocked with another's key.
FOUND_BY = {"SEALGATE_CLIENTS", "SEALGATE_LLAMA_PYTHON"}
for _name in [name for name in os.environ if name.startswith("SEALGATE_")]:
    if _name not in FOUND_BY:
        del os.environ[_name]

# A commit passes or fails alike at every run: a property's examples follow from its own text, and
# no clock judges them. `--hypothesis-profile=exploring` draws others each time.
UNHURRIED = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("steady", derandomize=True, **UNHURRIED)
settings.register_profile("exploring", **UNHURRIED)
settings.load_profile("steady")

CACHE = Path(__file__).parents[1] / ".sealgate" / "cache"
# The sealed container aligns tensors so (docs/formats/sealed-v1.md).
ALIGNMENT = 64


@pytest.fixture(autouse=True)
def _with_core_files(monkeypatch) -> None:
    """Let a command that runs in this process leave it the core files that other tests look for."""
    for name in ("gateway.cli.main", "gateway.cli.alone"):
        if name in sys.modules:
            monkeypatch.setattr(sys.modules[name], "forbid_dumps", lambda: None)


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
OPTIONAL = {"output.weight": (288, 64), "rope_freqs.weight": (8,)}


def _write_tiny(path: Path, kinds: Mapping[str, str], metadata: Mapping[str, Any]) -> None:
    """Write a Llama of random weights. kinds: tensor types by the name's last part, or `*`;
    the optional tensors are there where they are named in full.
    """
    tokens, types = _tiny_vocabulary()
    fields = TINY | {"tokenizer.ggml.tokens": tokens, "tokenizer.ggml.token_type": types}
    fields |= {key.replace("__", "."): value for key, value in metadata.items()}
    writer = gguf.GGUFWriter(path, fields.pop("general.architecture"))
    for key, value in fields.items():
        if value is not None:
            _add(writer, key, value)
    random = np.random.default_rng(5)
    shapes = _tiny_shapes(len(tokens)) | {n: s for n, s in OPTIONAL.items() if n in kinds}
    for name, shape in shapes.items():
        part = name.removesuffix(".weight").split(".")[-1]
        kind = (
            "F32" if len(shape) == 1 else kinds.get(name) or kinds.get(part, kinds.get("*", "Q4_1"))
        )
        values = random.standard_normal(shape) / np.sqrt(shape[-1])
        # Gains and factors are about 1 and positive.
        values = np.exp(values) if len(shape) == 1 else values
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


def _tiny_shapes(vocabulary: int) -> dict[str, tuple[int, ...]]:
    hidden, inner, cache = TINY["llama.embedding_length"], TINY["llama.feed_forward_length"], 32
    layer = {"attn_norm": (hidden,), "ffn_norm": (hidden,), "attn_q": (hidden, hidden)}
    layer |= {"attn_k": (cache, hidden), "attn_v": (cache, hidden)}
    layer |= {"attn_output": (hidden, hidden), "ffn_gate": (inner, hidden)}
    layer |= {"ffn_up": (inner, hidden), "ffn_down": (hidden, inner)}
    shapes: dict[str, tuple[int, ...]] = {"token_embd.weight": (vocabulary, hidden)}
    for index in range(TINY["llama.block_count"]):
        shapes |= {f"blk.{index}.{name}.weight": shape for name, shape in layer.items()}
    shapes["output_norm.weight"] = (hidden,)
    return shapes


@pytest.fixture(scope="session")
def reference_logits() -> Callable[[Path, list[int]], np.ndarray]:
    """Return a float32 forward pass that shares no code with the engine or with the importer."""
    return logits
