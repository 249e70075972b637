"""Smaller models for `engine.py`: the reference model pruned to a shape and rounded to 4 bits.

Without distillation: how fast a model decodes depends on its shape alone, and what it is worth
stands in docs/tiers.md.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gateway.models import gguf, trial
from gateway.models.compress import floats, pruning, quantising
from gateway.models.compress.floats import FloatModel, matrices
from gateway.models.compress.pruning import Importance, Shape
from gateway.models.importing import imported
from sandbox.engines.onnx import OnnxEngine

SHAPES = (Shape(groups=2, channels=1024), Shape(groups=1, channels=768))


@dataclass(frozen=True, slots=True)
class Small:
    """A model of a shape, loaded. size_bytes: of its tensors in the file's types."""

    shape: Shape
    engine: OnnxEngine
    size_bytes: int


def engines(path: Path, shapes: tuple[Shape, ...]) -> Iterator[Small]:
    """Make and load a model of each shape, one at a time."""
    with gguf.opened(path) as file:
        model = floats.read(file)
        for shape in shapes:
            small = _rounded(pruning.pruned(model, _any(model), kept=shape))
            size = sum(tensor.data.nbytes for tensor in small.tensors.values())
            yield Small(shape, trial.engine(imported(small, model_id="small")), size)


def _any(model: FloatModel) -> Importance:
    """Hold every part alike: the first of each layer stay."""
    a = model.architecture
    return Importance(np.ones((a.layers, a.kv_heads)), np.ones((a.layers, a.feed_forward)))


def _rounded(model: FloatModel) -> gguf.GgufFile:
    names = [name for layer in range(model.architecture.layers) for name in matrices(layer)]
    tensors = {name: quantising.rounded(name, model.weights[name]) for name in names}
    return floats.written(model, quantised=tensors)
