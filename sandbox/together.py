"""The decoding loop of a batch: several jobs of one tenant, a step of all of them at a time.

Which tokens an answer has is `generate.answering`'s to say, job by job, as for a job alone. Runs
inside a locked worker, whose walls stand around the batch and not between its jobs.
"""

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from sandbox import wire
from sandbox.errors import GrammarRefused, words
from sandbox.generate import answering
from sandbox.grammar import Grammars

# Says what a frame about one job would: its place in the batch, kind, payload.
Say = Callable[[int, bytes, bytes], None]
Answer = Generator[Sequence[int], NDArray[np.float32], wire.End]


class Batch(Protocol):
    """Several sequences in an engine (`engines.together.Together`)."""

    def begin(self, row: int, prompt: Sequence[int]) -> NDArray[np.float32]:
        """Fill a row with a prompt; return the logits after it."""

    def copy(self, row: int, *, source: int) -> None:
        """Fill a row with what was fed to another."""

    def step(self, tokens: Sequence[int]) -> NDArray[np.float32]:
        """Append one token to each row; return the logits after them, a row each."""

    def keep(self, rows: Sequence[int]) -> None:
        """Let go of all rows but these."""


@runtime_checkable
class Engine(Protocol):
    """A loaded model. batches: whether it can step several sequences at once."""

    batches: bool

    def start_together(self, rows: int, length: int) -> Batch:
        """Begin sequences of at most `length` tokens each."""


@dataclass(slots=True)
class _Row:
    """A job that is being answered. token: what it feeds next."""

    index: int
    answer: Answer
    token: int = 0


def generate_together(
    engine: Engine, jobs: Sequence[wire.Job], *, say: Say, grammars: Grammars | None = None
) -> None:
    """Answer the jobs; each one's frames go to `say`, an `E` or `F` last.

    A job that ends, or whose own grammar or numbers fail it, leaves the batch; the rest go on.
    """
    length = max(len(job.prompt) + job.max_tokens for job in jobs)
    batch = engine.start_together(len(jobs), length)
    rows = [_Row(index, _answer(index, job, say, grammars)) for index, job in enumerate(jobs)]
    lasting = [_go_on(row, row_logits, say) for row, row_logits in _begun(batch, rows, jobs)]
    while True:
        kept = [place for place, lasts in enumerate(lasting) if lasts]
        if not kept:
            return
        if len(kept) < len(rows):
            batch.keep(kept)
            rows = [rows[place] for place in kept]
        logits = batch.step([row.token for row in rows])
        lasting = [_go_on(row, own, say) for row, own in zip(rows, logits, strict=True)]


def _answer(index: int, job: wire.Job, say: Say, grammars: Grammars | None) -> Answer:
    def emit(token: int) -> None:
        say(index, wire.TOKENS, wire.pack_tokens([token]))

    def tell(likelihood: wire.Likelihood) -> None:
        say(index, wire.LIKELY, wire.encode(likelihood))

    return answering(job, emit=emit, tell=tell, grammars=grammars)


def _begun(
    batch: Batch, rows: Sequence[_Row], jobs: Sequence[wire.Job]
) -> Generator[tuple[_Row, NDArray[np.float32]], None, None]:
    """Feed each prompt, and one that several jobs have only once; yield the logits after it.

    Lazily: the first job's first token does not wait for the last one's prompt.
    """
    fed: dict[tuple[int, ...], tuple[int, NDArray[np.float32]]] = {}
    for row, job in zip(rows, jobs, strict=True):
        prompt = tuple(next(row.answer))
        if prompt in fed:
            source, logits = fed[prompt]
            batch.copy(row.index, source=source)
        else:
            logits = batch.begin(row.index, job.prompt)
            fed[prompt] = row.index, logits
        yield row, logits.copy()


def _go_on(row: _Row, logits: NDArray[np.float32], say: Say) -> bool:
    """Draw a job's next token; return whether it goes on after it."""
    try:
        (row.token,) = row.answer.send(logits)
    except StopIteration as ended:
        say(row.index, wire.END, wire.encode(ended.value))
        return False
    except (GrammarRefused, FloatingPointError) as error:
        # This job's own trouble; anything else is the worker's.
        say(row.index, wire.FAILED, words(error))
        return False
    return True
