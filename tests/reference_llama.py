"""A Llama's forward pass in NumPy, float32, sharing no code with the engine or the importer."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from numpy.typing import NDArray


def logits(path: Path, ids: list[int]) -> NDArray[np.float32]:
    """Compute the logits after each token: float32 [S, V]."""
    reader = gguf.GGUFReader(path)
    fields = {k: field.contents() for k, field in reader.fields.items() if k.startswith("llama.")}
    weights = {
        t.name: gguf.dequantize(t.data.view(np.ndarray), t.tensor_type).astype(np.float32)
        for t in reader.tensors
    }
    fields["frequency factors"] = weights.pop("rope_freqs.weight", 1.0)
    epsilon = fields["llama.attention.layer_norm_rms_epsilon"]

    def norm(x: NDArray[np.float32], name: str) -> NDArray[np.float32]:
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
    x: NDArray[np.float32], layer: Mapping[str, NDArray[np.float32]], fields: dict[str, Any]
) -> NDArray[np.float32]:
    heads = fields["llama.attention.head_count"]
    groups = fields["llama.attention.head_count_kv"]
    length, size = len(x), layer["attn_q"].shape[0] // heads
    stretch = fields.get("llama.rope.scaling.factor", 1.0)
    frequencies = fields["llama.rope.freq_base"] ** (-np.arange(0, size, 2) / size)
    frequencies = frequencies / fields["frequency factors"]
    turn = np.exp(1j * np.arange(length)[:, None] / stretch * frequencies)

    def split(name: str, count: int) -> NDArray[np.float32]:
        return (x @ layer[name].T).reshape(length, count, size).transpose(1, 0, 2)

    def rotate(values: NDArray[np.float32]) -> NDArray[np.float32]:
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
