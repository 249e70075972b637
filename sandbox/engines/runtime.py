"""What every engine asks of ONNX Runtime: no telemetry, one thread, weights out of memory."""

import os
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

ERRORS_ONLY = 3


def runtime() -> Any:
    """Import ONNX Runtime with its telemetry off: it starts a thread at import otherwise."""
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    os.environ["ORT_TELEMETRY_DISABLED"] = "1"
    import onnxruntime  # noqa: PLC0415 - the environment must be set before

    onnxruntime.set_default_logger_severity(ERRORS_ONLY)
    return onnxruntime


def options(library: Any) -> Any:
    """One thread, the caller's: a second would be lost in the fork and hang the first run."""
    chosen = library.SessionOptions()
    chosen.intra_op_num_threads = 1
    chosen.inter_op_num_threads = 1
    chosen.execution_mode = library.ExecutionMode.ORT_SEQUENTIAL
    chosen.log_severity_level = ERRORS_ONLY
    chosen.add_session_config_entry("session.intra_op.allow_spinning", "0")
    chosen.add_session_config_entry("session.inter_op.allow_spinning", "0")
    return chosen


def tensors(library: Any, header: Mapping[str, Any], memory: memoryview) -> dict[str, Any]:
    """Return the weights that a header places in `memory`, by name, as the runtime takes them.

    Raises:
        ValueError: The header points outside `memory`.
    """
    return {
        entry["name"]: library.OrtValue.ortvalue_from_numpy(_view(entry, memory))
        for entry in header["tensors"]
    }


def session(library: Any, graph: memoryview, weights: Mapping[str, Any]) -> Any:
    """Load a graph over exactly the weights that it declares."""
    chosen = options(library)
    chosen.add_external_initializers(list(weights), list(weights.values()))
    return library.InferenceSession(
        bytes(graph), chosen, providers=["CPUExecutionProvider"], enable_fallback=False
    )


def part(entry: Mapping[str, Any], memory: memoryview) -> memoryview:
    """Return the stretch of `memory` that an entry places by `offset` and `length`.

    Raises:
        ValueError: It lies outside.
    """
    begin, end = int(entry["offset"]), int(entry["offset"]) + int(entry["length"])
    if not 0 <= begin <= end <= len(memory):
        name = entry.get("name", "the graph")
        raise ValueError(f"The header places {name} outside the weights.")
    return memory[begin:end]


def _view(entry: Mapping[str, Any], memory: memoryview) -> NDArray[Any]:
    data = np.frombuffer(part(entry, memory), np.dtype(entry["dtype"]))
    return data.reshape(entry["shape"])
