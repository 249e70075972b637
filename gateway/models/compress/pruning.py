"""Structured pruning: whole groups of attention heads and whole channels of the feed-forward.

What is left is a smaller model of the same family that every engine runs without a sparse kernel.
A group is one key and value head with the query heads that share it. Importance is the Fisher
information of a gate on each part (Molchanov et al., CVPR 2019, "Importance Estimation"): what is
left out is what the loss depends on least, layer by layer.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from gateway.models.architecture import Architecture
from gateway.models.blocks import BLOCK
from gateway.models.compress.floats import FloatModel
from gateway.models.errors import CompressionImpossible


@dataclass(frozen=True, slots=True)
class Shape:
    """What each layer keeps. groups: of heads. channels: of the feed-forward."""

    groups: int
    channels: int


@dataclass(frozen=True, slots=True)
class Importance:
    """How much the loss depends on each part. groups: [layers, kv heads]. channels: [layers, F]."""

    groups: NDArray[np.float64]
    channels: NDArray[np.float64]


def require_possible(kept: Shape, of: Architecture) -> None:
    """Check what is to be kept against the model.

    Raises:
        CompressionImpossible: There is less than that, or the engine's blocks would not fill.
    """
    if not 1 <= kept.groups <= of.kv_heads:
        raise CompressionImpossible(f"The model has {of.kv_heads} groups of heads; keep 1 or more.")
    if not BLOCK <= kept.channels <= of.feed_forward or kept.channels % BLOCK:
        raise CompressionImpossible(
            f"The model has {of.feed_forward} channels; keep a multiple of {BLOCK} of them."
        )
    if kept.groups * (of.heads // of.kv_heads) * of.head_dim % BLOCK:
        raise CompressionImpossible(f"{kept.groups} groups of heads do not fill blocks of {BLOCK}.")


def pruned(model: FloatModel, importance: Importance, *, kept: Shape) -> FloatModel:
    """Return the model with the most important parts of each layer.

    Raises:
        CompressionImpossible: As `require_possible`.
    """
    a = model.architecture
    require_possible(kept, a)
    weights = dict(model.weights)
    for layer in range(a.layers):
        groups = _best(importance.groups[layer], kept.groups)
        channels = _best(importance.channels[layer], kept.channels)
        _prune_attention(weights, f"blk.{layer}", groups, a)
        _prune_feed_forward(weights, f"blk.{layer}", channels)
    smaller = replace(
        a,
        heads=kept.groups * (a.heads // a.kv_heads),
        kv_heads=kept.groups,
        feed_forward=kept.channels,
    )
    return replace(model, architecture=smaller, weights=weights)


def _best(importance: NDArray[np.float64], count: int) -> NDArray[np.intp]:
    """Return the places of the most important, in the model's own order."""
    return np.sort(np.argsort(-importance, kind="stable")[:count])


def _prune_attention(
    weights: dict[str, NDArray[np.float32]], layer: str, groups: NDArray[np.intp], a: Architecture
) -> None:
    keys = _rows(groups, a.head_dim)
    queries = _rows(groups, a.head_dim * (a.heads // a.kv_heads))
    for part, rows in (("attn_q", queries), ("attn_k", keys), ("attn_v", keys)):
        for kind in ("weight", "bias"):
            name = f"{layer}.{part}.{kind}"
            if name in weights:
                weights[name] = weights[name][rows]
    name = f"{layer}.attn_output.weight"
    weights[name] = np.ascontiguousarray(weights[name][:, queries])


def _prune_feed_forward(
    weights: dict[str, NDArray[np.float32]], layer: str, channels: NDArray[np.intp]
) -> None:
    for part in ("ffn_gate", "ffn_up"):
        weights[f"{layer}.{part}.weight"] = weights[f"{layer}.{part}.weight"][channels]
    name = f"{layer}.ffn_down.weight"
    weights[name] = np.ascontiguousarray(weights[name][:, channels])


def _rows(groups: NDArray[np.intp], size: int) -> NDArray[np.intp]:
    """Return the rows of these groups, `size` in each."""
    return np.asarray((groups[:, None] * size + np.arange(size)).reshape(-1), np.intp)
