"""How fast the watermark is: drawing a token, detecting in a text, searching among issued ids."""

import time

import numpy as np

from benchmarks.contract import Figure, Samples
from watermark import bounds
from watermark.detector import detect
from watermark.issued import IssuedIds
from watermark.passage import read
from watermark.prf import MarkCipher
from watermark.sampler import Sampler
from watermark.tally import tally

MILLION = 1_000_000


def speeds() -> list[Figure]:
    """Return the figure of each."""
    return [_sampler_speed(), _detection_speed(), _search_speed()]


def _sampler_speed() -> Figure:
    rng = np.random.default_rng(9)
    ids = np.sort(rng.choice(49152, 100, replace=False))
    probs = rng.dirichlet(np.full(100, 0.2))
    times = []
    for _ in range(9):
        sampler = Sampler(bytes(32), 7, bytes(32))
        begun = time.perf_counter()
        for step in range(2000):
            sampler.draw((step, step + 1), ids, probs)
        times.append((time.perf_counter() - begun) / 2000 * 1e6)
    taken = Samples(times)
    return Figure("sampler_us_per_token", taken.median, "us", "<= 15", ours=f"{taken} us")


def _detection_speed() -> Figure:
    rng = np.random.default_rng(10)
    texts = [rng.integers(0, 49152, 200).tolist() for _ in range(40)]
    rates = []
    for _ in range(7):
        begun = time.perf_counter()
        for text in texts:
            detect(text, {"a": bytes(32)})
        rates.append(len(texts) * 200 / (time.perf_counter() - begun))
    taken = Samples(rates)
    return Figure(
        "detect_tokens_per_s", taken.median, "tokens/s", ">= 40000", ours=f"{taken}, 200 tokens"
    )


def _search_speed() -> Figure:
    rng = np.random.default_rng(11)
    issued = IssuedIds(rng.integers(0, 2**32, MILLION, dtype=np.uint32))
    passage = read(rng.integers(0, 49152, 200).tolist())
    edges = np.array([0, passage.size])
    table = tally(MarkCipher(bytes(32)), passage, edges).table(1, 0, passage.size)
    floor = bounds.needed(
        bounds.LOG_STATED,
        tests=bounds.Tests(198, keys=1, modes=2, trials=1).inverse_share(198),
        hypotheses=MILLION,
    )
    times = []
    for _ in range(15):
        begun = time.perf_counter()
        issued.search(table, floor=min(floor, float(table.max(axis=1).sum()) - 5))
        times.append((time.perf_counter() - begun) * 1e3)
    taken = Samples(times)
    return Figure("search_1e6_ms", taken.median, "ms", "<= 25", ours=f"{taken} ms")
