"""What decoding several answers at once would gain: the reference model's own graph, widened.

Nothing that serves does this: a worker answers one choice, alone (docs/decisions/0006-batches.md).
Processor time, since one thread does the work and other work may share its core.
"""

import os
import sys
import time
from pathlib import Path
from typing import Any

os.environ["OPENBLAS_NUM_THREADS"] = "1"
# This directory holds scripts named after the packages they measure: look in the one above.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import onnx
from contract import REPOSITORY, Figure, Samples, in_turns, parser, report
from numpy.typing import NDArray
from onnx import numpy_helper

from gateway.models.fetch import fetch
from gateway.models.importing import ImportedModel, import_gguf
from sandbox.engines import runtime

SIZES = (1, 2, 4, 8)
CONTEXT, PROMPT, STEPS = 128, 64, 16


def main() -> None:
    """Measure and report."""
    arguments = parser(__doc__.splitlines()[0]).parse_args()
    model = import_gguf(fetch("smollm2-135m", into=REPOSITORY / ".sealgate" / "cache"))
    session = widened(model)
    measures = [lambda size=size: Batch(session, model, size).tokens_per_s() for size in SIZES]
    rates = [Samples(taken) for taken in in_turns(*measures, rounds=3 if arguments.quick else 9)]
    alone = rates[0]
    figures = [
        Figure(f"batch_{size}_gain", rate.median / alone.median, "x", ">= 1",
               ours=f"{rate} tokens/s", peer=f"{alone} tokens/s")
        for size, rate in zip(SIZES[1:], rates[1:], strict=True)
    ]  # fmt: skip
    report(figures, destination=arguments.json)


def widened(model: ImportedModel) -> Any:
    """Load the graph of steps with any number of sequences where the served one has one."""
    place = model.config["graphs"]["step"]
    step = onnx.load_from_string(model.graph[place["offset"] : place["offset"] + place["length"]])
    for value in (*step.graph.input, *step.graph.output):
        dims = value.type.tensor_type.shape.dim
        if dims:
            dims[0].dim_param = "B"
    for constant in step.graph.initializer:
        if constant.name == "hidden":
            width = int(numpy_helper.to_array(constant)[-1])
            constant.CopyFrom(numpy_helper.from_array(np.array([0, 0, width]), "hidden"))
    library = runtime.runtime()
    values = {n: library.OrtValue.ortvalue_from_numpy(v) for n, v in model.tensors.items()}
    return runtime.session(library, memoryview(step.SerializeToString()), values)


class Batch:
    """Sequences side by side in one set of buffers, all as long as one another."""

    def __init__(self, session: Any, model: ImportedModel, size: int) -> None:
        config, self._session = model.config, session
        shape = (size, config["kv_heads"], CONTEXT, config["head_dim"])
        self._total = np.zeros((), np.int32)
        self._last = np.zeros(size, np.int32)
        self._logits = np.zeros((size, 1, config["vocab_size"]), np.float32)
        self._caches = {
            f"{part}_{layer}": np.zeros(shape, np.float32)
            for layer in range(config["layers"])
            for part in ("key", "value")
        }
        self.feed(np.ones((size, PROMPT), np.int64))

    def feed(self, ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """Append tokens, [B, S], and return the most likely next ones, [B, 1]."""
        self._total += ids.shape[1]
        self._last[:] = self._total - 1
        binding = self._session.io_binding()
        binding.bind_cpu_input("input_ids", ids)
        binding.bind_cpu_input("seqlens_k", self._last)
        binding.bind_cpu_input("total", self._total)
        for name, cache in self._caches.items():
            binding.bind_cpu_input(f"past_{name}", cache)
            _bind(binding, f"present_{name}", cache)
        _bind(binding, "logits", self._logits)
        self._session.run_with_iobinding(binding)
        return self._logits.argmax(-1)

    def tokens_per_s(self) -> float:
        """Decode greedily; return the tokens of all sequences a second of processor time."""
        tokens = np.ones((len(self._last), 1), np.int64)
        begun = time.process_time()
        for _ in range(STEPS):
            tokens = self.feed(tokens)
        return STEPS * len(self._last) / (time.process_time() - begun)


def _bind(binding: Any, name: str, value: NDArray[np.float32]) -> None:
    binding.bind_output(
        name=name,
        device_type="cpu",
        device_id=0,
        element_type=np.float32,
        shape=value.shape,
        buffer_ptr=value.ctypes.data,
    )


if __name__ == "__main__":
    main()
