"""Answers of the reference model that the watermark's benchmark reads, made once and kept.

`python watermark_texts.py --cache FOLDER --answers N --jobs J` makes what is missing and may be
stopped at any moment: each answer is one line of FOLDER/answers-0.jsonl, or of another job's file.
All `*.jsonl` files of the folder are read, so that what another machine made is merged by copying
its files there under other names. The cache lies outside the repository. End tokens are never
drawn, so that every answer has its full length; everything else is as the gateway does it: the same
engine, candidates and sampler.
"""

import argparse
import hashlib
import importlib.util
import itertools
import json
import math
import multiprocessing
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
# This folder has files named like packages; the repository comes before it.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from benchmarks.contract import REPOSITORY
from benchmarks.watermark_peers import Kgw, SynthId
from benchmarks.watermark_prompts import FORMS, TOPICS
from gateway.models.chat import ChatTemplate
from gateway.models.fetch import fetch
from gateway.models.importing import ImportedModel, import_gguf
from gateway.models.tokenizer import Tokenizer
from sandbox.candidates import candidates
from watermark.sampler import Sampler

if TYPE_CHECKING:
    from sandbox.engines.onnx import OnnxEngine

# Temperature, length and how many prompts go by for one answer of each arm. Arms take turns, so
# that a cache of any size has them all.
ARMS: Mapping[str, tuple[float, int, int]] = {
    "marked": (1.0, 300, 1),
    "marked07": (0.7, 400, 1),
    "plain": (1.0, 200, 4),
    "kgw": (1.0, 200, 4),
    "synthid": (1.0, 200, 4),
}
TOP_K = 100


@dataclass(frozen=True, slots=True)
class Answer:
    """One generated answer.

    context: the prompt's last two tokens. log_probability: mean over tokens of the logarithm of
    the drawn one's probability among its candidates. surprise: the same minus its expectation
    over an unmarked draw in the same place, so that 0 is expected of a sampler that costs nothing.
    """

    arm: str
    index: int
    context: tuple[int, int]
    tokens: list[int]
    log_probability: float
    surprise: float


def key_of(arm: str, index: int) -> bytes:
    """Return the mark key of an answer; each has its own."""
    return hashlib.sha256(f"benchmark/{arm}/{index}".encode()).digest()


def trace_id_of(arm: str, index: int) -> int:
    """Return the trace id of an answer."""
    return int.from_bytes(hashlib.sha256(f"id/{arm}/{index}".encode()).digest()[:4], "big")


