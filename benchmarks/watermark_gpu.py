"""The vLLM processor's arithmetic on a GPU: microseconds a step for a batch and a vocabulary.

`python benchmarks/watermark_gpu.py [--rows 64] [--vocabulary 131072] [--json FILE]`. Needs torch
and a device that it knows as CUDA, and nothing of vLLM. The step is what vLLM pays beside its own
sampling: top candidates, probabilities, AES, race and mask, for every row of the batch marked.
"""

import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
# This folder has files named like packages; the repository comes before it.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import torch

from benchmarks.contract import Figure, Samples, parser, report
from watermark.code import encode, symbols
from watermark.keys import TOKEN_BITS
from watermark.prf import MarkCipher
from watermark.sampler import Sampler
from watermark.tensor_draws import CANDIDATES, Shape, TensorSampler
from watermark.vllm import _only

KEY = bytes(range(32))
WARM_UP = 20


def main() -> None:
    """Check the arithmetic against the NumPy sampler, then time it."""
    options = parser(__doc__.splitlines()[0])
    options.add_argument("--rows", type=int, default=64)
    options.add_argument("--vocabulary", type=int, default=131_072)
    options.add_argument("--device", default="cuda")
    given = options.parse_args()
    steps = 50 if given.quick else 300
    step = _step(given.rows, given.vocabulary, given.device)
    baseline = _plain_step(given.rows, given.vocabulary, given.device)
    agreement = _agreement(given.vocabulary, given.device, steps=steps)
    marked, plain = _timed(step, given.device, steps), _timed(baseline, given.device, steps)
    figures = [
        Figure(
            "vllm_mark_us_per_step",
            marked.median,
            "us",
            "<= 3000",
            ours=f"{marked} us, {given.rows} x {given.vocabulary}, {_name(given.device)}",
            peer=f"{plain} us, plain softmax and draw",
        ),
        Figure("vllm_same_token_share", agreement, "", ">= 0.999"),
        Figure("vllm_same_draw_share", _exactness(given.device), "", ">= 1"),
    ]
    report(figures, destination=given.json)


def _name(device: str) -> str:
    return torch.cuda.get_device_name() if device == "cuda" else device


def _step(rows: int, vocabulary: int, device: str) -> Callable[[], torch.Tensor]:
    sampler = TensorSampler(torch, device, slots=rows)
    for row in range(rows):
        sampler.mark(row, KEY, row, Shape(temperature=0.9, top_p=0.95))
    sampler.flush()
    logits = torch.randn((rows, vocabulary), device=device) * 3
    slots = torch.arange(rows, device=device)
    context = torch.arange(rows, device=device)

    def step() -> torch.Tensor:
        context.add_(1)
        chosen = sampler.choose(logits, slots, context, context + 1)
        return _only(torch, logits, chosen)

    return step


def _plain_step(rows: int, vocabulary: int, device: str) -> Callable[[], torch.Tensor]:
    logits = torch.randn((rows, vocabulary), device=device) * 3
    return lambda: torch.multinomial((logits / 0.9).softmax(dim=1), 1)


def _timed(step: Callable[[], torch.Tensor], device: str, steps: int) -> Samples:
    """Time steps in groups, so that the device's queue is as full as in an engine."""
    wait = torch.cuda.synchronize if device == "cuda" else lambda: None
    for _ in range(WARM_UP):
        step()
    times = []
    for _ in range(7):
        wait()
        begun = time.perf_counter()
        for _ in range(steps):
            step()
        wait()
        times.append((time.perf_counter() - begun) / steps * 1e6)
    return Samples([statistics.median(times), min(times), max(times)])


def _agreement(vocabulary: int, device: str, *, steps: int) -> float:
    """Return the share of tokens that equal those of the NumPy sampler on the same logits."""
    sampler, tensor = Sampler(KEY, 7, bytes(32)), TensorSampler(torch, device, slots=1)
    tensor.mark(0, KEY, 7, Shape())
    tensor.flush()
    same = 0
    slot = torch.zeros(1, dtype=torch.int64, device=device)
    for number in range(steps):
        logits = torch.randn((1, vocabulary), device=device) * 3
        values, ids = logits[0].topk(min(CANDIDATES, vocabulary))
        probs = (values.double() - values[0].double()).exp().cpu().numpy()
        index = sampler.draw((number, 1), ids.cpu().numpy(), probs / probs.sum())
        older, newer = torch.tensor([[number], [1]], device=device)
        same += int(tensor.choose(logits, slot, older, newer)[0]) == int(ids[index])
    return same / steps


def _exactness(device: str) -> float:
    """Return the share of 53-bit draws that equal NumPy's, over random keys, contexts and ids."""
    rng = np.random.default_rng(5)
    rows, count = 32, CANDIDATES
    tensor = TensorSampler(torch, device, slots=rows)
    keys = [rng.bytes(32) for _ in range(rows)]
    trace_ids = rng.integers(0, 1 << 32, rows)
    for slot, (key, trace_id) in enumerate(zip(keys, trace_ids, strict=True)):
        tensor.mark(slot, key, int(trace_id), Shape())
    tensor.flush()
    contexts = rng.integers(0, 1 << 36, rows)
    ids = rng.integers(0, 1 << TOKEN_BITS, (rows, count))
    slots = torch.arange(rows, device=device)
    found = tensor._draws(  # noqa: SLF001 - the integers, before any float.
        torch.from_numpy(contexts).to(device), torch.from_numpy(ids).to(device), slots
    )
    words = symbols(encode(trace_ids.astype(np.uint32))).astype(np.uint64)
    same = 0
    for row, key in enumerate(keys):
        cipher = MarkCipher(key)
        symbol = words[row, cipher.position(int(contexts[row]))]
        expected = cipher.draws(np.uint64(contexts[row]), ids[row].astype(np.uint64), symbol)
        same += int((found[row].cpu().numpy().astype(np.uint64) == expected).sum())
    return same / ids.size


if __name__ == "__main__":
    main()
