"""The numbers that shape a Llama model, read from GGUF metadata and held against its tensors."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gateway.models.errors import ModelError, ModelUnsupported
from gateway.models.gguf import GgufFile

SUPPORTED = ("llama",)
# An order above the largest published models of this shape; more is damage.
LAYERS_LIMIT = 1024
SIZE_LIMIT = 1 << 20
CONTEXT_LIMIT = 1 << 20

OPTIONAL_TENSORS = ("output.weight", "rope_freqs.weight")


@dataclass(frozen=True, slots=True)
class Architecture:
    """A Llama: grouped-query attention, rotary positions, RMS norms, a gated SiLU feed-forward.

    Sizes in elements. rope_base: base of the rotary frequencies. rope_stretch: what positions are
    divided by. epsilon: of the RMS norms.
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


def read(file: GgufFile) -> Architecture:
    """Read the architecture and check that every tensor it needs is there, in its shape.

    Raises:
        ModelUnsupported: Another architecture, or a variation that is not computed here.
        ModelError: A number or a tensor is missing or contradicts another.
    """
    metadata = file.metadata
    name = metadata.get("general.architecture")
    if name not in SUPPORTED:
        raise ModelUnsupported(
            f"architecture {name!r} is not supported; supported: {', '.join(SUPPORTED)}."
        )
    _require_plain_llama(metadata)
    heads = _count(metadata, "llama.attention.head_count", limit=SIZE_LIMIT)
    hidden = _count(metadata, "llama.embedding_length", limit=SIZE_LIMIT)
    architecture = Architecture(
        name="llama",
        layers=_count(metadata, "llama.block_count", limit=LAYERS_LIMIT),
        hidden=hidden,
        feed_forward=_count(metadata, "llama.feed_forward_length", limit=SIZE_LIMIT),
        heads=heads,
        kv_heads=_count(metadata, "llama.attention.head_count_kv", limit=SIZE_LIMIT, default=heads),
        head_dim=_head_dim(metadata, hidden // heads),
        vocab_size=_vocab_size(file),
        context_length=_count(metadata, "llama.context_length", limit=CONTEXT_LIMIT),
        rope_base=_positive(metadata, "llama.rope.freq_base", default=10000.0),
        rope_stretch=_rope_stretch(metadata),
        epsilon=_positive(metadata, "llama.attention.layer_norm_rms_epsilon"),
    )
    if heads % architecture.kv_heads:
        raise ModelError("llama.attention.head_count is no multiple of head_count_kv.")
    _require_tensors(file, architecture)
    return architecture


def _require_plain_llama(metadata: Mapping[str, Any]) -> None:
    if metadata.get("llama.expert_count"):
        raise ModelUnsupported("mixtures of experts (llama.expert_count) are not supported.")
    if metadata.get("llama.attention.sliding_window"):
        raise ModelUnsupported("sliding-window attention is not supported.")


def _head_dim(metadata: Mapping[str, Any], natural: int) -> int:
    """Return the one size of keys, values and rotation; models that tell them apart are refused."""
    size = _count(metadata, "llama.attention.key_length", limit=SIZE_LIMIT, default=natural)
    for key in ("llama.attention.value_length", "llama.rope.dimension_count"):
        if _count(metadata, key, limit=SIZE_LIMIT, default=size) != size:
            raise ModelUnsupported(f"{key} differs from the key length {size}.")
    if size % 8:
        raise ModelUnsupported(f"a head size of {size} is not supported.")
    return size


def _vocab_size(file: GgufFile) -> int:
    embedding = file.tensors.get("token_embd.weight")
    if embedding is None:
        raise ModelError("tensor token_embd.weight is missing.")
    return embedding.shape[0]


def _rope_stretch(metadata: Mapping[str, Any]) -> float:
    kind = metadata.get("llama.rope.scaling.type", "none")
    older = _positive(metadata, "llama.rope.scale_linear", default=1.0)
    if kind == "none":
        return older
    if kind == "linear":
        return _positive(metadata, "llama.rope.scaling.factor", default=older)
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
    for index in range(a.layers):
        shapes |= {f"blk.{index}.{name}.weight": shape for name, shape in layer.items()}
    return shapes


def _count(metadata: Mapping[str, Any], key: str, *, limit: int, default: int | None = None) -> int:
    value = metadata.get(key, default)
    if value is None:
        raise ModelError(f"{key} is missing.")
    if not isinstance(value, int) or isinstance(value, bool) or not 0 < value <= limit:
        raise ModelUnsupported(f"{key} is not one whole number from 1 to {limit}.")
    return value


def _positive(metadata: Mapping[str, Any], key: str, *, default: float | None = None) -> float:
    value = metadata.get(key, default)
    if value is None:
        raise ModelError(f"{key} is missing.")
    if not isinstance(value, int | float) or not 0 < value < float("inf"):
        raise ModelError(f"{key} is not a positive number.")
    return float(value)
