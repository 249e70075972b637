"""The watermark's claims: how often it traces, what it costs, how fast it is, beside its peers.

`--quick` reads the cached answers that are there, at most 30 of each arm, and makes a few if there
are none. Without it all are read. `--full` first completes the cache to 1,024 prompts (hours on
one core without torch, minutes on a GPU; it may be stopped and goes on where it was) and looks
longer for false traces; `--jobs` processes share both. Rates come with 95 % Wilson intervals.

KGW and SynthID are own minimal implementations (`watermark_peers.py`) on the same prompts.
"""

import itertools
import math
import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
# This folder has files named like packages; the repository comes before it.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from benchmarks.contract import Figure, parser, report
from benchmarks.watermark_human import human_tokens
from benchmarks.watermark_peers import Kgw, SynthId
from benchmarks.watermark_speed import MILLION, speeds
from benchmarks.watermark_texts import Answer, cached, complete, default_cache, key_of, trace_id_of
from watermark import bounds, score, windows
from watermark.code import LENGTH, encode, symbols
from watermark.detector import detect
from watermark.issued import IssuedIds
from watermark.passage import read
from watermark.prf import MarkCipher
from watermark.tally import tally

FULL_PROMPTS = 1024
QUICK_ANSWERS = 30
FALSE_TESTS = 10_000_000
HUMAN_CHARACTERS = 20_000_000
LOW = 1e-3
Z_95 = 1.959964


