"""What a confined process per answer costs: against none, and against bubblewrap.

The reference model answers the same job in this process, in a pool's locked workers, in workers
without walls, and in a fresh `bwrap` that loads everything anew.
"""

import asyncio
import os
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# This directory holds scripts named after the packages they measure: look above it first.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.contract import ABSENT, REPOSITORY, Figure, Samples, in_turns, parser, report
from benchmarks.sandbox_peers import BwrapEngine, bwrap_true
from benchmarks.sandbox_weights import Weights
from gateway.models.fetch import fetch
from gateway.models.importing import import_gguf
from sandbox import attest, conversation, launch, outer
from sandbox.engines.onnx import OnnxEngine
from sandbox.generate import generate
from sandbox.launch import Worker, Zygote
from sandbox.limits import Limits
from sandbox.pool import Pool
from sandbox.readings import TokenBatch
from sandbox.wire import Job

UNLOCKED = ("-I", str(Path(__file__).with_name("sandbox_unlocked.py")))
WORKERS = 2
# Short, so that what a worker costs shows beside what it computes.
SHORT = Job(
    prompt=list(range(100, 108)),
    max_tokens=2,
    temperature=1.0,
    top_k=50,
    top_p=0.9,
    eos=[],
    mark_key=bytes(32),
    trace_id=7,
    seed=bytes(32),
)
ANSWER_TOKENS = 16
REHEARSAL_S = 0.3  # Between two requests that are not in a hurry.
MEMORY_TOKENS = 64


def main() -> None:
    """Measure and report."""
    arguments = parser(__doc__.splitlines()[0]).parse_args()
    if "GLIBC_TUNABLES" not in os.environ:
        # The engine in this process gets the huge pages that a zygote's has.
        os.execve(sys.executable, sys.orig_argv, os.environ | launch.ENVIRONMENT)  # noqa: S606
    path = fetch("smollm2-135m", into=REPOSITORY / ".sealgate" / "cache")
    with Weights(import_gguf(path)) as weights, asyncio.Runner() as runner:
        scale = 1 if arguments.quick else 10
        figures = runner.run(_up(weights)).measured(runner, weights, scale=scale)
    report(figures, destination=arguments.json)


@dataclass(frozen=True, slots=True)
class _Bench:
    """Everything that is measured, up and warm."""

    stack: AsyncExitStack
    engine: OnnxEngine
    locked: Pool
    unlocked: Pool
    spawner: "_Spawner"

    def measured(self, runner: asyncio.Runner, weights: Weights, *, scale: int) -> list[Figure]:
        """Take every figure, then take everything down."""
        try:
            return [
                *_latency(runner, self, rounds=20 * scale),
                *_throughput(runner, self, rounds=2 * scale),
                _spawn(runner, self.spawner, rounds=20 * scale),
                _request(runner, self, weights, rounds=2 * scale),
                runner.run(_dirty(self.locked, weights)),
            ]
        finally:
            runner.run(self.stack.aclose())


async def _up(weights: Weights) -> _Bench:
    """Bring up the engine here, both pools, and a zygote to spawn from."""
    engine = OnnxEngine.load(*weights.mapped())
    _here(engine)
    stack = AsyncExitStack()
    locked = Pool(size=WORKERS, limits=Limits(), send_weights=weights.send)
    unlocked = Pool(size=WORKERS, limits=Limits(), send_weights=weights.send, entry=UNLOCKED)
    # An unlocked worker would not pass; nothing here is told that something confines it.
    attest.observe = _unobserved
    for pool in (unlocked, locked):
        await pool.start()
        stack.push_async_callback(pool.stop)
    spawner = await _Spawner.start(weights)
    stack.push_async_callback(spawner.zygote.stop)
    return _Bench(stack, engine, locked, unlocked, spawner)


def _unobserved(pid: int) -> Mapping[str, Any]:  # noqa: ARG001 - the real one's shape
    return {"observed": False}


class _Spawner:
    """A zygote whose workers are asked to leave as soon as they are locked down."""

    def __init__(self) -> None:
        self.arrived: asyncio.Queue[Worker] = asyncio.Queue()
        self.zygote: Zygote

    @staticmethod
    async def start(weights: Weights) -> "_Spawner":
        """Launch it, with the model's weights as the pool's zygote has them."""
        spawner = _Spawner()
        spawner.zygote = await launch.launch(
            limits=Limits(),
            send_weights=weights.send,
            on_worker=spawner.arrived.put_nowait,
            on_miss=print,
            on_end=lambda _: None,
            outer=await asyncio.to_thread(outer.find),
        )
        await spawner.zygote.loaded()
        return spawner

    async def once(self) -> float:
        """Return the milliseconds from the order to the end of one worker."""
        begun = time.perf_counter()
        self.zygote.spawn()
        worker = await self.arrived.get()
        await conversation.welcome(worker)
        worker.connection.close()
        await worker.exited
        taken = time.perf_counter() - begun
        worker.close()
        return taken * 1000


def _latency(runner: asyncio.Runner, bench: _Bench, *, rounds: int) -> list[Figure]:
    gone: list[float] = []

    def pooled_once() -> float:
        whole_ms, gone_ms = runner.run(_pooled(bench.locked))
        gone.append(gone_ms)
        return whole_ms

    here, pooled = in_turns(lambda: _here(bench.engine), pooled_once, rounds=rounds)
    return [
        _added("added_p50_ms", "<= 3", here, pooled, percentile=50),
        _added("added_p99_ms", "<= 6", here, pooled, percentile=99),
        _added("added_until_reaped_p50_ms", "<= 10", here, gone, percentile=50),
    ]


