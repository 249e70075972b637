"""The local engine against llama.cpp on the same GGUF file, one thread each, and two.

Also: how much faster smaller models decode, how far its predictions are from the file's weights
computed in float32, and how long a sealed model takes from the disk to its first token.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

# One thread each, NumPy's too; it reads this at import.
os.environ["OPENBLAS_NUM_THREADS"] = "1"
# This directory holds scripts named after the packages they measure: look above it first.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
from contract import ABSENT, REPOSITORY, Figure, Samples, in_turns, parser, report
from numpy.typing import NDArray

from benchmarks import engine_small, sealed_model
from gateway.models import trial
from gateway.models.fetch import fetch
from gateway.models.importing import ImportedModel, import_gguf
from gateway.models.tokenizer import Tokenizer
from sandbox.engines import runtime
from sandbox.engines.onnx import OnnxEngine

# The reference is the one that the tests hold the engine to.
sys.path.append(str(REPOSITORY))
from tests.reference_llama import logits as reference_logits

PROMPT_TOKENS = 128
STEPS = 64
# The engine's own options, of which one is changed to measure two threads.
one_thread = runtime.options
TEXT = Path(__file__).with_name("engine_text.txt")


def main() -> None:
    """Measure and report."""
    options = parser(__doc__.splitlines()[0])
    options.add_argument(
        "--peer-python", default=sys.executable, help="the interpreter that has llama-cpp-python"
    )
    arguments = options.parse_args()
    path = fetch("smollm2-135m", into=REPOSITORY / ".sealgate" / "cache")
    model = import_gguf(path)
    ids = Tokenizer(model.assets["tokenizer.json"]).encode(TEXT.read_text())
    rounds = 5 if arguments.quick else 15
    engine, loading = _loaded(model, rounds=3 if arguments.quick else 9)
    figures = [
        *_against_peer(engine, path, ids, python=arguments.peer_python, rounds=rounds),
        *_smaller(engine, path, ids, quick=arguments.quick),
        _perplexity(engine, path, ids[: 256 if arguments.quick else 512]),
        loading,
    ]
    if not arguments.quick:
        # Their threads wait for each other by spinning: beside other work this takes minutes.
        figures.append(_two_threads(model, path, ids, python=arguments.peer_python, rounds=5))
    report(figures, destination=arguments.json)


def _loaded(model: ImportedModel, *, rounds: int) -> tuple[OnnxEngine, Figure]:
    """Seal the model, and time from the sealed file to an engine that has run a prompt."""
    engines: list[OnnxEngine] = []
    with tempfile.TemporaryDirectory() as scratch:
        path, keyring = sealed_model.seal(model, scratch=Path(scratch))

        def load() -> float:
            engines.clear()
            begun = time.perf_counter()
            engines.append(sealed_model.load(path, keyring))
            return time.perf_counter() - begun

        # The first load also imports the runtime, which a server does once.
        load()
        (taken,) = in_turns(load, rounds=rounds)
    samples = Samples(taken)
    return engines[0], Figure("load_s", samples.median, "s", "<= 0.5", ours=f"{samples} s")


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds that a prompt took, and that each token after it took."""

    prefill_s: float
    decode_s: float


def _against_peer(
    engine: OnnxEngine, path: Path, ids: list[int], *, python: str, rounds: int
) -> list[Figure]:
    decode, prefill = "decode_ratio_vs_llamacpp", "prefill_ratio_vs_llamacpp"
    peer = start_peer(python, path)
    if peer is None:
        return [
            Figure(decode, None, "x", ">= 1.05", peer=ABSENT),
            Figure(prefill, None, "x", ">= 2.5", peer=ABSENT),
        ]
    prompt = ids[:PROMPT_TOKENS]
    ours, theirs = in_turns(
        lambda: _measure(engine, prompt), lambda: peer.measure(prompt), rounds=rounds
    )
    peer.close()
    return [
        _ratio(decode, ">= 1.05", *_speeds(ours, theirs, lambda t: 1 / t.decode_s), peer.note),
        _ratio(
            prefill,
            ">= 2.5",
            *_speeds(ours, theirs, lambda t: PROMPT_TOKENS / t.prefill_s),
            peer.note,
        ),
    ]


def _two_threads(
    model: ImportedModel, path: Path, ids: list[int], *, python: str, rounds: int
) -> Figure:
    """Compare decoding on two threads each, which no worker does: what one core more would give."""
    name, target = "decode_2_threads_vs_llamacpp", ">= 1"
    peer = start_peer(python, path, threads=2)
    if peer is None:
        return Figure(name, None, "x", target, peer=ABSENT)
    with patch.object(runtime, "options", _threaded):
        engine = trial.engine(model)
    prompt = ids[:PROMPT_TOKENS]
    ours, theirs = in_turns(
        lambda: _measure(engine, prompt), lambda: peer.measure(prompt), rounds=rounds
    )
    peer.close()
    return _ratio(name, target, *_speeds(ours, theirs, lambda t: 1 / t.decode_s), peer.note)


