"""Several jobs of one tenant in one worker, from the gateway's side: who said what, and whose end.

The worker is not believed: it can mix up the answers it holds, and no others.
"""

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from sandbox import conversation, wire
from sandbox.errors import SandboxError
from sandbox.pool import Finished, Pool, Started
from sandbox.readings import TokenBatch, TokenReader, Undue

# What one batch may hold for its frame to have room: five bytes a token at most, four a character
# of a grammar, fifteen a biased token.
MOST_TOKENS = 1 << 16
MOST_GRAMMAR_CHARACTERS = 1 << 17
MOST_BIASES = 1 << 12
# How an answer's worker ended that is still at work for others.
LEFT: Mapping[str, Any] = {"how": "left"}


@dataclass(frozen=True, slots=True)
class Failed:
    """A job that failed by itself. told: completes "The worker …"."""

    told: str


@dataclass(frozen=True, slots=True)
class Piece:
    """What a frame adds to one job of the batch. index: the job's place."""

    index: int
    said: TokenBatch | wire.End | Failed


def fits(jobs: Sequence[wire.Job], *, room_tokens: int) -> bool:
    """Say whether one worker can hold the jobs: in no more memory than one long answer may take.

    room_tokens: the longest prompt and answer of the model. Rows are all as long as the longest.
    """
    longest = max(len(job.prompt) + job.max_tokens for job in jobs)
    grammars = sum(len(job.grammar) for job in jobs)
    biases = sum(len(job.shaping.logit_bias) for job in jobs)
    return (
        len(jobs) <= wire.MOST_TOGETHER
        and len(jobs) * longest <= min(room_tokens, MOST_TOKENS)
        and grammars <= MOST_GRAMMAR_CHARACTERS
        and biases <= MOST_BIASES
    )


class BatchReader:
    """Reads the frames of a batch; what each may say is its own reader's to judge."""

    kind = wire.BATCH

    def __init__(self, jobs: Sequence[wire.Job]) -> None:
        self.payload = wire.encode(list(jobs))
        self._open = {index: TokenReader(job) for index, job in enumerate(jobs)}

    def read(self, kind: bytes, payload: bytes) -> Piece | None:
        """Return what the frame adds to its job."""
        if kind != wire.SEQUENCE:
            raise Undue(conversation.told(kind, payload))
        index, kind, payload = wire.split_sequence(payload)
        reader = self._open.get(index)
        if reader is None:
            raise Undue("answered a job that it does not hold")
        if kind == wire.END:
            del self._open[index]
            return Piece(index, wire.decode_end(payload))
        if kind == wire.FAILED:
            del self._open[index]
            return Piece(index, Failed(conversation.told(kind, payload)))
        tokens = reader.read(kind, payload)
        return None if tokens is None else Piece(index, tokens)

    def close(self) -> None:
        """Hold the worker to an end for each job."""
        if self._open:
            raise Undue("ended before its last answer")


Item = Started | TokenBatch | Finished | SandboxError


async def run_together(
    pool: Pool, jobs: Sequence[wire.Job], *, deadline_s: float
) -> AsyncGenerator[tuple[int, Item], None]:
    """Answer jobs of one tenant in one worker; yield each item with its job's place.

    Each job's items are those of `Pool.run`, and its last is `Finished` or the error it is to be
    told; every attestation says by `batch` how many shared the worker. Never raises SandboxError.
    """
    open_, attestation = set(range(len(jobs))), dict[str, Any]()
    last: Piece | None = None
    try:
        async with aclosing(pool.serve(BatchReader(jobs), deadline_s=deadline_s)) as items:
            async for item in items:
                match item:
                    case Started(walls):
                        attestation = _shared(walls, len(jobs))
                        for index in sorted(open_):
                            yield index, Started(attestation)
                    case Piece(index, TokenBatch() as tokens):
                        yield index, tokens
                    case Piece(index, (wire.End() | Failed()) as said) if len(open_) > 1:
                        open_.discard(index)
                        yield index, _ended(said, {**attestation, "end": LEFT}, deadline_s)
                    case Piece():
                        # The last one waits for the worker's own end, which its entry tells.
                        last = item
                    case Finished() if last is not None:
                        open_.clear()
                        whole = _shared(item.attestation, len(jobs))
                        yield last.index, _ended(last.said, whole, deadline_s)
    except SandboxError as error:
        for index in sorted(open_):
            yield index, _retold(error, len(jobs))


def _shared(attestation: Mapping[str, Any], count: int) -> dict[str, Any]:
    return {**attestation, "batch": count}


def _ended(
    said: wire.End | Failed | TokenBatch, attestation: Mapping[str, Any], deadline_s: float
) -> Finished | SandboxError:
    if isinstance(said, wire.End):
        return Finished(said.reason, said.evidence, attestation)
    told = said.told if isinstance(said, Failed) else "sent tokens for an end"
    return conversation.death(told, attestation, late=False, deadline_s=deadline_s)


def _retold(error: SandboxError, count: int) -> SandboxError:
    """Return the error for one of the jobs: each is told by an object of its own."""
    known = error.attestation
    return type(error)(str(error), attestation=None if known is None else _shared(known, count))
