"""Model and optimizer as tensors and plain JSON, and back."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from privacy.training.errors import CheckpointBroken

_PARAMETER = "parameter/"
_OPTIMIZER = "optimizer/"


def taken(
    model: nn.Module, optimizer: torch.optim.Optimizer
) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """Return the state of both: plain JSON, and copies of the tensors on the CPU."""
    tensors = {_PARAMETER + name: value for name, value in trainable(model).items()}
    state = optimizer.state_dict()
    plain: dict[str, Any] = {"groups": state["param_groups"], "values": {}}
    for index, values in state["state"].items():
        for name, value in values.items():
            if isinstance(value, torch.Tensor):
                tensors[f"{_OPTIMIZER}{index}/{name}"] = value.detach().cpu().clone()
            else:
                plain["values"].setdefault(str(index), {})[name] = value
    return plain, tensors


def restore(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    *,
    state: Mapping[str, Any],
    tensors: Mapping[str, torch.Tensor],
) -> None:
    """Give both the state that `taken` returned.

    Raises:
        CheckpointBroken: The model is another one.
    """
    own = {name: p for name, p in model.named_parameters() if p.requires_grad}
    shapes = {_PARAMETER + name: p.shape for name, p in own.items()}
    if shapes != {n: t.shape for n, t in tensors.items() if n.startswith(_PARAMETER)}:
        raise CheckpointBroken("The checkpoint is of another model. Build the same model again.")
    with torch.no_grad():
        for name, parameter in own.items():
            parameter.copy_(tensors[_PARAMETER + name])
    values: dict[int, dict[str, Any]] = {
        int(index): dict(plain) for index, plain in state["values"].items()
    }
    for name, tensor in tensors.items():
        if name.startswith(_OPTIMIZER):
            _, index, key = name.split("/", 2)
            values.setdefault(int(index), {})[key] = tensor
    optimizer.load_state_dict({"state": values, "param_groups": state["groups"]})


def trainable(model: nn.Module) -> dict[str, torch.Tensor]:
    """Return copies of the trainable parameters on the CPU, by name."""
    return {
        name: p.detach().cpu().clone() for name, p in model.named_parameters() if p.requires_grad
    }
