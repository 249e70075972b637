"""Random models of every shape the importer reads, the same for the engine and its reference.

Weights come from a seed and their names, so that what is committed is the reference's logits
alone (tests/vectors/make_shape_vectors.py), and the files are made again where they are needed.
"""

import zlib
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from numpy.typing import NDArray

VOCABULARY = 288
IDS = [int(i) for i in np.random.default_rng(11).integers(2, VOCABULARY, 48)]
# After so many tokens the logits are compared: within and past a prompt's first piece.
LENGTHS = (1, 2, 9, 30, 48)
EPSILON = 1e-5

# What transformers calls the shape, and what the file says of it.
SHAPES: dict[str, dict[str, Any]] = {
    "llama": {"heads": 4, "kv_heads": 2, "head_dim": 16, "rope_base": 10000.0},
    "llama-linear": {
        "heads": 4, "kv_heads": 4, "head_dim": 16, "rope_base": 500000.0, "stretch": 4.0,
    },
    # Mistral's newer models have heads wider than their share of the stream.
    "mistral": {"heads": 4, "kv_heads": 2, "head_dim": 32, "rope_base": 1e6},
    "mistral-window": {
        "heads": 4, "kv_heads": 1, "head_dim": 16, "rope_base": 10000.0, "window": 16,
    },
    "qwen2": {"heads": 4, "kv_heads": 2, "head_dim": 16, "rope_base": 1e6},
    "qwen3": {"heads": 4, "kv_heads": 2, "head_dim": 32, "rope_base": 1e6},
}  # fmt: skip
LAYERS, HIDDEN, INNER, CONTEXT = 2, 64, 96, 2048
TIED = ("qwen2",)

_PARTS = {
    "model.embed_tokens.weight": "token_embd.weight",
    "model.norm.weight": "output_norm.weight",
    "lm_head.weight": "output.weight",
    "input_layernorm.weight": "attn_norm.weight",
    "post_attention_layernorm.weight": "ffn_norm.weight",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj.weight": "attn_output.weight",
    "self_attn.q_norm.weight": "attn_q_norm.weight",
    "self_attn.k_norm.weight": "attn_k_norm.weight",
    "mlp.gate_proj.weight": "ffn_gate.weight",
    "mlp.up_proj.weight": "ffn_up.weight",
    "mlp.down_proj.weight": "ffn_down.weight",
}


def family(shape: str) -> str:
    """Return the shape's family: llama, mistral, qwen2 or qwen3."""
    return shape.partition("-")[0]


def weights(shape: str) -> dict[str, NDArray[np.float32]]:
    """Return the weights by transformers' names, float32."""
    return {name: _random(shape, name, size) for name, size in _sizes(shape).items()}