def main() -> None:
    """Measure what was asked for and report."""
    options = parser(__doc__.splitlines()[0])
    options.add_argument("--full", action="store_true", help="complete the cache, read all of it")
    options.add_argument("--cache", type=Path, default=default_cache())
    options.add_argument("--jobs", type=int, default=1, help="processes for what takes long")
    options.add_argument("--false-traces-s", type=float, help="how long to look for false traces")
    given = options.parse_args()
    prompts = FULL_PROMPTS if given.full else 4
    if given.full or not cached(given.cache):
        complete(given.cache, answers=prompts, jobs=given.jobs)
    most = None if not given.quick else QUICK_ANSWERS
    answers = {arm: list(group) for arm, group in _by_arm(cached(given.cache), most)}
    human = human_tokens(HUMAN_CHARACTERS // (80 if given.quick else 1))
    limit_s = given.false_traces_s or (6 if given.quick else (3600 if given.full else 120))
    figures = [
        *_tracing(answers, human),
        _false_traces(human, limit_s=limit_s, jobs=given.jobs),
        *_costs(answers),
        *speeds(),
        *_peers(answers),
    ]
    report(figures, destination=given.json)


def _by_arm(answers: Sequence[Answer], most: int | None) -> Iterator[tuple[str, Iterator[Answer]]]:
    ordered = sorted(answers, key=lambda answer: (answer.arm, answer.index))
    for arm, group in itertools.groupby(ordered, key=lambda answer: answer.arm):
        yield arm, itertools.islice(group, most)


def _tracing(answers: dict[str, list[Answer]], human: list[int]) -> list[Figure]:
    marked, cooler = answers["marked"], answers["marked07"]
    rng = np.random.default_rng(7)
    issued = IssuedIds(rng.integers(0, 2**32, MILLION - 1, dtype=np.uint32))

    def blind(tokens: int) -> Callable[[Answer], bool]:
        return lambda answer: _traced_blind(answer, answer.tokens[:tokens])

    def edited(how: str) -> Callable[[Answer], bool]:
        return lambda answer: _traced_blind(answer, _edited(answer.tokens[:300], how, rng, human))

    substituted, deleted = (_rate(marked, edited(how)) for how in ("substituted", "deleted"))
    worse = min(substituted, deleted)
    return [
        _rated("blind_200_tpr", _rate(marked, blind(200)), ">= 0.99"),
        _rated("blind_100_tpr", _rate(marked, blind(100)), ">= 0.95"),
        _rated(
            "logaided_50_top1",
            _rate(marked, lambda a: _tops(a, a.tokens[:50], issued)),
            ">= 0.99",
        ),
        _rated(
            "t07_400_tpr",
            _rate(cooler, lambda a: _traced_with_log(a, a.tokens[:400], MILLION)),
            ">= 0.95",
        ),
        _rated("edit20_300_tpr", worse, ">= 0.95", peer=f"{substituted[0]}/{deleted[0]} sub/del"),
        _rated(
            "quote_200_in_2000_tpr",
            _rate(marked, lambda a: _traced_blind(a, _quoted(a.tokens[:200], rng, human))),
            ">= 0.98",
        ),
    ]


def _traced_blind(answer: Answer, tokens: Sequence[int]) -> bool:
    found = detect(tokens, {"own": key_of(answer.arm, answer.index)})
    return found.trace_id == trace_id_of(answer.arm, answer.index)


def _tops(answer: Answer, tokens: Sequence[int], issued: IssuedIds) -> bool:
    """Tell whether the answer's own id beats all issued ones, each at its best e value."""
    passage = read(tokens)
    cipher = MarkCipher(key_of(answer.arm, answer.index))
    running = tally(cipher, passage, np.array([0, passage.size]))
    own = symbols(encode(np.array([trace_id_of(answer.arm, answer.index)], np.uint32)))[0]
    tables = [running.table(e, 0, passage.size) for e in range(len(running.sums))]
    best = max(float(table[np.arange(LENGTH), own].sum()) for table in tables)
    rivals = [issued.search(table, floor=best) for table in tables]
    return not any(found.scores.size for found in rivals)


def _traced_with_log(answer: Answer, tokens: Sequence[int], issued: int) -> bool:
    """Tell whether a search of so many issued ids gives p <= 1e-6: by its own id's score."""
    key, own = key_of(answer.arm, answer.index), trace_id_of(answer.arm, answer.index)
    found = detect(tokens, {"own": key}, issued={"own": np.array([own], np.uint32)})
    return found.trace_id == own and found.p_value * issued <= bounds.THRESHOLD


def _edited(
    tokens: Sequence[int], how: str, rng: np.random.Generator, human: list[int]
) -> list[int]:
    kept = []
    for token in tokens:
        if rng.random() >= 0.2:  # noqa: PLR2004 - The target's 20 %.
            kept.append(token)
        elif how == "substituted":
            kept.append(human[int(rng.integers(len(human)))])
    return kept


def _quoted(tokens: Sequence[int], rng: np.random.Generator, human: list[int]) -> list[int]:
    begin = int(rng.integers(len(human) - 2000))
    around, cut = human[begin : begin + 2000], int(rng.integers(2000))
    return [*around[:cut], *tokens, *around[cut:]]


@dataclass(frozen=True, slots=True)
class Tried:
    """Human texts that a mark was looked for in, each under a key of its own.

    tests: windows times e values, over all pairs. low: pairs with p <= 1e-3, of which the bound
    allows one in a thousand.
    """

    pairs: int
    tests: int
    false: int
    low: int
    smallest: float

    def __add__(self, other: "Tried") -> "Tried":
        """Take two jobs' trials together."""
        return Tried(
            self.pairs + other.pairs,
            self.tests + other.tests,
            self.false + other.false,
            self.low + other.low,
            min(self.smallest, other.smallest),
        )


def _false_traces(human: list[int], *, limit_s: float, jobs: int) -> Figure:
    """Count human texts of 200 tokens that any of 2^32 ids is found in, each under its own key."""
    tokens = np.array(human, np.int32)
    if jobs == 1:
        total = _tried(tokens, FALSE_TESTS, 0, limit_s)
    else:
        shares = [(tokens, FALSE_TESTS // jobs, job, limit_s) for job in range(jobs)]
        with multiprocessing.get_context("spawn").Pool(jobs) as pool:
            total = sum(pool.starmap(_tried, shares, chunksize=1), Tried(0, 0, 0, 0, 1.0))
    # With none in n, the rate is below 3/n with a confidence of 95 %.
    told = (
        f"{total.false} of {total.pairs} (key, text) pairs, {total.tests:.3g} window tests, "
        f"{total.low} with p <= 1e-3, smallest p {total.smallest:.2g}"
    )
    return Figure("false_traces", float(total.false), "", "<= 0", ours=told)


def _tried(human: np.ndarray, most: int, job: int, limit_s: float) -> Tried:
    """Try pairs of one job for so long."""
    texts = [human[i : i + 200].tolist() for i in range(0, human.size - 200, 200)]
    tests = [len(score.EPSILONS) * windows.count(read(text).size) for text in texts]
    rng = np.random.default_rng([8, job])
    deadline = time.monotonic() + limit_s
    total = Tried(0, 0, 0, 0, 1.0)
    while total.pairs < most and time.monotonic() < deadline:
        place = (job + 7919 * total.pairs) % len(texts)
        found = detect(texts[place], {"a": rng.bytes(32)})
        total += Tried(
            1, tests[place], found.verdict == "traced", found.p_value <= LOW, found.p_value
        )
    return total


def _costs(answers: dict[str, list[Answer]]) -> list[Figure]:
    """Compare what was drawn with what an unmarked draw in the same place is expected to be."""
    marked = np.array([answer.surprise for answer in answers["marked"]])
    mean = float(marked.mean())
    margin = Z_95 * float(marked.std(ddof=1)) / math.sqrt(marked.size)
    ours = f"{mean:+.4f} +- {margin:.4f}, n = {marked.size}"
    told = []
    for arm in ("plain", "kgw", "synthid"):
        values = np.array([answer.surprise for answer in answers.get(arm, [])])
        if values.size > 1:
            told.append(f"{arm} {values.mean():+.3f}")
    return [
        Figure("delta_logprob_nat", abs(mean), "nat", "<= 0.01", ours=ours, peer=", ".join(told))
    ]


def _peers(answers: dict[str, list[Answer]]) -> list[Figure]:
    """Zero-bit detection at p <= 1e-6 of each scheme on its own answers to the same prompts."""
    figures = []
    for tokens in (100, 200):
        for arm, scheme in (("kgw", Kgw), ("synthid", SynthId)):
            rate = _rate(
                answers.get(arm, []),
                lambda a, scheme=scheme, tokens=tokens: (
                    scheme(key_of(a.arm, a.index)).p_value(a.tokens[:tokens]) <= bounds.THRESHOLD
                ),
            )
            ours = _rate(answers["marked"], lambda a, n=tokens: _zero_bit(a, a.tokens[:n]))
            figures.append(
                Figure(
                    f"zero_bit_{tokens}_vs_{arm}",
                    ours[0] / ours[1] - (rate[0] / rate[1] if rate[1] else math.nan),
                    "",
                    ">= 0",
                    ours=_told(ours),
                    peer=f"{_told(rate)} (own minimal {arm})",
                )
            )
    return figures


def _zero_bit(answer: Answer, tokens: Sequence[int]) -> bool:
    """Tell whether the answer's one id has p <= 1e-6: a test without a payload, as the peers'."""
    key, own = key_of(answer.arm, answer.index), trace_id_of(answer.arm, answer.index)
    found = detect(tokens, {"own": key}, issued={"own": np.array([own], np.uint32)})
    return found.verdict == "traced"


Rate = tuple[int, int]


def _rate(answers: Sequence[Answer], good: Callable[[Answer], bool]) -> Rate:
    return sum(good(answer) for answer in answers), len(answers)


def _rated(name: str, rate: Rate, target: str, *, peer: str = "") -> Figure:
    value = rate[0] / rate[1] if rate[1] else None
    return Figure(name, value, "", target, ours=_told(rate), peer=peer)


def _told(rate: Rate) -> str:
    """Show a rate with its Wilson interval."""
    good, tried = rate
    if not tried:
        return "absent"
    share = good / tried
    centre = (share + Z_95**2 / (2 * tried)) / (1 + Z_95**2 / tried)
    spread = Z_95 * math.sqrt(share * (1 - share) / tried + Z_95**2 / (4 * tried**2))
    spread /= 1 + Z_95**2 / tried
    return f"{good}/{tried} [{centre - spread:.3f}, {centre + spread:.3f}]"


if __name__ == "__main__":
    main()
