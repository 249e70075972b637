"""The stages of a compression, one after the other, each a model that could be served."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from gateway.models.compress import calibrating, distilling, floats, pruning, quantising
from gateway.models.compress.distilling import Course, State
from gateway.models.compress.floats import FloatModel, Floats, matrices
from gateway.models.compress.network import Network, network
from gateway.models.compress.pruning import Shape
from gateway.models.compress.texts import Text
from gateway.models.gguf import GgufFile


@dataclass(frozen=True, slots=True)
class Plan:
    """What to make. kept: of each layer. calibration: rows for importance and for inputs.

    batch: rows at a time where nothing is learnt. device: PyTorch's name of it.
    """

    kept: Shape
    course: Course
    calibration: int = 64
    batch: int = 4
    device: str = "cpu"


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage's result. perplexity: over the held-out text. parameters: of all tensors."""

    name: str
    file: GgufFile
    perplexity: float
    parameters: int


class Watcher(Protocol):
    """Hears how far a compression is, and keeps what must not be lost."""

    def told(self, stage: str, done: int, whole: int, note: str = "") -> None:
        """Hear that so much of a stage is done."""

    def kept(self, state: State) -> None:
        """Get the state after a step, to keep it or not."""

    def resumed(self, student: FloatModel) -> State | None:
        """Return the state to go on from, if one was kept for this very run."""


def stages(model: FloatModel, text: Text, plan: Plan, *, watcher: Watcher) -> Iterator[Stage]:
    """Yield the model as it is, pruned, distilled, rounded to 4 bits, and compensated for it.

    The last is the one to serve. Each is made when it is asked for, so that one at a time is in
    memory beside the full model.

    Raises:
        CompressionImpossible: The plan does not fit the model.
    """
    pruning.require_possible(plan.kept, model.architecture)
    calibration = text.rows[: plan.calibration]
    yield _stage("full", model.source, model.weights, model, text, plan)
    full = distilling.teacher(model, device=plan.device)
    found = calibrating.importance(
        full, calibration, batch=plan.batch, told=_of(watcher, "importance")
    )
    student = pruning.pruned(model, found, kept=plan.kept)
    yield _float_stage("pruned", student, text, plan)
    student = _distilled(full, student, text, plan, watcher)
    yield _float_stage("distilled", student, text, plan)
    yield _rounded(student, text, plan)
    yield _compensated(student, calibration, text, plan, watcher)


def _distilled(
    full: Network, student: FloatModel, text: Text, plan: Plan, watcher: Watcher
) -> FloatModel:
    if not plan.course.steps:
        return student

    def told(state: State, divergence: float) -> None:
        watcher.told("distilling", state.step, plan.course.steps, f"{divergence:.3f} nat")
        watcher.kept(state)

    return distilling.distilled(
        watcher.resumed(student) or distilling.begun(student, device=plan.device),
        teacher=full,
        student=student,
        rows=text.rows,
        course=plan.course,
        told=told,
    )


def _rounded(student: FloatModel, text: Text, plan: Plan) -> Stage:
    names = [n for layer in range(student.architecture.layers) for n in matrices(layer)]
    tensors = {name: quantising.rounded(name, student.weights[name]) for name in names}
    weights = {**student.weights, **{n: calibrating.values_of(t) for n, t in tensors.items()}}
    file = floats.written(student, quantised=tensors)
    return _stage("rounded", file, weights, student, text, plan)


def _compensated(
    student: FloatModel,
    rows: NDArray[np.int64],
    text: Text,
    plan: Plan,
    watcher: Watcher,
) -> Stage:
    found = calibrating.quantised(
        student, rows, device=plan.device, batch=plan.batch, told=_of(watcher, "quantising")
    )
    file = floats.written(student, quantised=found.tensors)
    return _stage("compensated", file, found.weights, student, text, plan)


def _float_stage(name: str, model: FloatModel, text: Text, plan: Plan) -> Stage:
    return _stage(name, floats.written(model), model.weights, model, text, plan)


def _stage(
    name: str, file: GgufFile, weights: Floats, model: FloatModel, text: Text, plan: Plan
) -> Stage:
    running = network(model.architecture, weights, device=plan.device)
    perplexity = calibrating.perplexity(running, text.held_out, length=text.rows.shape[1])
    return Stage(name, file, perplexity, sum(value.size for value in weights.values()))


def _of(watcher: Watcher, stage: str) -> Callable[[int, int], None]:
    return lambda done, whole: watcher.told(stage, done, whole)