def _threaded(library: Any) -> Any:
    options = one_thread(library)
    options.intra_op_num_threads = 2
    return options


def _smaller(engine: OnnxEngine, path: Path, ids: list[int], *, quick: bool) -> list[Figure]:
    """Compare decoding with models that `sealgate models compress` would make."""
    figures, prompt = [], ids[:PROMPT_TOKENS]
    shapes = engine_small.SHAPES[:1] if quick else engine_small.SHAPES
    for small in engine_small.engines(path, shapes):
        ours, full = in_turns(
            lambda small=small: _measure(small.engine, prompt),
            lambda: _measure(engine, prompt),
            rounds=3 if quick else 9,
        )
        name = f"decode_gain_{small.shape.groups}_{small.shape.channels}"
        speeds = _speeds(ours, full, lambda t: 1 / t.decode_s)
        figures.append(_ratio(name, ">= 1.15", *speeds, f", {small.size_bytes / 1e6:.0f} MB ours"))
    return figures


def _measure(engine: OnnxEngine, prompt: list[int]) -> Timing:
    """Time a prompt and a greedy answer."""
    begun = time.perf_counter()
    decoding = engine.start(len(prompt) + STEPS)
    token = int(decoding.feed(prompt).argmax())
    prompted = time.perf_counter()
    for _ in range(STEPS):
        token = int(decoding.feed([token]).argmax())
    return Timing(prompted - begun, (time.perf_counter() - prompted) / STEPS)


def _speeds(
    ours: list[Timing], theirs: list[Timing], speed: Callable[[Timing], float]
) -> tuple[Samples, Samples]:
    return Samples([speed(t) for t in ours]), Samples([speed(t) for t in theirs])


def _ratio(name: str, target: str, ours: Samples, theirs: Samples, note: str) -> Figure:
    return Figure(
        name,
        ours.median / theirs.median,
        "x",
        target,
        ours=f"{ours} tokens/s",
        peer=f"{theirs} tokens/s{note}",
    )


class Peer:
    """llama.cpp in a process of its own."""

    def __init__(self, python: str, path: Path, mode: str, note: str, *, threads: int = 1) -> None:
        self.note = note
        script = Path(__file__).with_name("engine_peer.py")
        self._process = subprocess.Popen(
            [python, str(script), str(path), mode, str(threads)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def measure(self, prompt: list[int]) -> Timing:
        """Time a prompt and an answer as long as ours.

        Raises:
            PeerGone: The process ended instead.
        """
        if self._process.stdin is None or self._process.stdout is None:
            raise PeerGone
        with suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps([prompt, STEPS]) + "\n")
            self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise PeerGone
        return Timing(**json.loads(line))

    def close(self) -> int:
        """End the process and return its exit code, negative for a signal."""
        with suppress(BrokenPipeError):
            self._process.communicate()
        return self._process.returncode


class PeerGone(Exception):
    """The peer's process ended."""


def start_peer(python: str, path: Path, *, threads: int = 1) -> Peer | None:
    """Start llama.cpp as it comes; without its repacked weights where those crash it.

    Some processors' AMX kernels end it with a signal (llama.cpp issue 20824). What it was
    measured with stands beside its numbers.
    """
    for mode, note in (("repacked", ""), ("plain", ", weights not repacked: that crashed")):
        peer = Peer(python, path, mode, note, threads=threads)
        try:
            peer.measure(list(range(100, 100 + PROMPT_TOKENS)))
        except PeerGone:
            if peer.close() >= 0:
                return None
        else:
            return peer
    return None


def _perplexity(engine: OnnxEngine, path: Path, ids: list[int]) -> Figure:
    """Compare how well the text is predicted with its prediction by float32 weights."""
    decoding = engine.start(len(ids))
    ours = _perplexity_of(np.array([decoding.feed([token]) for token in ids]), ids)
    reference = _perplexity_of(reference_logits(path, ids), ids)
    return Figure(
        "perplexity_ratio_vs_f32",
        ours / reference,
        "x",
        "<= 1.01",
        ours=f"{ours:.4f} over {len(ids)} tokens",
        peer=f"{reference:.4f}",
    )


def _perplexity_of(logits: NDArray[np.float32], ids: list[int]) -> float:
    wide = logits[:-1].astype(np.float64)
    top = wide.max(-1, keepdims=True)
    totals = np.log(np.exp(wide - top).sum(-1)) + top[:, 0]
    return float(np.exp((totals - wide[np.arange(len(wide)), ids[1:]]).mean()))


if __name__ == "__main__":
    main()
