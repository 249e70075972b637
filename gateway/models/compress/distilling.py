"""Distillation: a pruned model learns to predict what the full one predicts, token by token.

The loss is the Kullback-Leibler divergence from teacher to student over the whole vocabulary
(Hinton et al., 2015, at temperature 1). Embedding and head stay as they are: they are shared, and
kept in the file's own type. A run is a sequence of steps that can stop after any and go on.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gateway.models.compress.floats import KEPT, FloatModel, Floats
from gateway.models.compress.network import Network, network, torch

BETAS = (0.9, 0.95)
WEIGHT_DECAY = 0.01
CLIP = 1.0
WARM_UP = 0.05
# The learning rate's last value, as a share of its highest.
FLOOR = 0.1


@dataclass(frozen=True, slots=True)
class Course:
    """How long and how fast. batch: rows a step. rate: the highest learning rate."""

    steps: int
    batch: int
    rate: float = 6e-4
    seed: int = 0


@dataclass(slots=True)
class State:
    """Where a run stands: the student's weights, and AdamW's two moments of each."""

    step: int
    weights: dict[str, Any]
    first: dict[str, Any] = field(default_factory=dict)
    second: dict[str, Any] = field(default_factory=dict)

    def arrays(self) -> Floats:
        """Return everything as arrays, to be kept."""
        groups = {"weights": self.weights, "first": self.first, "second": self.second}
        return {
            f"{group}/{name}": tensor.detach().cpu().numpy()
            for group, tensors in groups.items()
            for name, tensor in tensors.items()
        }

    @staticmethod
    def restored(step: int, arrays: Floats, *, device: str) -> "State":
        """Return the state that `arrays` told."""
        groups: dict[str, dict[str, Any]] = {"weights": {}, "first": {}, "second": {}}
        for path, value in arrays.items():
            group, _, name = path.partition("/")
            groups[group][name] = torch.tensor(value, device=device)
        return State(step, **groups)


def begun(student: FloatModel, *, device: str) -> State:
    """Return the state before the first step."""
    weights = {
        name: torch.tensor(value, device=device)
        for name, value in student.weights.items()
        if name not in KEPT and name != "rope_freqs.weight"
    }
    zeros = {name: torch.zeros_like(value) for name, value in weights.items()}
    return State(0, weights, zeros, {name: value.clone() for name, value in zeros.items()})


def distilled(
    state: State,
    *,
    teacher: Network,
    student: FloatModel,
    rows: NDArray[np.int64],
    course: Course,
    told: Callable[[State, float], None],
) -> FloatModel:
    """Run what is left of the course and return the student.

    rows: int64 [N, S]. told: hears each step's state and divergence in nats, and may keep it.
    """
    device = teacher.weights["token_embd.weight"].device
    fixed = {n: teacher.weights[n] for n in (*KEPT, "rope_freqs.weight") if n in teacher.weights}
    for order in _orders(len(rows), course, after=state.step):
        ids = torch.tensor(rows[order], device=device)
        leaves = {name: value.requires_grad_() for name, value in state.weights.items()}
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            with torch.no_grad():
                wanted = teacher.logits(ids)
            predicted = Network(student.architecture, {**fixed, **leaves}).logits(ids)
        loss = _divergence(wanted, predicted)
        gradients = torch.autograd.grad(loss, list(leaves.values()))
        _step(state, dict(zip(leaves, gradients, strict=True)), course)
        told(state, float(loss.detach()))
    weights = {name: value.detach().cpu().numpy() for name, value in state.weights.items()}
    return FloatModel(student.architecture, {**student.weights, **weights}, student.source)


def teacher(model: FloatModel, *, device: str) -> Network:
    """Return the full model, to learn from."""
    return network(model.architecture, model.weights, device=device)


def _orders(count: int, course: Course, *, after: int) -> Iterator[NDArray[np.int64]]:
    """Draw each step's rows, by the step alone: a resumed run sees what it would have seen."""
    for step in range(after, course.steps):
        drawn = np.random.default_rng([course.seed, step])
        yield drawn.choice(count, min(course.batch, count), replace=False)


def _divergence(wanted: Any, predicted: Any) -> Any:
    """Return the mean divergence of all positions, in nats."""
    functional = torch.nn.functional
    return functional.kl_div(
        functional.log_softmax(predicted.flatten(0, 1), -1),
        functional.log_softmax(wanted.flatten(0, 1), -1),
        log_target=True,
        reduction="batchmean",
    )


def _step(state: State, gradients: dict[str, Any], course: Course) -> None:
    """Move the weights: AdamW, gradients clipped together (Loshchilov and Hutter, 2019)."""
    rate = _rate(state.step, course)
    state.step += 1
    norm = math.sqrt(sum(float(g.float().pow(2).sum()) for g in gradients.values()))
    scale = min(1.0, CLIP / (norm + 1e-9))
    fade = [1 - beta**state.step for beta in BETAS]
    with torch.no_grad():
        for name, gradient in gradients.items():
            weight, first, second = state.weights[name], state.first[name], state.second[name]
            first.lerp_(gradient.float() * scale, 1 - BETAS[0])
            second.lerp_((gradient.float() * scale).square(), 1 - BETAS[1])
            if weight.ndim > 1:
                weight.mul_(1 - rate * WEIGHT_DECAY)
            weight.sub_(rate * (first / fade[0]) / ((second / fade[1]).sqrt() + 1e-8))


def _rate(step: int, course: Course) -> float:
    """Rise linearly, then fall along a cosine to a share of the highest."""
    warm = max(1, round(WARM_UP * course.steps))
    if step < warm:
        return course.rate * (step + 1) / warm
    done = (step - warm) / max(1, course.steps - warm)
    return course.rate * (FLOOR + (1 - FLOOR) * (1 + math.cos(math.pi * done)) / 2)
