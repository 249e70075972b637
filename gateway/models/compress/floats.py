"""A GGUF model as floating-point matrices, and back: the form that compression works in.

Everything stays in memory. What is not computed with, tokeniser and chat template, is carried over
as the file has it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from gguf.constants import GGMLQuantizationType
from gguf.quants import dequantize
from numpy.typing import NDArray

from gateway.models import architecture
from gateway.models.architecture import Architecture
from gateway.models.errors import ModelUnsupported
from gateway.models.gguf import GgufFile, Tensor

Floats = dict[str, NDArray[np.float32]]
# What is never compressed: looked up a row at a time, and worth most of a small model's quality.
KEPT = ("token_embd.weight", "output.weight")


@dataclass(frozen=True, slots=True)
class FloatModel:
    """A model's shape, its weights as float32, and the file that it came from.

    weights: by the file's names; matrices [outputs, inputs].
    """

    architecture: Architecture
    weights: Floats
    source: GgufFile


def read(file: GgufFile) -> FloatModel:
    """Multiply a file's weights out.

    Raises:
        ModelUnsupported: Its shape, or a type of its tensors, is not one that is computed here.
        ModelError: It is damaged.
    """
    shape = architecture.read(file)
    if shape.window is not None:
        raise ModelUnsupported("models with a sliding window are not compressed here.")
    return FloatModel(shape, {n: _floats(t) for n, t in file.tensors.items()}, file)


def written(model: FloatModel, *, quantised: Mapping[str, Tensor] | None = None) -> GgufFile:
    """Return the model as a file in memory that `importing` takes.

    Embedding and head stay as the source has them. quantised: tensors to use in place of the
    weights; the others become F32.
    """
    shape, name = model.architecture, model.architecture.name
    numbers = {
        "block_count": shape.layers,
        "feed_forward_length": shape.feed_forward,
        "attention.head_count": shape.heads,
        "attention.head_count_kv": shape.kv_heads,
        "attention.key_length": shape.head_dim,
        "attention.value_length": shape.head_dim,
        "rope.dimension_count": shape.head_dim,
    }
    tensors = {key: _stored(key, value) for key, value in model.weights.items()}
    tensors |= {key: model.source.tensors[key] for key in KEPT if key in tensors}
    tensors |= quantised or {}
    metadata = dict(model.source.metadata) | {f"{name}.{k}": v for k, v in numbers.items()}
    return replace(model.source, metadata=metadata, tensors=tensors)


def matrices(layer: int) -> list[str]:
    """Name the matrices of a layer that are pruned and quantised, in the order of their use."""
    parts = ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down")
    return [f"blk.{layer}.{part}.weight" for part in parts]


def _floats(tensor: Tensor) -> NDArray[np.float32]:
    kind = GGMLQuantizationType[tensor.kind]
    try:
        values: NDArray[Any] = dequantize(tensor.data.reshape(tensor.shape[0], -1), kind)
    except NotImplementedError:
        raise ModelUnsupported(f"tensor {tensor.name} is {tensor.kind}.") from None
    return np.ascontiguousarray(values, np.float32).reshape(tensor.shape)


def _stored(name: str, value: NDArray[np.float32]) -> Tensor:
    data = np.ascontiguousarray(value, "<f4").reshape(-1).view(np.uint8)
    return Tensor(name, "F32", value.shape, data)
