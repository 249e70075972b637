"""A trial of an imported model in this process: how fast it decodes, before anything is sealed."""

import itertools
import mmap
from collections.abc import Callable

import numpy as np

from gateway.models.importing import ImportedModel
from sandbox.engines.onnx import OnnxEngine

PROMPT_TOKENS = 16
STEPS = 32
# What kernels read whole vectors of.
ALIGNMENT = 64


def tokens_per_s(model: ImportedModel, *, clock: Callable[[], float]) -> float:
    """Decode greedily on one thread and return tokens a second."""
    decoding = engine(model).start(PROMPT_TOKENS + STEPS)
    token = int(decoding.feed([1] * PROMPT_TOKENS).argmax())
    begun = clock()
    for _ in range(STEPS):
        token = int(decoding.feed([token]).argmax())
    return STEPS / (clock() - begun)


def engine(model: ImportedModel) -> OnnxEngine:
    """Load a model as a zygote does, from memory laid out like a sealed model's image."""
    parts = [np.ascontiguousarray(tensor).tobytes() for tensor in model.tensors.values()]
    sizes = [len(model.graph), *map(len, parts)]
    offsets = list(itertools.accumulate((-(-s // ALIGNMENT) * ALIGNMENT for s in sizes), initial=0))
    memory = mmap.mmap(-1, offsets[-1])
    for offset, part in zip(offsets, [model.graph, *parts], strict=False):
        memory[offset : offset + len(part)] = part
    tensors = [
        {
            "name": name,
            "dtype": tensor.dtype.name,
            "shape": list(tensor.shape),
            "offset": offset,
            "length": tensor.nbytes,
        }
        for (name, tensor), offset in zip(model.tensors.items(), offsets[1:], strict=False)
    ]
    header = {"config": model.config, "graph": {"offset": 0, "length": sizes[0]}}
    return OnnxEngine.load({**header, "tensors": tensors}, memoryview(memory))
