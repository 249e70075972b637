"""The numbers that shape a Llama-like model, read from GGUF metadata, held against its tensors."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gateway.models.errors import ModelError, ModelUnsupported
from gateway.models.gguf import GgufFile

# Mistral's files call themselves `llama`.
SUPPORTED = ("llama", "qwen2", "qwen3")
# The converters permute query and key rows of these alone, so that pairs to rotate stand together.
INTERLEAVED = ("llama",)
# An order above the largest published models of this shape; more is damage.
LAYERS_LIMIT = 1024
SIZE_LIMIT = 1 << 20
CONTEXT_LIMIT = 1 << 20

OPTIONAL_TENSORS = ("output.weight", "rope_freqs.weight")
STATE_BYTES = 4
# GroupQueryAttention takes no other head sizes.
HEAD_MULTIPLE = 16


@dataclass(frozen=True, slots=True)
class Architecture:
    """A Llama: grouped-query attention, rotary positions, RMS norms, a gated SiLU feed-forward.

    Sizes in elements. rope_base: base of the rotary frequencies. rope_stretch: what positions are
    divided by. epsilon: of the RMS norms. interleaved: whether rotated pairs stand together.
    biased: queries, keys and values have biases (Qwen2). head_norms: queries and keys are
    normalised head by head (Qwen3). window: how many positions attention sees, None for all.
    """

    name: str
    layers: int
    hidden: int
    feed_forward: int
    heads: int
    kv_heads: int
    head_dim: int
    vocab_size: int
    context_length: int
    rope_base: float
    rope_stretch: float
    epsilon: float
    interleaved: bool
    biased: bool
    head_norms: bool
    window: int | None

    def state_bytes(self, tokens: int) -> int:
        """Return what keys and values of so many tokens take in memory: float32, all layers."""
        return 2 * self.layers * self.kv_heads * self.head_dim * STATE_BYTES * tokens


def read(file: GgufFile) -> Architecture:
    """Read the architecture and check that every tensor it needs is there, in its shape.

    Raises:
        ModelUnsupported: Another architecture, or a variation that is not computed here.
        ModelError: A number or a tensor is missing or contradicts another.
    """
    name = file.metadata.get("general.architecture")
    if name not in SUPPORTED:
        raise ModelUnsupported(
            f"architecture {name!r} is not supported; supported: {', '.join(SUPPORTED)}."
        )
    numbers = _Numbers(file.metadata, name)
    if numbers.get("expert_count"):
        raise ModelUnsupported(f"mixtures of experts ({name}.expert_count) are not supported.")
    heads = numbers.count("attention.head_count")
    hidden = numbers.count("embedding_length")
    architecture = Architecture(
        name=name,
        layers=numbers.count("block_count", limit=LAYERS_LIMIT),
        hidden=hidden,
        feed_forward=numbers.count("feed_forward_length"),
        heads=heads,
        kv_heads=numbers.count("attention.head_count_kv", default=heads),
        head_dim=_head_dim(numbers, hidden // heads),
        vocab_size=_vocab_size(file),
        context_length=numbers.count("context_length", limit=CONTEXT_LIMIT),
        rope_base=numbers.positive("rope.freq_base", default=10000.0),
        rope_stretch=_rope_stretch(numbers),
        epsilon=numbers.positive("attention.layer_norm_rms_epsilon"),
        interleaved=name in INTERLEAVED,
        biased=name == "qwen2" or "blk.0.attn_q.bias" in file.tensors,
        head_norms=name == "qwen3",
        window=_window(numbers),
    )
    if heads % architecture.kv_heads:
        raise ModelError(f"{name}.attention.head_count is no multiple of head_count_kv.")
    _require_tensors(file, architecture)
    return architecture


@dataclass(frozen=True, slots=True)
class _Numbers:
    """An architecture's own metadata, whose keys begin with its name."""

    metadata: Mapping[str, Any]
    name: str

    def get(self, key: str, default: Any = None) -> Any:
        return self.metadata.get(f"{self.name}.{key}", default)

    def count(self, key: str, *, limit: int = SIZE_LIMIT, default: int | None = None) -> int:
        value = self.get(key, default)
        if value is None:
            raise ModelError(f"{self.name}.{key} is missing.")
        if not isinstance(value, int) or isinstance(value, bool) or not 0 < value <= limit:
            raise ModelUnsupported(f"{self.name}.{key} is not one whole number from 1 to {limit}.")
        return value

    def positive(self, key: str, *, default: float | None = None) -> float:
        value = self.get(key, default)
        if value is None:
            raise ModelError(f"{self.name}.{key} is missing.")
        if not isinstance(value, int | float) or not 0 < value < float("inf"):
            raise ModelError(f"{self.name}.{key} is not a positive number.")
        return float(value)


