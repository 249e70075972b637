"""One choice of an answer in the making."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gateway.marking import ChoiceMark
from gateway.question import Question, TokenLikelihood
from sandbox.wire import Job


@dataclass(frozen=True, slots=True)
class Failure:
    """What a choice died of."""

    error: Exception


@dataclass(slots=True)
class Choice:
    """What became of one choice so far. trailer: the label and manifest that follow its text.

    killed: the error's name, where its sandbox ended before its answer did.
    """

    mark: ChoiceMark
    text: list[str] = field(default_factory=list)
    calls: set[int] = field(default_factory=set)
    trailer: str = ""
    tokens: list[int] = field(default_factory=list)
    pieces: int = 0
    counted: int | None = None
    finish_reason: str | None = None
    likelihoods: list[TokenLikelihood] = field(default_factory=list)
    evidence: Mapping[str, Any] | None = None
    attestation: Mapping[str, Any] | None = None
    killed: str | None = None

    @property
    def count(self) -> int:
        """Tokens of the answer: by a remote tier's account or its pieces where ours knows none."""
        return len(self.tokens) or (self.pieces if self.counted is None else self.counted)


def job(question: Question, mark: ChoiceMark, mark_key: bytes) -> Job:
    """Return what a sandbox is to generate for one choice."""
    return Job(
        prompt=question.prompt,
        max_tokens=question.max_tokens,
        temperature=question.temperature,
        top_k=question.top_k,
        top_p=question.top_p,
        eos=question.model.eos,
        mark_key=mark_key,
        trace_id=mark.trace_id,
        seed=mark.seed,
        shaping=question.shaping,
        grammar=question.grammar,
        likely=question.likely,
    )