def write(path: Path, shape: str, *, kind: str = "F32") -> Path:
    """Write the model as GGUF, laid out as llama.cpp's converter lays it out."""
    own = SHAPES[shape]
    name = "llama" if family(shape) == "mistral" else family(shape)
    writer = gguf.GGUFWriter(path, name)
    numbers: dict[str, int | float] = {
        "block_count": LAYERS,
        "context_length": CONTEXT,
        "embedding_length": HIDDEN,
        "feed_forward_length": INNER,
        "attention.head_count": own["heads"],
        "attention.head_count_kv": own["kv_heads"],
        "attention.key_length": own["head_dim"],
        "attention.value_length": own["head_dim"],
        "attention.layer_norm_rms_epsilon": EPSILON,
        "rope.freq_base": own["rope_base"],
    }
    if "stretch" in own:
        writer.add_string("llama.rope.scaling.type", "linear")
        numbers["rope.scaling.factor"] = own["stretch"]
    if "window" in own:
        numbers["attention.sliding_window"] = own["window"]
    for key, value in numbers.items():
        add = writer.add_uint32 if isinstance(value, int) else writer.add_float32
        add(f"{name}.{key}", value)
    _write_vocabulary(writer)
    quantised = gguf.GGMLQuantizationType[kind]
    for theirs, value in weights(shape).items():
        data = _permuted(theirs, value, own) if name == "llama" else value
        matrix = value.ndim == 2
        writer.add_tensor(
            _renamed(theirs),
            gguf.quantize(data, quantised) if matrix else data,
            raw_dtype=quantised if matrix else gguf.GGMLQuantizationType.F32,
        )
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _sizes(shape: str) -> dict[str, tuple[int, ...]]:
    own = SHAPES[shape]
    queries, cache = own["heads"] * own["head_dim"], own["kv_heads"] * own["head_dim"]
    layer: dict[str, tuple[int, ...]] = {
        "input_layernorm.weight": (HIDDEN,),
        "post_attention_layernorm.weight": (HIDDEN,),
        "self_attn.q_proj.weight": (queries, HIDDEN),
        "self_attn.k_proj.weight": (cache, HIDDEN),
        "self_attn.v_proj.weight": (cache, HIDDEN),
        "self_attn.o_proj.weight": (HIDDEN, queries),
        "mlp.gate_proj.weight": (INNER, HIDDEN),
        "mlp.up_proj.weight": (INNER, HIDDEN),
        "mlp.down_proj.weight": (HIDDEN, INNER),
    }
    if family(shape) == "qwen2":
        layer |= {"self_attn.q_proj.bias": (queries,), "self_attn.k_proj.bias": (cache,)}
        layer |= {"self_attn.v_proj.bias": (cache,)}
    if family(shape) == "qwen3":
        layer |= {f"self_attn.{part}_norm.weight": (own["head_dim"],) for part in "qk"}
    sizes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (VOCABULARY, HIDDEN)}
    for index in range(LAYERS):
        sizes |= {f"model.layers.{index}.{name}": size for name, size in layer.items()}
    sizes["model.norm.weight"] = (HIDDEN,)
    if shape not in TIED:
        sizes["lm_head.weight"] = (VOCABULARY, HIDDEN)
    return sizes


def _random(shape: str, name: str, size: tuple[int, ...]) -> NDArray[np.float32]:
    random = np.random.default_rng(zlib.crc32(f"{shape}/{name}".encode()))
    values = random.standard_normal(size)
    if name.endswith("norm.weight"):
        return np.exp(values / 4).astype(np.float32)
    # Scores far from zero, so that an attention that looks elsewhere would show.
    spread = 2.5 if "q_proj" in name or "k_proj" in name else 1.0
    return (values * spread / np.sqrt(size[-1])).astype(np.float32)


def _renamed(name: str) -> str:
    if name in _PARTS:
        return _PARTS[name]
    _, _, index, rest = name.split(".", 3)
    stem, _, suffix = rest.rpartition(".")
    return f"blk.{index}.{_PARTS.get(rest) or f'{_PARTS[stem]}.{suffix}'}"


def _permuted(name: str, value: NDArray[np.float32], own: dict[str, Any]) -> NDArray[np.float32]:
    """Put the rows that are rotated together side by side, as the converter does for Llamas."""
    count = {"q_proj": own["heads"], "k_proj": own["kv_heads"]}
    heads = next((n for part, n in count.items() if part in name), None)
    if heads is None:
        return value
    split = value.reshape(heads, 2, own["head_dim"] // 2, *value.shape[1:])
    return split.swapaxes(1, 2).reshape(value.shape)


def _write_vocabulary(writer: Any) -> None:
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    tokens = ["<|im_start|>", "<|im_end|>", *map(chr, printable)]
    tokens += [chr(0x100 + i) for i in range(256 - len(printable))]
    tokens += ["he"]
    tokens += [f"unused{i}" for i in range(VOCABULARY - len(tokens))]
    writer.add_string("tokenizer.ggml.model", "gpt2")
    writer.add_string("tokenizer.ggml.pre", "smollm")
    writer.add_array("tokenizer.ggml.tokens", tokens)
    writer.add_array("tokenizer.ggml.token_type", [3, 3] + [1] * (VOCABULARY - 2))
    writer.add_array("tokenizer.ggml.merges", ["h e"])
    writer.add_uint32("tokenizer.ggml.bos_token_id", 0)
    writer.add_uint32("tokenizer.ggml.eos_token_id", 1)
    writer.add_string(
        "tokenizer.chat_template", "{% for m in messages %}{{ m.content }}{% endfor %}"
    )