def _window(numbers: _Numbers) -> int | None:
    """Return the sliding window, where every layer has it; patterns of layers are refused."""
    if not numbers.get("attention.sliding_window"):
        return None
    if numbers.get("attention.sliding_window_pattern") is not None:
        raise ModelUnsupported("layers that differ in their sliding window are not supported.")
    return numbers.count("attention.sliding_window")


def _head_dim(numbers: _Numbers, natural: int) -> int:
    """Return the one size of keys, values and rotation; models that tell them apart are refused."""
    size = numbers.count("attention.key_length", default=natural)
    for key in ("attention.value_length", "rope.dimension_count"):
        if numbers.count(key, default=size) != size:
            raise ModelUnsupported(f"{numbers.name}.{key} differs from the key length {size}.")
    if size % HEAD_MULTIPLE:
        raise ModelUnsupported(f"a head size of {size} is not supported.")
    return size


def _vocab_size(file: GgufFile) -> int:
    embedding = file.tensors.get("token_embd.weight")
    if embedding is None:
        raise ModelError("tensor token_embd.weight is missing.")
    return embedding.shape[0]


def _rope_stretch(numbers: _Numbers) -> float:
    kind = numbers.get("rope.scaling.type", "none")
    older = numbers.positive("rope.scale_linear", default=1.0)
    if kind == "none":
        return older
    if kind == "linear":
        return numbers.positive("rope.scaling.factor", default=older)
    raise ModelUnsupported(f"rotary scaling {kind!r} is not supported.")


def _require_tensors(file: GgufFile, architecture: Architecture) -> None:
    expected = _shapes(architecture)
    for name, shape in expected.items():
        tensor = file.tensors.get(name)
        if tensor is None and name in OPTIONAL_TENSORS:
            continue
        if tensor is None:
            raise ModelError(f"tensor {name} is missing.")
        if tensor.shape != shape:
            raise ModelError(f"tensor {name} has shape {tensor.shape}, expected {shape}.")
    unknown = next((name for name in file.tensors if name not in expected), None)
    if unknown is not None:
        raise ModelUnsupported(f"tensor {unknown} belongs to a variation not supported here.")


def _shapes(a: Architecture) -> dict[str, tuple[int, ...]]:
    attention, cache = a.heads * a.head_dim, a.kv_heads * a.head_dim
    shapes: dict[str, tuple[int, ...]] = {
        "token_embd.weight": (a.vocab_size, a.hidden),
        "output_norm.weight": (a.hidden,),
        "output.weight": (a.vocab_size, a.hidden),
        "rope_freqs.weight": (a.head_dim // 2,),
    }
    layer: dict[str, tuple[int, ...]] = {
        "attn_norm": (a.hidden,),
        "attn_q": (attention, a.hidden),
        "attn_k": (cache, a.hidden),
        "attn_v": (cache, a.hidden),
        "attn_output": (a.hidden, attention),
        "ffn_norm": (a.hidden,),
        "ffn_gate": (a.feed_forward, a.hidden),
        "ffn_up": (a.feed_forward, a.hidden),
        "ffn_down": (a.hidden, a.feed_forward),
    }
    layer = {f"{name}.weight": shape for name, shape in layer.items()}
    if a.biased:
        layer |= {f"attn_{part}.bias": layer[f"attn_{part}.weight"][:1] for part in "qkv"}
    if a.head_norms:
        layer |= {f"attn_{part}_norm.weight": (a.head_dim,) for part in "qk"}
    for index in range(a.layers):
        shapes |= {f"blk.{index}.{name}": shape for name, shape in layer.items()}
    return shapes
