"""What decoding several answers at once gains: in the engine alone, and through a whole gateway.

In the engine: processor time, since one thread does the work and other work may share its core.
Through the gateway: tokens a second of all answers together, where more clients of one tenant ask
than there are cores; every core has a sandbox at work with batches off as with batches on.
"""

import http.client
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

os.environ["OPENBLAS_NUM_THREADS"] = "1"
# This directory holds scripts named after the packages they measure: look in the one above.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import gateway_servers as servers
from contract import REPOSITORY, Figure, Samples, in_turns, parser, report

from gateway.models.fetch import fetch
from gateway.models.importing import import_gguf
from gateway.models.trial import engine
from sandbox.engines.onnx import OnnxEngine

SIZES = (1, 2, 4, 8)
CONTEXT, PROMPT, STEPS = 128, 64, 16
# Sequences that share a sandbox of the gateway's, as the figure's name says.
TOGETHER = 4
MODEL = "smollm2-135m"
ANSWER_TOKENS = 48


def main() -> None:
    """Measure and report."""
    arguments = parser(__doc__.splitlines()[0]).parse_args()
    figures = [*through_engine(rounds=2 if arguments.quick else 9),
               *through_gateway(rounds=1 if arguments.quick else 7)]  # fmt: skip
    report(figures, destination=arguments.json)


def through_engine(*, rounds: int) -> Iterator[Figure]:
    """Compare batches of each size with one sequence decoded by itself."""
    loaded = engine(import_gguf(fetch(MODEL, into=REPOSITORY / ".sealgate" / "cache")))
    measures = [lambda size=size: tokens_per_s(loaded, size) for size in SIZES]
    alone, *batches = (Samples(taken) for taken in in_turns(*measures, rounds=rounds))
    for size, rate in zip(SIZES[1:], batches, strict=True):
        yield _figure(f"engine_batch_{size}_gain", rate, alone, ">= 1")


def tokens_per_s(loaded: OnnxEngine, size: int) -> float:
    """Decode greedily; return the tokens of all sequences a second of processor time."""
    prompt, rows = [1] * PROMPT, range(size)
    if size == 1:
        alone = loaded.start(CONTEXT)
        alone.feed(prompt)
    else:
        together = loaded.start_together(size, CONTEXT)
        for row in rows:
            together.begin(row, prompt)
    tokens = [1] * size
    begun = time.process_time()
    for _ in range(STEPS):
        logits = [alone.feed(tokens)] if size == 1 else together.step(tokens)
        tokens = [int(each.argmax()) for each in logits]
    return STEPS * size / (time.process_time() - begun)


def through_gateway(*, rounds: int) -> Iterator[Figure]:
    """Compare a gateway whose sandboxes are shared with one where each has an answer of its own."""
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        home = servers.prepared(directory, servers.free_port())
        (directory / "on").mkdir()
        off = stack.enter_context(serving(home, directory, limit=1))
        again = servers.copied(home, directory / "on")
        on = stack.enter_context(serving(again, directory, limit=TOGETHER))
        for server in (off, on):
            asked(server, 0)
        rates = in_turns(lambda: loaded(off), lambda: loaded(on), rounds=rounds)
    alone, together = map(Samples, rates)
    yield _figure(f"batch_gain_{TOGETHER}", together, alone, ">= 1.5")


@contextmanager
def serving(home: servers.Home, directory: Path, *, limit: int) -> Iterator[servers.Server]:
    """Serve the reference model, as many sandboxes at work as there are cores."""
    cores = str(os.cpu_count() or 1)
    settings = {
        "SEALGATE_BATCH_LIMIT": str(limit),
        "SEALGATE_WORKERS": cores,
        "SEALGATE_CONCURRENCY": cores,
        "SEALGATE_QUEUE_S": "120",
    }
    with servers.gateway(home, directory, settings) as server:
        yield server


def loaded(server: servers.Server) -> float:
    """Have clients ask at once, enough to fill every sandbox twice; return tokens a second."""
    clients = 2 * TOGETHER * (os.cpu_count() or 1)
    with ThreadPoolExecutor(clients) as pool:
        begun = time.perf_counter()
        tokens = sum(pool.map(lambda number: asked(server, number), range(clients)))
        return tokens / (time.perf_counter() - begun)


def asked(server: servers.Server, number: int) -> int:
    """Ask for one answer and return how many tokens it had."""
    body = {
        "model": MODEL,
        "messages": [{"role": "user", "content": f"Tell me {number + 2} things about a ward."}],
        "max_tokens": ANSWER_TOKENS,
    }
    headers = {"Authorization": f"Bearer {server.key}", "Content-Type": "application/json"}
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=300)
    try:
        connection.request("POST", "/v1/chat/completions", json.dumps(body), headers)
        answer = json.load(connection.getresponse())
    finally:
        connection.close()
    return int(answer["usage"]["completion_tokens"])


def _figure(name: str, ours: Samples, peer: Samples, target: str) -> Figure:
    gain = ours.median / peer.median
    return Figure(name, gain, "x", target, ours=f"{ours} tokens/s", peer=f"{peer} tokens/s")


if __name__ == "__main__":
    main()
