"""What a model's own inputs tell: which parts its loss depends on, and how columns correlate."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gateway.models.blocks import unpack, values
from gateway.models.compress.floats import FloatModel, Floats, matrices
from gateway.models.compress.network import Network, network, torch
from gateway.models.compress.pruning import Importance
from gateway.models.compress.quantising import Inputs, compensated, inputs
from gateway.models.gguf import Tensor

Told = Callable[[int, int], None]
# The matrices that share an input with the one that it is watched for.
_SHARED = {"attn_k": "attn_q", "attn_v": "attn_q", "ffn_up": "ffn_gate"}


@dataclass(frozen=True, slots=True)
class Quantised:
    """tensors: the quantised ones by name. weights: all, as they are then computed with."""

    tensors: dict[str, Tensor]
    weights: Floats


def importance(model: Network, rows: NDArray[np.int64], *, batch: int, told: Told) -> Importance:
    """Sum the squared gradients of a gate on each group of heads and each channel, by batches.

    rows: int64 [N, S]. told: hears how many rows of all are done.
    """
    a = model.architecture
    device = model.weights["token_embd.weight"].device
    groups = torch.ones(a.layers, a.kv_heads, device=device, requires_grad=True)
    channels = torch.ones(a.layers, a.feed_forward, device=device, requires_grad=True)
    sums = [np.zeros(gates.shape) for gates in (groups, channels)]

    def gated(name: str, x: Any) -> Any:
        layer = int(name.split(".")[1])
        if name.endswith("attn_output"):
            parted = x.view(*x.shape[:2], a.kv_heads, -1)
            return (parted * groups[layer, :, None]).flatten(-2)
        return x * channels[layer] if name.endswith("ffn_down") else x

    for begin in range(0, len(rows), batch):
        ids = torch.tensor(rows[begin : begin + batch], device=device)
        loss = _loss(model.logits(ids, watch=gated), ids)
        gradients = torch.autograd.grad(loss, (groups, channels))
        for place, gradient in enumerate(gradients):
            sums[place] += np.square(gradient.double().cpu().numpy())
        told(min(begin + batch, len(rows)), len(rows))
    return Importance(*sums)


def quantised(
    model: FloatModel, rows: NDArray[np.int64], *, device: str, batch: int, told: Told
) -> Quantised:
    """Quantise layer by layer, each against the inputs that the quantised ones before it make."""
    running = network(model.architecture, model.weights, device=device)
    current = dict(running.weights)
    tensors: dict[str, Tensor] = {}
    with torch.no_grad():
        parts = [torch.tensor(part, device=device) for part in _batches(rows, batch)]
        streams = [running.embedded(ids) for ids in parts]
        for layer in range(model.architecture.layers):
            stage = Network(model.architecture, current)
            seen = _inputs(stage, layer, streams)
            for name in matrices(layer):
                part = name.split(".")[2]
                given = seen[_SHARED.get(part, part)]
                tensors[name] = compensated(name, model.weights[name], given)
                current[name] = torch.tensor(values_of(tensors[name]), device=device)
            streams = [stage.layer(layer, x) for x in streams]
            told(layer + 1, model.architecture.layers)
    values = {name: values_of(tensor) for name, tensor in tensors.items()}
    return Quantised(tensors, {**model.weights, **values})


def perplexity(model: Network, ids: NDArray[np.int64], *, length: int) -> float:
    """Return how well a text is predicted, in rows of `length` tokens each."""
    device = model.weights["token_embd.weight"].device
    total, count = 0.0, 0
    with torch.no_grad():
        for begin in range(0, len(ids) - 1, length):
            row = torch.tensor(ids[None, begin : begin + length + 1], device=device)
            total += float(_loss(model.logits(row), row)) * (row.shape[1] - 1)
            count += row.shape[1] - 1
    return float(np.exp(total / count))


def _loss(logits: Any, ids: Any) -> Any:
    """Return the mean surprise of each next token."""
    return torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten())


def _batches(rows: NDArray[np.int64], size: int) -> Iterator[NDArray[np.int64]]:
    for begin in range(0, len(rows), size):
        yield rows[begin : begin + size]


def _inputs(model: Network, layer: int, streams: list[Any]) -> dict[str, Inputs]:
    """Watch the inputs of one layer's matrices, by the part's name: sums of x·xᵀ."""
    sums: dict[str, Any] = {}

    def watched(name: str, x: Any) -> Any:
        part, flat = name.split(".")[2], x.flatten(0, 1).double()
        product = flat.T @ flat
        sums[part] = sums[part] + product if part in sums else product
        return x

    for stream in streams:
        model.layer(layer, stream, watch=watched)
    return {part: inputs(part, total.cpu().numpy()) for part, total in sums.items()}


def values_of(tensor: Tensor) -> NDArray[np.float32]:
    """Multiply a quantised tensor out."""
    return values(unpack(tensor))
