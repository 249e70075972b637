"""One live tier for `tiers.py`: the reference model cut to some layers, behind a pipe.

Reads a number of tokens a line, writes `t` for each token and a newline at the end. One thread.
"""

import os
import sys
from dataclasses import replace
from pathlib import Path

os.environ["OPENBLAS_NUM_THREADS"] = "1"
# This directory holds scripts named after the packages they measure: look in the one above.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
from onnxruntime import OrtValue

from gateway.models import architecture, gguf, onnx_graph
from sandbox.engines import onnx as engine
from sandbox.engines import runtime
from sandbox.engines.decoding import Sessions

PROMPT = list(range(100, 164))


def main() -> None:
    """Load, say so, and answer until the pipe closes."""
    path, layers = Path(sys.argv[1]), int(sys.argv[2])
    loaded = _engine(path, layers)
    print("ready", flush=True)
    for line in sys.stdin:
        decoding = loaded.start(len(PROMPT) + int(line))
        logits = decoding.feed(PROMPT)
        for _ in range(int(line) - 1):
            sys.stdout.write("t")
            sys.stdout.flush()
            logits = decoding.feed([int(np.argmax(logits))])
        print("t", flush=True)


def _engine(path: Path, layers: int) -> engine.OnnxEngine:
    """Build the graphs of the first layers, and sessions over them, without sealing anything."""
    with gguf.opened(path) as file:
        shape = replace(architecture.read(file), layers=layers)
        graphs = onnx_graph.build(file, shape)
        library = runtime.runtime()
        values = {n: OrtValue.ortvalue_from_numpy(v) for n, v in graphs.tensors.items()}

        def session(graph: bytes, unused: list[str]) -> object:
            declared = {name: value for name, value in values.items() if name not in unused}
            return runtime.session(library, memoryview(graph), declared)

        sessions = Sessions(
            prompt=session(graphs.prompt, graphs.prompt_unused), step=session(graphs.step, [])
        )
    config = {"vocab_size": shape.vocab_size, "eos": [], "context_length": 1024}
    config |= {"layers": layers, "kv_heads": shape.kv_heads, "head_dim": shape.head_dim}
    return engine.OnnxEngine(sessions, config)


if __name__ == "__main__":
    main()