def _added(
    name: str, target: str, here: list[float], pooled: list[float], *, percentile: int
) -> Figure:
    ours, peer = (statistics.quantiles(taken, n=100)[percentile - 1] for taken in (pooled, here))
    return Figure(
        *(name, ours - peer, "ms", target),
        ours=f"{ours:.4g} ms in a worker",
        peer=f"{peer:.4g} ms in process",
    )


def _here(engine: OnnxEngine) -> float:
    begun = time.perf_counter()
    generate(engine, SHORT, emit=lambda _: None)
    return (time.perf_counter() - begun) * 1000


async def _pooled(pool: Pool) -> tuple[float, float]:
    """Return the milliseconds to the answer's last token, and until its worker was reaped."""
    await _settled(pool)
    begun = last = time.perf_counter()
    async for event in pool.run(SHORT, deadline_s=30):
        if isinstance(event, TokenBatch):
            last = time.perf_counter()
    return (last - begun) * 1000, (time.perf_counter() - begun) * 1000


async def _settled(pool: Pool) -> None:
    """Wait until the pool is full and its workers have rehearsed, as they do between requests."""
    while pool.idle < WORKERS:  # noqa: ASYNC110 - the pool tells nobody that it is full
        await asyncio.sleep(0.001)
    await asyncio.sleep(REHEARSAL_S)


def _throughput(runner: asyncio.Runner, bench: _Bench, *, rounds: int) -> list[Figure]:
    measures: list[Callable[[], float]] = [
        lambda: runner.run(_rate(bench.locked, ANSWER_TOKENS)),
        lambda: runner.run(_rate(bench.unlocked, ANSWER_TOKENS)),
        lambda: runner.run(_rate(bench.locked, SHORT.max_tokens)),
    ]
    locked, unlocked, short = map(Samples, in_turns(*measures, rounds=rounds))
    return [
        Figure(
            *("locked_over_unlocked_throughput", locked.median / unlocked.median, "x", ">= 0.9"),
            ours=f"{locked} answers/s of {ANSWER_TOKENS} tokens",
            peer=f"{unlocked} answers/s without walls",
        ),
        Figure(
            *("requests_per_s", short.median, "1/s", ">= 30"),
            ours=f"{short} of {SHORT.max_tokens} tokens, {WORKERS} at a time",
        ),
    ]


async def _rate(pool: Pool, tokens: int, *, answers: int = 12) -> float:
    """Return how many answers a second come out of a pool that is kept busy."""
    job = _lengthened(tokens)
    gate = asyncio.Semaphore(WORKERS)

    async def one() -> None:
        async with gate:
            async for _ in pool.run(job, deadline_s=60):
                pass

    await _settled(pool)
    begun = time.perf_counter()
    await asyncio.gather(*(one() for _ in range(answers)))
    return answers / (time.perf_counter() - begun)


def _lengthened(tokens: int) -> Job:
    return Job(**{name: getattr(SHORT, name) for name in Job.__slots__} | {"max_tokens": tokens})


def _spawn(runner: asyncio.Runner, spawner: _Spawner, *, rounds: int) -> Figure:
    name, target = "spawn_vs_bwrap_true", ">= 2"
    if bwrap_true() is None:
        return Figure(name, None, "x", target, peer=ABSENT)
    ours, peer = in_turns(
        lambda: runner.run(spawner.once()), lambda: bwrap_true() or 0.0, rounds=rounds
    )
    return _ratio(name, target, Samples(ours), Samples(peer), "bwrap true")


def _request(runner: asyncio.Runner, bench: _Bench, weights: Weights, *, rounds: int) -> Figure:
    name, target = "request_vs_bwrap_ort", ">= 15"
    peer_engine = BwrapEngine(weights, SHORT)
    if not peer_engine.present:
        return Figure(name, None, "x", target, peer=ABSENT)
    ours, peer = in_turns(
        lambda: runner.run(_pooled(bench.locked))[1], peer_engine.once, rounds=rounds
    )
    return _ratio(name, target, Samples(ours), Samples(peer), "bwrap, load, answer")


def _ratio(name: str, target: str, ours: Samples, peer: Samples, what: str) -> Figure:
    ratio = peer.median / ours.median
    return Figure(name, ratio, "x", target, ours=f"{ours} ms", peer=f"{peer} ms, {what}")


async def _dirty(pool: Pool, weights: Weights) -> Figure:
    """Compare what a worker wrote, beyond its keys and values, with the weights it shares."""
    name, target = "dirty_fraction_of_weights", "<= 0.1"
    await _settled(pool)
    job = _lengthened(MEMORY_TOKENS)
    before = _leaves(pool.zygote_pid or 0)
    seen, dirty = 0, None
    async for item in pool.run(job, deadline_s=60):
        seen += isinstance(item, TokenBatch)
        if seen == MEMORY_TOKENS - 8 and dirty is None:
            dirty = max((_private_dirty(pid) or 0 for pid in before), default=0) or None
    if dirty is None:
        return Figure(name, None, "x", target, ours="needs root to look")
    own = dirty - weights.cache_bytes(len(job.prompt) + seen)
    return Figure(
        *(name, own / weights.size, "x", target),
        ours=f"{own / 2**20:.1f} MiB beside its own keys and values",
        peer=f"{weights.size / 2**20:.1f} MiB of weights",
    )


def _leaves(pid: int) -> list[int]:
    """Return the processes below one that have no children: bubblewrap may stand above a zygote."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
    return [leaf for child in children for leaf in _leaves(int(child))] or [pid]


def _private_dirty(pid: int) -> int | None:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("Private_Dirty"))


if __name__ == "__main__":
    main()