def default_cache() -> Path:
    """Return where answers are kept: outside the repository."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "sealgate" / "watermark"


def cached(folder: Path) -> list[Answer]:
    """Return the answers that are there, each once; a line that was cut off is left out."""
    found: dict[tuple[str, int], Answer] = {}
    for path in sorted(folder.glob("*.jsonl")):
        for line in path.read_text().splitlines():
            try:
                fields = json.loads(line)
            except json.JSONDecodeError:
                continue
            answer = Answer(**fields | {"context": tuple(fields["context"])})
            found.setdefault((answer.arm, answer.index), answer)
    return list(found.values())


def complete(folder: Path, *, answers: int, jobs: int = 1) -> None:
    """Make what is missing for the first `answers` prompts, in as many processes."""
    done = {(answer.arm, answer.index) for answer in cached(folder)}
    wanted = [(arm, index) for index in range(answers) for arm in ARMS if index % ARMS[arm][2] == 0]
    missing = [each for each in wanted if each not in done]
    if not missing:
        return
    folder.mkdir(parents=True, exist_ok=True)
    path = fetch("smollm2-135m", into=REPOSITORY / ".sealgate" / "cache")
    batches = list(_batches(missing, size=Writer.rows()))
    shares = [
        (path, folder / f"answers-{job}.jsonl", batches[job::jobs], jobs) for job in range(jobs)
    ]
    if jobs == 1:
        _write(*shares[0])
        return
    # Not forked: torch's threads and a GPU's context do not survive that.
    with multiprocessing.get_context("spawn").Pool(jobs) as pool:
        pool.starmap(_write, shares, chunksize=1)


def _write(model: Path, into: Path, batches: Sequence[list[tuple[str, int]]], jobs: int) -> None:
    """Make one job's share, batch by batch."""
    if not batches:
        return
    writer = Writer(model, threads=max(1, (os.cpu_count() or 1) // jobs))
    with into.open("a") as file:
        for done, batch in enumerate(batches, 1):
            for answer in writer.write(batch):
                print(json.dumps(asdict(answer)), file=file)
            file.flush()
            print(f"{into.name}: {done} of {len(batches)} batches", flush=True)


def _batches(missing: Sequence[tuple[str, int]], *, size: int) -> Iterator[list[tuple[str, int]]]:
    """Group answers of one length, so that a batch ends together."""
    waiting: dict[int, list[tuple[str, int]]] = {}
    for each in missing:
        group = waiting.setdefault(ARMS[each[0]][1], [])
        group.append(each)
        if len(group) == size:
            yield waiting.pop(ARMS[each[0]][1])
    yield from waiting.values()


class Writer:
    """Writes answers: in batches where torch is installed, else one by one in the gateway's engine.

    threads: of torch, for one of several processes.
    """

    def __init__(self, path: Path, *, threads: int) -> None:
        model = import_gguf(path)
        self._eos = [int(token) for token in model.config["eos"]]
        self._tokenizer = Tokenizer(model.assets["tokenizer.json"])
        self._template = ChatTemplate(model.assets["chat_template.jinja"].decode(), self._tokenizer)
        if self.rows() > 1:
            import torch  # noqa: PLC0415 - torch may be absent

            from benchmarks.watermark_batch import BatchModel  # noqa: PLC0415

            torch.set_num_threads(threads)
            self._model = BatchModel(path)
        else:
            self._model = _EngineModel(_engine(model))

    @staticmethod
    def rows() -> int:
        """Return how many answers are written at a time."""
        return 64 if importlib.util.find_spec("torch") else 1

    def write(self, items: Sequence[tuple[str, int]]) -> list[Answer]:
        """Generate the answers of these arms to the prompts of these indices, of one length."""
        drafts = [_Draft(arm, index, self._prompt(index)) for arm, index in items]
        length = ARMS[items[0][0]][1]
        logits = self._model.start([d.prompt for d in drafts], answer_tokens=length)
        for step in range(length):
            logits[:, self._eos] = -np.inf
            drawn = [draft.draw(row) for draft, row in zip(drafts, logits, strict=True)]
            if step + 1 < length:
                logits = self._model.feed(np.array(drawn)[:, None])
        return [draft.answer() for draft in drafts]

    def _prompt(self, index: int) -> list[int]:
        form, topic = FORMS[index // len(TOPICS) % len(FORMS)], TOPICS[index % len(TOPICS)]
        return self._template.encode_chat([{"role": "user", "content": form.format(topic)}])


class _EngineModel:
    """The gateway's engine behind the batch's interface, one row wide."""

    def __init__(self, engine: "OnnxEngine") -> None:
        self._engine = engine

    def start(self, prompts: Sequence[list[int]], *, answer_tokens: int) -> np.ndarray:
        (prompt,) = prompts
        self._decoding = self._engine.start(len(prompt) + answer_tokens)
        return self._decoding.feed(prompt)[None]

    def feed(self, tokens: np.ndarray) -> np.ndarray:
        return self._decoding.feed(tokens[0].tolist())[None]


class _Draft:
    """One answer in the making."""

    def __init__(self, arm: str, index: int, prompt: list[int]) -> None:
        self.prompt = prompt
        self._arm, self._index = arm, index
        self._temperature = ARMS[arm][0]
        self._chooser = _Chooser(arm, index)
        self._tokens: list[int] = []
        self._chosen = self._surprise = 0.0

    def draw(self, logits: np.ndarray) -> int:
        ids, probs = candidates(logits, temperature=self._temperature, top_k=TOP_K, top_p=1.0)
        context = (*self.prompt[-2:], *self._tokens[-2:])[-2:]
        place = self._chooser.choose(context, ids, probs)
        logs = np.log(np.maximum(probs, np.finfo(float).tiny))
        self._chosen += float(logs[place])
        self._surprise += float(logs[place] - probs @ logs)
        self._tokens.append(int(ids[place]))
        return self._tokens[-1]

    def answer(self) -> Answer:
        length = len(self._tokens)
        return Answer(
            self._arm,
            self._index,
            (self.prompt[-2], self.prompt[-1]),
            self._tokens,
            self._chosen / length,
            self._surprise / length,
        )


class _Chooser:
    """Draws the tokens of one answer in its arm's way."""

    def __init__(self, arm: str, index: int) -> None:
        key = key_of(arm, index)
        seed = hashlib.sha256(b"seed" + key).digest()
        self._random = np.random.default_rng(int.from_bytes(seed, "big"))
        self._sampler = Sampler(key, trace_id_of(arm, index), seed) if "marked" in arm else None
        self._peer = {"kgw": Kgw, "synthid": SynthId}.get(arm, _Plain)(key)
        self._seen: set[tuple[int, int]] = set()

    def choose(self, context: tuple[int, int], ids: np.ndarray, probs: np.ndarray) -> int:
        if self._sampler:
            return self._sampler.draw(context, ids, probs)
        repeated = context in self._seen
        self._seen.add(context)
        peer = _Plain(b"") if repeated and isinstance(self._peer, SynthId) else self._peer
        return peer.draw(context, ids, probs, float(self._random.random()))


@dataclass(frozen=True, slots=True)
class _Plain:
    key: bytes

    def draw(self, _: tuple[int, int], ids: np.ndarray, probs: np.ndarray, random: float) -> int:
        return min(int(probs.cumsum().searchsorted(random, side="right")), ids.size - 1)


def _engine(model: ImportedModel) -> "OnnxEngine":
    """Seal the model and load it as a zygote does."""
    from benchmarks import sealed_model  # noqa: PLC0415 - needs what torch's way does not

    with tempfile.TemporaryDirectory() as scratch:
        return sealed_model.load(*sealed_model.seal(model, scratch=Path(scratch)))


def main(arguments: Sequence[str] | None = None) -> None:
    """Make answers until the cache holds as many as asked for."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--cache", type=Path, default=default_cache())
    options.add_argument("--answers", type=int, default=1000, help="prompts to answer")
    options.add_argument("--jobs", type=int, default=1, help="processes")
    given = options.parse_args(arguments)
    complete(given.cache, answers=given.answers, jobs=given.jobs)
    for arm, group in itertools.groupby(
        sorted(cached(given.cache), key=lambda answer: answer.arm), key=lambda answer: answer.arm
    ):
        means = [answer.log_probability for answer in group]
        print(f"{arm}: {len(means)} answers, perplexity {math.exp(-sum(means) / len(means)):.1f}")


if __name__ == "__main__":
    main()
