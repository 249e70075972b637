"""One choice of an answer in the making."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gateway.catalogue import RemoteModel
from gateway.marking import ChoiceMark, endpoint_key, measured
from gateway.models.foreign import ForeignTokenizer
from gateway.question import Question, TokenLikelihood
from sandbox.wire import Job


@dataclass(frozen=True, slots=True)
class Failure:
    """What a choice died of."""

    error: Exception


@dataclass(slots=True)
class Choice:
    """What became of one choice so far. trailer: the label and manifest that follow its text.

    calls: which pieces of its text a tool's call begins in, where a tier says so. killed:
    the error's name, where its sandbox ended before its answer did. elsewhere: the remote model
    that gave it, None for one of this machine.
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
    elsewhere: RemoteModel | None = None

    @property
    def count(self) -> int:
        """Tokens of the answer: by a remote tier's account or its pieces where ours knows none."""
        return len(self.tokens) or (self.pieces if self.counted is None else self.counted)

    @property
    def unmeasured(self) -> bool:
        """Whether it may carry a mark of which no sampler told: cut off, or drawn elsewhere."""
        return self.evidence is None and bool(self.tokens or (self.text and self._tokenizer))

    def measure(self, mark_key: bytes) -> None:
        """Measure the mark in an unmeasured choice; takes a while.

        mark_key: the tenant's. A remote server's word is not asked for: its text is read.
        """
        key, tokens = mark_key, self.tokens
        if not tokens and self.elsewhere is not None and self._tokenizer is not None:
            key = endpoint_key(mark_key, self.elsewhere.backend.name)
            tokens = self._tokenizer.encode("".join(self.text))
        self.evidence = measured(self.mark, key=key, tokens=tokens)

    @property
    def _tokenizer(self) -> ForeignTokenizer | None:
        return None if self.elsewhere is None else self.elsewhere.tokenizer


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
