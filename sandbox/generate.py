"""The decoding loop: one job in, marked tokens out. Runs inside a locked worker."""

from collections.abc import Callable, Generator, Sequence
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from sandbox.candidates import candidates
from sandbox.errors import GrammarRefused
from sandbox.grammar import Constraint, Grammars
from sandbox.likelihood import likelihood
from sandbox.shaping import Shaper
from sandbox.wire import End, Job, Likelihood
from watermark.sampler import Sampler


class Decoding(Protocol):
    """One sequence in an engine."""

    def feed(self, tokens: Sequence[int]) -> NDArray[np.float32]:
        """Append tokens and return the next token's logits, float32 [vocabulary]."""
        ...


class Engine(Protocol):
    """A loaded model, without threads of its own."""

    def start(self, length: int) -> Decoding:
        """Begin a sequence of at most `length` tokens."""
        ...


def generate(
    engine: Engine,
    job: Job,
    *,
    emit: Callable[[int], None],
    tell: Callable[[Likelihood], None] = lambda _: None,
    grammars: Grammars | None = None,
) -> End:
    """Answer a job, handing each token to `emit` as it is drawn; end tokens are not emitted.

    tell: hears each token's likelihood before `emit` gets it, if the job asks for it.

    Raises:
        FloatingPointError: The model's output is not finite.
        GrammarRefused: The answer cannot follow the job's grammar.
    """
    decoding = engine.start(len(job.prompt) + job.max_tokens)
    answer = answering(job, emit=emit, tell=tell, grammars=grammars)
    tokens = next(answer)
    while True:
        logits = decoding.feed(tokens)
        try:
            tokens = answer.send(logits)
        except StopIteration as ended:
            end: End = ended.value
            return end


def answering(
    job: Job,
    *,
    emit: Callable[[int], None],
    tell: Callable[[Likelihood], None],
    grammars: Grammars | None,
) -> Generator[Sequence[int], NDArray[np.float32], End]:
    """Answer a job: yield the tokens to feed, be sent the logits after them, return the end.

    All that an answer's words depend on but the logits is in here, so that it is the same whether
    they were computed alone or beside others. emit, tell, Raises: as `generate`.
    """
    sampler = Sampler(job.mark_key, job.trace_id, job.seed)
    context = _last_two(job.prompt)
    logits = yield job.prompt
    shaper = Shaper(job.shaping, job.prompt, vocabulary=logits.size)
    constraint = _constraint(grammars, job)
    reason: Literal["stop", "length"] = "length"
    for drawn in range(job.max_tokens):
        ids, probs = candidates(
            constraint.mask(shaper.shape(logits)) if constraint else shaper.shape(logits),
            temperature=job.temperature,
            top_k=job.top_k,
            top_p=job.top_p,
            min_p=job.shaping.min_p,
        )
        token = int(ids[sampler.draw(context, ids, probs)])
        if token in job.eos:
            reason = "stop"
            break
        if job.likely is not None:
            tell(likelihood(logits, token, top=job.likely))
        emit(token)
        if constraint:
            constraint.note(token)
        shaper.note(token)
        context = (context[1], token)
        if drawn + 1 < job.max_tokens:
            logits = yield [token]
    evidence = sampler.evidence()
    return End(
        reason,
        {
            "status": str(evidence.status),
            "marked": int(evidence.marked),
            "log_evidence": float(evidence.log_evidence),
        },
    )


def _constraint(grammars: Grammars | None, job: Job) -> Constraint | None:
    if not job.grammar:
        return None
    if grammars is None:
        raise GrammarRefused("The model's vocabulary is not known here.")
    return grammars.constraint(job.grammar)


def _last_two(prompt: Sequence[int]) -> tuple[int, int]:
    """Return the context of the first token; a prompt of one token has 0 before it."""
    older, newer = [0, 0, *prompt][-2:]
    return older, newer
